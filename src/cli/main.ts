#!/usr/bin/env node
/**
 * The command `edgewise`. The same file runs under Node, Deno and Bun.
 *
 * Exit code 0: done. 1: it failed, and one line on standard error says why. 2: the arguments are wrong. 130: Ctrl-C.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { type Command, parseCommand } from "./arguments.ts";
import { compressHeadCommand } from "./compress-head.ts";
import { generate, type Terminal } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { rows } from "./rows.ts";
import { score } from "./score.ts";
import { serve } from "./serve.ts";
import { helpText } from "./usage.ts";

/** What the system says about files, in words. */
const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
};

process.stdout.on("error", onOutputError);
process.stderr.on("error", onOutputError);
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 0) {
    process.stderr.write(helpText());
    return 2;
  }
  let command: Command;
  try {
    command = parseCommand(args);
  } catch (error) {
    return fail(error, 2);
  }
  const interrupt = new AbortController();
  const terminal: Terminal = {
    out: (text) => void process.stdout.write(text),
    error: (text) => void process.stderr.write(text),
    signal: interrupt.signal,
  };
  // A second Ctrl-C ends the process as if nobody listened. `serve` has its own way to stop.
  const onInterrupt = () => interrupt.abort();
  if (command.name !== "serve") process.once("SIGINT", onInterrupt);
  try {
    await run(command, terminal);
    return 0;
  } catch (error) {
    if (!interrupt.signal.aborted) return fail(error, 1);
    process.stderr.write("\n");
    return 130;
  } finally {
    process.removeListener("SIGINT", onInterrupt);
  }
}

async function run(command: Command, terminal: Terminal): Promise<void> {
  switch (command.name) {
    case "compress-head":
      return compressHeadCommand(command.options, terminal);
    case "generate":
      return generate(command.options, terminal);
    case "inspect":
      return inspect(command.options, terminal);
    case "rows":
      return rows(command.options, terminal);
    case "score":
      return score(command.options, terminal);
    case "serve":
      return serve(command.options);
    case "version":
      return terminal.out(`${await version()}\n`);
    case "help":
      return terminal.out(helpText(command.of));
  }
}

async function version(): Promise<string> {
  return JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")).version;
}

function fail(error: unknown, code: number): number {
  process.stderr.write(`edgewise: ${messageOf(error).replace(/\s*\n\s*/g, " ")}\n`);
  return code;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code = "", path } = error as NodeJS.ErrnoException;
  if (Object.hasOwn(SYSTEM_ERRORS, code)) {
    return `Cannot read ${path === undefined ? "the file" : `"${path}"`}: ${SYSTEM_ERRORS[code]}`;
  }
  const failedFetch = error.message === "fetch failed" && error.cause instanceof Error;
  return failedFetch ? `Cannot fetch: ${(error.cause as Error).message}` : error.message;
}

/** Whoever read the output has seen enough, as in `edgewise generate | head`. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
}
