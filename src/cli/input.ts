import { readFile } from "node:fs/promises";
import { text as readText } from "node:stream/consumers";

/** The text of a file; "-" is standard input. */
export async function readInput(path: string): Promise<string> {
  return path === "-" ? readText(process.stdin) : readFile(path, "utf8");
}
