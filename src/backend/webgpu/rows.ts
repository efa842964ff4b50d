/** rows: what is asked of a row where it lies, with a few words read back. */
import { log } from "../../math.ts";
import type { Floats, Top } from "../backend.ts";
import type { Drawn, DrawTask } from "../draw-kernels.ts";
import { wordOf } from "./floats.ts";
import type { Target } from "./recorder.ts";
import { GROUPS, groupsOf } from "./wgsl/row.ts";

/** Words that stages leave each other: orders, sums, and three words of a race per group. */
export const SCRATCH_WORDS = 5 * GROUPS;
/** Words of the largest result of a fixed size. */
const RESULT_WORDS = 16;
/** Scores closer than this may be the other way round. */
const CLEAR = 1e-4;

export class GpuRows {
  readonly #target: Target;
  readonly #scratch: (words: number) => number;

  /** @param scratch Room for as many words, until the next call. */
  constructor(target: Target, scratch: (words: number) => number) {
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

  async top(x: Floats, vocab: number, count: number): Promise<Top> {
    const wanted = Math.min(count, vocab);
    if (wanted === 0) return { ids: new Uint32Array(0), logits: new Float32Array(0) };
    const { row, result } = this.#place(x, vocab, 1 + 2 * wanted);
    this.#run("top", { ...row, wanted, result }, 1);
    const words = await this.#read(result, 1 + 2 * wanted);
    const ids = new Uint32Array(words);
    const logits = new Float32Array(words);
    const places = Array.from({ length: ids[0] }, (_, i) => 1 + 2 * i);
    // The kernel leaves them in any order.
    places.sort((a, b) => logits[b + 1] - logits[a + 1] || ids[a] - ids[b]);
    return {
      ids: Uint32Array.from(places, (at) => ids[at]),
      logits: Float32Array.from(places, (at) => logits[at + 1]),
    };
  }

  async draw(x: Floats, vocab: number, { temperature, seed, position }: DrawTask): Promise<Drawn | null> {
    if (temperature === 0) return { token: await this.argmax(x, vocab), logProbability: 0 };
    const { row, result } = this.#place(x, vocab, RESULT_WORDS);
    const inverse = 1 / temperature;
    const noise = { seedLow: seed % 2 ** 32, seedHigh: Math.floor(seed / 2 ** 32), position };
    this.#run("largest", row, row.groups);
    this.#run("expSums", { ...row, inverse }, row.groups);
    this.#run("drawParts", { ...row, ...noise, inverse }, row.groups);
    this.#run("draw", { ...row, result }, 1);
    const words = await this.#read(result, 6);
    const [, best, next, logit, largest, sum] = new Float32Array(words);
    if (!(best - next > CLEAR) || !Number.isFinite(largest)) return null;
    const [token] = new Uint32Array(words);
    return { token, logProbability: (logit - largest) * inverse - log(sum) };
  }

  #place(x: Floats, count: number, words: number) {
    const scratch = this.#scratch(SCRATCH_WORDS + words);
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
