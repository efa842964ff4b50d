/**
 * fuse: LateRowKernels on a device: rows are made where they lie, and numbers are read off them there.
 *
 *     rows of sessions on the same device  →  taken where they are, or copied within the device
 *     other rows, tables, masks            →  written to it
 *     numbers                              →  a few words, read together by `settle`
 *
 * Two things have no kernel: `project`, whose table says for each token where it goes, not what comes to a token, and the
 * moments of probabilities. Their rows are read, and the definition does it.
 *
 * Accuracy  f32, see wgsl/fuse.ts, measure.ts and match.ts: rows within 2^-20 of what is added up, sums within 1e-5, fused
 *           rows within 1e-8 of the definition's by KL for presets over one vocabulary (test/decoding/fuse/webgpu.test.ts).
 */
import { UnsupportedError } from "../../errors.ts";
import type { Floats } from "../backend.ts";
import {
  expectLogits,
  type LateRowKernels,
  PENDING,
  type Pending,
  PlacedRow,
  type ResolvedBound,
  type RowKernelName,
  type Scaled,
} from "../fuse-kernels.ts";
import { project as definedProject } from "../reference/fuse/combine.ts";
import { type FloatStore, type GpuFloats, wordOf } from "./floats.ts";
import { Answers } from "./fuse-answers.ts";
import { Asker } from "./fuse-asker.ts";
import { GpuMatches } from "./fuse-match.ts";
import { GpuMeasures } from "./fuse-measures.ts";
import { fuseKernelsFor } from "./fuse-needs.ts";
import { expectHeld, GpuRow, orderOf } from "./fuse-rows.ts";
import { bitsOf, type Kernel, spread } from "./kernel.ts";
import type { Params, Target } from "./recorder.ts";
import {
  fuseBound,
  fuseGather,
  fuseLin,
  fuseMix,
  fuseMultiply,
  fuseScatter,
  MOST_TERMS,
} from "./wgsl/fuse.ts";
import { THREADS } from "./wgsl/layer.ts";

/** Tables that are kept. */
const MOST_TABLES = 32;

export class GpuFuseKernels implements LateRowKernels<GpuRow> {
  readonly #target: Target;
  readonly #floats: FloatStore;
  readonly #storeOf: (row: PlacedRow) => FloatStore | null;
  readonly #answers: Answers;
  readonly #asker: Asker;
  readonly #measures: GpuMeasures;
  readonly #matches: GpuMatches;
  /** Tables of plans, which outlive steps; those used last. */
  readonly #tables = new Map<object, GpuFloats>();

  /** @param storeOf What a row stands in; null: on another device. */
  constructor(target: Target, floats: FloatStore, storeOf: (row: PlacedRow) => FloatStore | null) {
    this.#target = target;
    this.#floats = floats;
    this.#storeOf = storeOf;
    this.#answers = new Answers(target, floats);
    this.#asker = new Asker(target, floats, this.#answers);
    this.#measures = new GpuMeasures(this.#asker);
    this.#matches = new GpuMatches(this.#asker);
  }

  settle(): Promise<void> {
    return this.#answers.settle();
  }

  copy(row: GpuRow, to: Floats): void {
    this.#asker.copy(wordOf(to), expectHeld(row).x, row.vocab);
  }

  judge(row: GpuRow): () => void {
    return this.#asker.judge(row);
  }

  prepare(
    names: Iterable<RowKernelName>,
    onProgress?: (ready: number, total: number) => void,
  ): Promise<void> {
    return this.#target.pipelines.compile(fuseKernelsFor(names), onProgress);
  }

  take(row: ArrayLike<number> | PlacedRow, vocab: number, name: string): GpuRow {
    if (!(row instanceof PlacedRow)) {
      expectLogits(name, row, vocab);
      const { x, held } = this.#own(vocab);
      this.#floats.write(held[0], bitsOfRow(row, vocab));
      return new GpuRow({ x, vocab, held }, name, []);
    }
    const store = this.#storeOf(row);
    if (store === null) throw new UnsupportedError(`Cannot fuse: "${name}" lies on another device`);
    const isHere = store === this.#floats;
    if (isHere) return new GpuRow({ x: wordOf(row.values), vocab, held: [] }, name, []);
    const copy = this.#floats.copyOf(store, row.values, vocab);
    this.#answers.relyOn(store.faults);
    return new GpuRow({ x: wordOf(copy), vocab, held: [copy], faults: store.faults }, name, []);
  }

  free(row: GpuRow): void {
    if (row.isFree) return;
    row.isFree = true;
    for (const held of row.held) this.#floats.free(held);
  }

  lin(
    vocab: number,
    terms: readonly Scaled<GpuRow>[],
    bounds: readonly (readonly ResolvedBound<GpuRow>[])[],
  ): GpuRow {
    const judges = bounds.flat().flatMap((bound) => (bound.kind === "floor" ? [bound.row] : []));
    return this.#make(vocab, [...terms.map(({ row }) => row), ...judges], (out) => {
      this.#perToken(fuseLin, vocab, { out, terms: terms.length }, termList(terms));
      for (const bound of bounds) this.#bound(out, vocab, bound);
    });
  }

  mix(vocab: number, terms: readonly Scaled<GpuRow>[]): GpuRow {
    const rows = terms.map(({ row }) => row);
    return this.#make(vocab, rows, (out) =>
      this.#perToken(fuseMix, vocab, { out, terms: terms.length }, termList(terms)),
    );
  }

  scatter(row: GpuRow, ids: ArrayLike<number>, values: ArrayLike<number>, scale: number): GpuRow {
    const sums = new Map<number, number>();
    for (let i = 0; i < ids.length; i++) sums.set(ids[i], (sums.get(ids[i]) ?? 0) + scale * values[i]);
    return this.#make(row.vocab, [row], (out) => {
      this.#asker.copy(out, row.x, row.vocab);
      if (sums.size === 0) return;
      const words = new Uint32Array(2 * sums.size);
      words.set([...sums.keys()]);
      new Float32Array(words.buffer).set([...sums.values()], sums.size);
      this.#within(words, (pairs) => this.#perToken(fuseScatter, sums.size, { out, pairs }));
    });
  }

  gather(row: GpuRow, ids: ArrayLike<number>): GpuRow {
    const table = this.#table(ids, () => Uint32Array.from(ids, (id) => (id < 0 ? 0xffffffff : id)));
    return this.#make(ids.length, [row], (out) =>
      this.#perToken(fuseGather, ids.length, { out, x: row.x, ids: table }),
    );
  }

  multiply(row: GpuRow, factors: ArrayLike<number>): GpuRow {
    const table = this.#table(factors, () => bitsOfRow(factors, factors.length));
    return this.#make(row.vocab, [row], (out) =>
      this.#perToken(fuseMultiply, row.vocab, { out, x: row.x, factors: table }),
    );
  }

  project(
    { row, scale, offset }: Scaled<GpuRow>,
    vocab: number,
    offsets: ArrayLike<number>,
    ids: ArrayLike<number>,
    values: ArrayLike<number>,
  ): GpuRow | Pending {
    const read = this.#measures.read(row);
    if (read === PENDING) return PENDING;
    const from = { row: Float64Array.from(read), scale, offset };
    const made = definedProject(from, vocab, offsets, ids, values);
    return this.#make(vocab, [row], (_, held) => this.#floats.write(held, bitsOfRow(made, vocab)));
  }

  top: GpuMeasures["top"] = (row) => this.#measures.top(row);
  summary: GpuMeasures["summary"] = (...asked) => this.#measures.summary(...asked);
  topK: GpuMeasures["topK"] = (...asked) => this.#measures.topK(...asked);
  topP: GpuMeasures["topP"] = (...asked) => this.#measures.topP(...asked);
  rank: GpuMeasures["rank"] = (...asked) => this.#measures.rank(...asked);
  at: GpuMeasures["at"] = (...asked) => this.#measures.at(...asked);
  distance: GpuMeasures["distance"] = (...asked) => this.#measures.distance(...asked);
  matchTargets: GpuMatches["matchTargets"] = (...asked) => this.#matches.matchTargets(...asked);
  tilt: GpuMatches["tilt"] = (...asked) => this.#matches.tilt(...asked);
  read: GpuMeasures["read"] = (row) => this.#measures.read(row);

  #make(vocab: number, from: readonly GpuRow[], record: (out: number, held: GpuFloats) => void): GpuRow {
    for (const row of from) expectHeld(row);
    const { x, held } = this.#own(vocab);
    record(x, held[0]);
    return new GpuRow({ x, vocab, held }, null, from);
  }

  #own(vocab: number): { readonly x: number; readonly held: GpuFloats[] } {
    const held = this.#floats.allocate(vocab);
    return { x: held.offset / 4, held: [held] };
  }

  #bound(out: number, vocab: number, bounds: readonly ResolvedBound<GpuRow>[]): void {
    const floors = bounds.flatMap((bound) => {
      if (bound.kind === "mask") return [];
      const { order, isExact } = orderOf(bound.floor.value);
      const last = Math.min(0xffffffff, Math.max(0, bound.floor.last + 1));
      return [bound.row.x, order, isExact ? last : 0, 0];
    });
    const words = unionOf(bounds, vocab);
    const count = floors.length / 4 + (words === null ? 0 : 1);
    if (count > MOST_TERMS)
      throw new UnsupportedError(`Cannot fuse: a support has at most ${MOST_TERMS} alternatives`);
    const run = (list: readonly number[]) => this.#perToken(fuseBound, vocab, { out, terms: count }, list);
    if (words === null) run(floors);
    else this.#within(words, (mask) => run([...floors, mask, 0, 0, 1]));
  }

  /** Has words on the device for what is recorded by `use`. */
  #within(words: Uint32Array<ArrayBuffer>, use: (word: number) => void): void {
    const held = this.#floats.allocate(words.length);
    this.#floats.write(held, words);
    use(held.offset / 4);
    this.#floats.free(held);
  }

  #table(key: ArrayLike<number>, words: () => Uint32Array<ArrayBuffer>): number {
    let held = this.#tables.get(key);
    if (held === undefined) {
      const all = words();
      held = this.#floats.allocate(all.length);
      this.#floats.write(held, all);
    }
    this.#tables.delete(key);
    this.#tables.set(key, held);
    for (const [oldest, memory] of this.#tables) {
      if (this.#tables.size <= MOST_TABLES) break;
      this.#tables.delete(oldest);
      this.#floats.free(memory);
    }
    return held.offset / 4;
  }

  #perToken(kernel: Kernel, count: number, params: Params, list?: readonly number[]): void {
    const [across, down] = spread(Math.ceil(count / THREADS));
    const { recorder, pipelines } = this.#target;
    const buffers = { floats: this.#floats.buffer };
    recorder.dispatch(pipelines.of(kernel), buffers, { ...params, count, across }, [across, down], list);
  }
}

/** Of each a place, a scale, and an offset in two parts. */
function termList(terms: readonly Scaled<GpuRow>[]): number[] {
  return terms.flatMap(({ row, scale, offset }) => {
    const coarse = Math.fround(offset);
    return [expectHeld(row).x, bitsOf(scale), bitsOf(coarse), bitsOf(offset - coarse)];
  });
}

function bitsOfRow(row: ArrayLike<number>, count: number): Uint32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = row[i];
  return new Uint32Array(values.buffer);
}

/** All masks as one; null: there is none. */
function unionOf(bounds: readonly ResolvedBound<GpuRow>[], vocab: number): Uint32Array<ArrayBuffer> | null {
  const masks = bounds.flatMap((bound) => (bound.kind === "mask" ? [bound.words] : []));
  if (masks.length === 0) return null;
  return Uint32Array.from({ length: Math.ceil(vocab / 32) }, (_, i) =>
    masks.reduce((all, words) => (all | words[i]) >>> 0, 0),
  );
}
