/** rows: what is asked of a row where it lies, with a few words read back. */
import { log } from "../../math.ts";
import type { Floats } from "../backend.ts";
import { wordOf } from "./floats.ts";
import type { Target } from "./recorder.ts";
import type { Scratch } from "./region.ts";
import { GROUPS, groupsOf } from "./wgsl/row.ts";

/** Words that stages leave each other: two per group. */
export const SCRATCH_WORDS = 2 * GROUPS;
const RESULT_WORDS = 2;

export class GpuRows {
  readonly #target: Target;
  readonly #scratch: Scratch;

  constructor(target: Target, scratch: Scratch) {
    this.#target = target;
    this.#scratch = scratch;
  }

  async argmax(x: Floats, count: number): Promise<number> {
    const { row, result } = this.#place(x, count, RESULT_WORDS);
    this.#run("argmaxParts", row, row.groups);
    this.#run("argmax", { ...row, result }, 1);
    return new Uint32Array(await this.#read(result, 1))[0];
  }

  async logSumExp(x: Floats, count: number): Promise<number> {
    const { row, result } = this.#place(x, count, RESULT_WORDS);
    this.#run("largest", row, row.groups);
    this.#run("expSums", { ...row, inverse: 1 }, row.groups);
    this.#run("logSumExp", { ...row, result }, 1);
    const [largest, sum] = new Float32Array(await this.#read(result, 2));
    return Number.isFinite(largest) ? largest + log(sum) : largest;
  }

  softmax(out: Floats, x: Floats, count: number): void {
    const { row } = this.#place(x, count, 0);
    this.#run("largest", row, row.groups);
    this.#run("expSums", { ...row, inverse: 1 }, row.groups);
    this.#run("softmax", { ...row, out: wordOf(out) }, row.groups);
  }

  #place(x: Floats, count: number, words: number) {
    const scratch = this.#scratch.of(SCRATCH_WORDS + words);
    const row = { x: wordOf(x), count, groups: groupsOf(count), scratch };
    return { row, result: scratch + SCRATCH_WORDS };
  }

  #run(name: string, params: Readonly<Record<string, number>>, groups: number): void {
    const { recorder, pipelines } = this.#target;
    recorder.dispatch(pipelines.named(name), { floats: this.#target.floats() }, params, [groups]);
  }

  #read(word: number, count: number): Promise<ArrayBuffer> {
    return this.#target.recorder.read(this.#target.floats(), word * 4, count * 4);
  }
}
