/**
 * Backend: what executes the arithmetic. One interface, one test suite (test/backend.case.ts), several machines:
 * `reference` (TypeScript, f64 sums: the definition of every operation), `wasm`, `webgpu`.
 *
 * A backend owns all memory; its handles are opaque and only valid with it. It knows nothing of models: an architecture
 * is a sequence of these calls. Calls take effect in order; only `read` hands values back, and only there may a backend
 * need to wait. Shapes are checked where a caller outside the library could get them wrong (the model loader, the
 * session), not here: the operations run several hundred times a token.
 *
 * A buffer of several vectors holds them `stride(n)` apart: n rounded up to 4, so that vectors stay aligned.
 *
 * Values up to 1e8 in magnitude are handled to full accuracy; beyond 5e8 a backend may overflow to infinity.
 *
 * A result never depends on how many columns are computed together: bit for bit, in every backend.
 */
import type { WeightType } from "../format/blocks.ts";
import type { DrawKernels } from "./draw-kernels.ts";
import type { RowKernels } from "./fuse-kernels.ts";
import type { CodebookKernels } from "./head-kernels.ts";
import type { LawKernels } from "./law-kernels.ts";
import type { LikelihoodKernels } from "./likelihood-kernels.ts";
import type { RowMath } from "./row-math.ts";
import type { ScreenKernels } from "./screen-kernels.ts";
import type { WireKernels } from "./wire-kernels.ts";

/** f32 values in the backend's memory. */
export interface Floats {
  readonly length: number;
}

/** Weights W, (rows, cols), in a layout of the backend's own. */
export interface Matrix {
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
  /** Bytes held. */
  readonly bytes: number;
}

/** Takes a matrix as the file stores it, in pieces of any size. */
export interface MatrixWriter {
  /** @throws {RangeError} If more comes than the matrix holds. */
  write(bytes: Uint8Array): void;
  /** @throws {RangeError} If less came than the matrix holds. */
  finish(): Matrix;
}

/** What a sequence keeps of each position: a key and a value per layer and head. headDim: a multiple of 8. */
export interface KvShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * Keys and values of one sequence, in 16 bits: integers that share a step per position and head. Kept in pages of KV_PAGE
 * positions, which forks share until one of them writes there.
 */
export interface KvCache extends KvShape {
  readonly capacity: number;
}

/** Best first, of equal ones the lowest id first; fewer than asked for if fewer are above −∞. NaN is never among them. */
export interface Top {
  readonly ids: Uint32Array;
  readonly logits: Float32Array;
}

/** Which elements of a head are rotated together: (2i, 2i + 1), or (i, i + rotary / 2). */
export type RopePairs = "interleaved" | "half-split";

export interface Backend {
  readonly name: "reference" | "wasm" | "webgpu";
  /** Which build of the kernels, null where there is only one. */
  readonly build: "simd" | "relaxed" | "plain" | "packed" | "f16" | null;
  /** Columns that go through a layer together at most: enough to read weights rarely, small enough to stay in cache. */
  readonly passColumns: number;
  readonly usedBytes: number;
  readonly maxBytes: number;

  /**
   * Makes sure that `bytes` more can be allocated.
   * @throws {MemoryError} If they would pass `maxBytes`; says how many are needed and how many are left.
   */
  reserve(bytes: number): void;
  /** Sets aside what matmul over `cols` and attention over `capacity` need beside their arguments; else they take it when first called. */
  reserveScratch(cols: number, capacity: number): void;
  /** Zeroed. @throws {MemoryError} If memory is exhausted. */
  floats(length: number): Floats;
  /** A part of `x`, sharing its memory; `start` a multiple of 4. Not to be freed. */
  slice(x: Floats, start: number, length: number): Floats;
  /** Copies `values` to the start of `x`. */
  write(x: Floats, values: Float32Array): void;
  /** to[i] = x[i] */
  copy(to: Floats, x: Floats, count: number): void;
  /** Values of `x`. A view where that is possible: valid until the next call. */
  read(x: Floats): Float32Array | Promise<Float32Array>;
  /** Bytes that a matrix will take. */
  matrixBytes(type: WeightType, rows: number, cols: number): number;
  matrix(type: WeightType, rows: number, cols: number): MatrixWriter;
  /** `count` rows of W from `first` on, sharing its memory; both multiples of 4, unless they are the last. Not to be freed. */
  rowsOf(weights: Matrix, first: number, count: number): Matrix;
  /** Bytes that a cache will take: whole pages. */
  kvBytes(shape: KvShape, capacity: number): number;
  /** Promises memory for `capacity` positions, which is taken as they are claimed. @throws {MemoryError} If it is not there. */
  kvCache(shape: KvShape, capacity: number): KvCache;
  /**
   * A cache that begins with the first `length` positions of another; they must have been claimed there. What both have
   * takes no memory again, and either may be freed first.
   * @throws {MemoryError} If the memory for the rest of `capacity` positions is not there.
   */
  forkKv(cache: KvCache, length: number, capacity: number): KvCache;
  /**
   * Makes `columns` positions from `position` on writable, before storeKv and copyKv. Positions before them stay as they
   * are, and so does everything in other caches.
   * @throws {MemoryError} Only if they are shared, were not the last when that began, and the memory for a copy is not there.
   */
  claimKv(cache: KvCache, position: number, columns: number): void;
  free(handle: Floats | Matrix | KvCache): void;
  /** Gives all memory back; nothing may be called afterwards. */
  close(): void;

  /** out[i] = row tokens[i] of W, (tokens.length, cols). */
  embed(out: Floats, weights: Matrix, tokens: ArrayLike<number>): void;
  /** For each product: out[c, r] = Σ_k W[r, k] · x[c, k], c < columns. x: (columns, cols); out: (columns, rows). */
  matmul(x: Floats, columns: number, products: readonly { weights: Matrix; out: Floats }[]): void;
  /** out[i] = x[i] / sqrt(mean x² + epsilon) · weight, for `count` vectors of `size` (a multiple of 4). out may be x. */
  rmsNorm(out: Floats, x: Floats, weight: Floats, size: number, count: number, epsilon: number): void;
  /** x[i] += y[i] */
  add(x: Floats, y: Floats, count: number): void;
  /** x[i] *= factor, which is rounded to f32 */
  scale(x: Floats, factor: number, count: number): void;
  /** x[c, i] += bias[i], for `columns` vectors of `size`. */
  addBias(x: Floats, bias: Floats, size: number, columns: number): void;
  /** out[i] = gate[i] · sigmoid(gate[i]) · up[i]. out may be gate. */
  swiglu(out: Floats, gate: Floats, up: Floats, count: number): void;
  /** out[i] = gelu(gate[i]) · up[i], GELU in its form with tanh. out may be gate. */
  geglu(out: Floats, gate: Floats, up: Floats, count: number): void;
  /**
   * Rotates x, (columns, heads, headDim), in place; column c stands at `position + c`.
   * @param table (positions, rotary), vectors `stride(rotary)` apart: per position rotary / 2 cosines, then as many sines.
   */
  rope(
    x: Floats,
    table: Floats,
    shape: {
      position: number;
      columns: number;
      heads: number;
      headDim: number;
      rotary: number;
      pairs: RopePairs;
    },
  ): void;
  /**
   * Puts keys and values of one layer, each (columns, kvHeads, headDim), at `position` and on. A head's vector is rounded to
   * integers times its step, largest / 32767; one whose largest is below 1e-30 becomes zero.
   */
  storeKv(
    cache: KvCache,
    key: Floats,
    value: Floats,
    place: { layer: number; position: number; columns: number },
  ): void;
  /** Copies `columns` positions of one layer from `source` on in another cache of the shape, to `position` and on. */
  copyKv(
    cache: KvCache,
    from: KvCache,
    place: { layer: number; source: number; position: number; columns: number },
  ): void;
  /**
   * Causal grouped-query attention of q, (columns, heads, headDim), at `position` and on, over one layer of the cache: of
   * each column over the last `window` positions up to its own, 1 … 2^32 − 1. Default: over all.
   */
  attention(
    out: Floats,
    q: Floats,
    cache: KvCache,
    shape: {
      layer: number;
      position: number;
      columns: number;
      heads: number;
      scale: number;
      window?: number;
    },
  ): void;
  /** Lowest index among the largest of `count` values. NaN counts as −∞. */
  argmax(x: Floats, count: number): number | Promise<number>;
  /** The `count` largest of `vocab` values. */
  top(x: Floats, vocab: number, count: number): Top | Promise<Top>;
  /** log Σ exp x[i] */
  logSumExp(x: Floats, count: number): number | Promise<number>;
  /** out[i] = exp(x[i]) / Σ exp(x). out may be x. */
  softmax(out: Floats, x: Floats, count: number): void;
  /**
   * What a sampler asks of the first `vocab` values, a row of logits: of what they are when it asks. Views that `read` gives
   * after this call outlive the questions.
   */
  lawKernels(x: Floats, vocab: number): LawKernels;
  /** Tokens drawn where rows are; the same object each time. Absent where rows are looked at in place. */
  drawKernels?(): DrawKernels;
  /** Likelihoods of rows that are never whole in this backend's memory; the same object each time. */
  likelihoodKernels(): LikelihoodKernels;
  /** What verifiers do with rows, in this backend's memory; the same object each time. */
  rowMath(): RowMath;
  /** What fusions do with rows, in this backend's memory; the same object each time. */
  fuseKernels(): RowKernels<object>;
  /** What heads do that look at all tokens cheaply and at few exactly, in this backend's memory; the same object each time. */
  screenKernels(): ScreenKernels;
  /** What encodes and decodes rows; the same object each time. */
  wireKernels(): WireKernels;
  /** What codebook heads do with scores, in this backend's memory. */
  codebookKernels(): CodebookKernels;
}

/** Distance between vectors of n elements that stand in one buffer. */
export function stride(n: number): number {
  return Math.ceil(n / 4) * 4;
}
