/** residuals: rows of heads with residual codes; wgsl/codebook.ts has the kernels. */
import { type Floats, stride } from "../backend.ts";
import {
  type CodeMap,
  PROBES,
  RESIDUAL_WORDS,
  type ResidualKernels,
  type ResidualMap,
  type ResidualTables,
} from "../head-kernels.ts";
import type { GpuCodeMap } from "./codebook.ts";
import { type FloatStore, type GpuFloats, wordOf } from "./floats.ts";
import { type Kernel, spread } from "./kernel.ts";
import type { Params, Target } from "./recorder.ts";
import { residualRow, residualTable, residualTops } from "./wgsl/codebook.ts";
import { THREADS } from "./wgsl/layer.ts";
import { fuseFloor } from "./wgsl/measure.ts";

/** Bytes of codes in a word. */
const WORD_BYTES = 4;
/** Words of the table for these: of two sub-vectors each. */
const WORD_TABLE = 2 * WORD_BYTES * RESIDUAL_WORDS;
/** Words that fuseFloor leaves, rounded up. */
const FLOOR_WORDS = 4;

interface GpuResidualMap extends ResidualMap {
  readonly codes: GpuCodeMap;
  /** K, S and M. */
  readonly codeCount: number;
  readonly subs: number;
  readonly size: number;
  /** Codes in words, (V, length); then ρ, (V); β, (K); words, (M, 16). */
  readonly held: GpuFloats;
  /** Words of a token's codes. */
  readonly length: number;
}

export class GpuResidualKernels implements ResidualKernels {
  readonly #target: Target;
  readonly #floats: FloatStore;

  constructor(target: Target, floats: FloatStore) {
    this.#target = target;
    this.#floats = floats;
  }

  mapBytes({ vocab, codes, bytes, size }: Parameters<ResidualKernels["mapBytes"]>[0]): number {
    return 4 * stride(vocab * (Math.ceil(bytes / WORD_BYTES) + 1) + codes + size * RESIDUAL_WORDS);
  }

  map(codes: CodeMap, best: ArrayLike<number>, tables: ResidualTables): GpuResidualMap {
    const { vocab } = codes;
    const { bytes, words } = tables;
    const length = Math.ceil(bytes / WORD_BYTES);
    const codeCount = best.length;
    const size = words.length / RESIDUAL_WORDS;
    const held = this.#floats.allocate(vocab * (length + 1) + codeCount + words.length);
    const all = new Uint32Array(held.length);
    const inBytes = new Uint8Array(all.buffer);
    for (let token = 0; token < vocab; token++) {
      inBytes.set(tables.codes.subarray(token * bytes, (token + 1) * bytes), token * length * WORD_BYTES);
    }
    const numbers = new Float32Array(all.buffer, vocab * length * 4);
    numbers.set(tables.bias);
    numbers.set(best, vocab);
    numbers.set(words, vocab + codeCount);
    this.#floats.write(held, all);
    return { codes: codes as GpuCodeMap, codeCount, subs: 2 * bytes, size, held, length };
  }

  rows(out: Floats, scores: Floats, z: Floats, columns: number, map: ResidualMap): void {
    const { codes, codeCount, subs, size, held, length } = map as GpuResidualMap;
    const { vocab } = codes;
    const tableStride = length * WORD_TABLE;
    const scratch = this.#floats.scratch.of(columns * (stride(codeCount) + FLOOR_WORDS + tableStride));
    const floors = scratch + columns * stride(codeCount);
    const table = floors + columns * FLOOR_WORDS;
    const bias = wordOf(held) + vocab * length;
    const best = bias + vocab;
    const places = { scores: wordOf(scores), stride: stride(codeCount), tops: scratch };
    this.#run(residualTops, codeCount, columns, { ...places, best });
    for (let column = 0; column < columns; column++) {
      const x = scratch + column * stride(codeCount);
      const result = floors + column * FLOOR_WORDS;
      this.#dispatch(fuseFloor, { x, count: codeCount, k: Math.min(PROBES, codeCount), result }, [1]);
    }
    const products = { z: wordOf(z), zStride: stride(size), words: best + codeCount, columns: size / subs };
    this.#run(residualTable, tableStride, columns, { ...products, subs, table });
    this.#run(residualRow, vocab, columns, {
      ...places,
      out: wordOf(out),
      outStride: stride(vocab),
      map: wordOf(codes.held),
      floors,
      codes: wordOf(held),
      length,
      bias,
      table,
      tableStride,
    });
  }

  free(map: ResidualMap): void {
    this.#floats.free((map as GpuResidualMap).held);
  }

  /** A kernel with a thread for each of `count` values of each column. */
  #run(kernel: Kernel, count: number, columns: number, params: Params): void {
    const [across, down] = spread(Math.ceil(count / THREADS));
    this.#dispatch(kernel, { ...params, count, across }, [across, down, columns]);
  }

  #dispatch(kernel: Kernel, params: Params, groups: readonly [number, number?, number?]): void {
    const { recorder, pipelines } = this.#target;
    recorder.dispatch(pipelines.of(kernel), { floats: this.#floats.buffer }, params, groups);
  }
}
