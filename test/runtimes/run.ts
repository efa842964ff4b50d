/** Entry of the same-bits test for Node, Deno and Bun: `run.js <folder of kernels> <folder of models>`. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { computeBits } from "./bits.ts";
import { readInput } from "./input.ts";

const [build, models] = process.argv.slice(2);
const folders: Readonly<Record<string, string>> = { build, models };
const input = await readInput((folder, name) => readFile(join(folders[folder], name)));
console.log(JSON.stringify(await computeBits(input)));
