/** The built command as a process, as users run it. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const COMMAND = join(ROOT, "dist/cli/main.js");

/** `npm test` builds it; `npx vitest` alone does not. */
export const isBuilt = existsSync(COMMAND);
if (!isBuilt) console.log("skipped: dist/ is not built, so the command cannot run as a process");

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  error: string;
}

export interface RunOptions {
  /** Default: nothing. */
  input?: string;
  /** Of the engine. */
  flags?: readonly string[];
  /** Is handed the running process; its output can be read here, and is collected nevertheless. */
  onStart?: (child: ChildProcess) => void;
}

export async function edgewise(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = spawn(process.execPath, [...(options.flags ?? []), COMMAND, ...args], { cwd: ROOT });
  options.onStart?.(child);
  const ended = new Promise<Pick<Finished, "code" | "signal">>((done) => {
    child.on("close", (code, signal) => done({ code, signal }));
  });
  child.stdin.end(options.input ?? "");
  const [out, error] = await Promise.all([text(child.stdout).catch(() => ""), text(child.stderr)]);
  return { out, error, ...(await ended) };
}
