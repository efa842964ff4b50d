/** `edgewise compress-head`: a model's file with a compressed head more, and a report of how good it is. */
import { type FileHandle, open, readFile, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import process from "node:process";
import { setImmediate as nextTask } from "node:timers/promises";
import { type CompressHeadOptions, compressHead } from "../compress/compress-head.ts";
import { editGguf, openGguf } from "../format/gguf-write.ts";
import { kernelModules, openFile } from "../node.ts";
import { compressReportText } from "./compress-head-report.ts";
import type { Terminal } from "./generate.ts";
import { writing } from "./output-file.ts";

export interface CompressHeadArguments {
  /** Path of the model. */
  model: string;
  /** Path of the file to write. */
  out: string;
  /** Path of a text. */
  calibrate?: string;
  head: Omit<CompressHeadOptions, "text">;
  json: boolean;
}

/** @throws {RangeError} If the model would be written over. @throws What `compressHead` throws. */
export async function compressHeadCommand(args: CompressHeadArguments, terminal: Terminal): Promise<void> {
  const { model, out, calibrate, head, json } = args;
  if (resolve(model) === resolve(out)) {
    throw new RangeError(`"--out" must be another file than the model, got "${out}"`);
  }
  const text = calibrate === undefined ? undefined : await readFile(calibrate, "utf8");
  const input = await openFile(model);
  const report = await writeWhole(out, async (file) => {
    const bar = new ProgressBar(terminal);
    const { report, ...edit } = await compressHead(
      input,
      await kernelModules(),
      { ...head, text },
      (stage, done, total) => bar.show(stage, done, total),
    );
    bar.end();
    await writeEdited(model, { file, out }, edit, terminal.signal);
    return report;
  });
  terminal.out(json ? `${JSON.stringify({ file: out, ...report })}\n` : compressReportText(out, report));
}

/** Under another name until it is whole. That is opened first: a path that is wrong is found out before the work. */
async function writeWhole<T>(path: string, write: (file: FileHandle) => Promise<T>): Promise<T> {
  const part = `${path}.part`;
  const file = await writing(path, () => open(part, "w"));
  try {
    const result = await write(file);
    await file.close();
    await writing(path, () => rename(part, path));
    return result;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(part, { force: true });
    throw error;
  }
}

async function writeEdited(
  model: string,
  { file, out }: { file: FileHandle; out: string },
  edit: Parameters<typeof editGguf>[1],
  signal: AbortSignal,
): Promise<void> {
  const source = await open(model);
  try {
    const { size } = await source.stat();
    const gguf = await openGguf((from, to) => readPart(source, from, to), size);
    for await (const piece of editGguf(gguf, edit)) {
      signal.throwIfAborted();
      await writing(out, () => file.writeFile(piece));
    }
  } finally {
    await source.close();
  }
}

async function readPart(file: FileHandle, from: number, to: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(new Uint8Array(to - from), 0, to - from, from);
  return buffer.subarray(0, bytesRead);
}

const PAUSE_MS = 100;
const CELLS = 24;

/** One line that is written over, or where that is not to be seen, a line for each stage. */
class ProgressBar {
  readonly #terminal: Terminal;
  readonly #isLive = process.stderr.isTTY === true;
  #stage = "";
  #last = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Also lets the process look at its signals. @throws {DOMException} AbortError, if it got one. */
  async show(stage: string, done: number, total: number): Promise<void> {
    const isNew = stage !== this.#stage;
    if (!isNew && done < total && performance.now() - this.#last < PAUSE_MS) return;
    await nextTask();
    this.#terminal.signal.throwIfAborted();
    this.#last = performance.now();
    this.#stage = stage;
    if (this.#isLive) {
      const filled = Math.round((CELLS * done) / Math.max(1, total));
      const bar = "█".repeat(filled) + "░".repeat(CELLS - filled);
      this.#terminal.error(`\r\x1b[K${bar} ${stage}`);
    } else if (isNew) this.#terminal.error(`${stage}\n`);
  }

  end(): void {
    if (this.#isLive) this.#terminal.error("\r\x1b[K");
  }
}
