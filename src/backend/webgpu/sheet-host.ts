import type { DrawSheet } from "./draw-sheet.ts";
import type { Params, Target } from "./recorder.ts";
import type { Scratch } from "./region.ts";

/** A sheet on the device, until the next one is put there. */
export interface PutSheet {
  /** Where it begins, in words of the region. */
  readonly origin: number;
  /** Records a kernel over it. @param groups In x, and in y: as many as rows if it is not said. */
  run(name: string, groups: readonly [x: number, y?: number], params?: Params): void;
  /** Writes more words, from `start` of the sheet on. */
  write(start: number, words: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): void;
  /** Words of it, as all kernels so far leave them. */
  read(start: number, end: number): Promise<ArrayBuffer>;
}

/** Puts sheets where kernels find them. */
export class SheetHost {
  readonly #target: Target;
  readonly #scratch: Scratch;

  constructor(target: Target, scratch: Scratch) {
    this.#target = target;
    this.#scratch = scratch;
  }

  put(sheet: DrawSheet): PutSheet {
    const { recorder, pipelines, floats } = this.#target;
    const origin = this.#scratch.of(sheet.length);
    const write: PutSheet["write"] = (start, words) => recorder.write(floats(), 4 * (origin + start), words);
    write(0, sheet.wordsAt(origin));
    const own = { tasks: origin, count: sheet.vocab, groups: sheet.groups };
    return {
      origin,
      write,
      run: (name, [x, y = sheet.rows.length], params = {}) =>
        recorder.dispatch(pipelines.named(name), { floats: floats() }, { ...own, ...params }, [x, y]),
      read: (start, end) => recorder.read(floats(), 4 * (origin + start), 4 * (end - start)),
    };
  }
}

/**
 * Records what is asked of the rows of a sheet.
 *
 * @param use Records what needs their laws; then changes are taken back.
 */
export function runTasks(put: PutSheet, sheet: DrawSheet, use: () => void = () => {}): void {
  if (sheet.hasChanges) put.run("drawChange", [1]);
  if (sheet.hasWhole) {
    put.run("drawLargest", [sheet.groups]);
    put.run("drawRace", [sheet.groups]);
    put.run("drawJoin", [1]);
  }
  if (sheet.hasLists) put.run("drawList", [1]);
  if (sheet.hasCuts) put.run("drawCut", [1]);
  use();
  if (sheet.hasChanges) put.run("drawRestore", [1]);
}
