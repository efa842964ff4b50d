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

/** Keys and values of one layer, in 16 bits: integers that share a step per position and head. */
export interface KvCache {
  readonly capacity: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Which elements of a head are rotated together: (2i, 2i + 1), or (i, i + rotary / 2). */
export type RopePairs = "interleaved" | "half-split";

export interface Backend {
  readonly name: "reference" | "wasm" | "webgpu";
  /** Which build of the kernels, null where there is only one. */
  readonly build: "simd" | "relaxed" | null;
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
  /** Values of `x`. A view where that is possible: valid until the next call. */
  read(x: Floats): Float32Array | Promise<Float32Array>;
  /** Bytes that a matrix will take. */
  matrixBytes(type: WeightType, rows: number, cols: number): number;
  matrix(type: WeightType, rows: number, cols: number): MatrixWriter;
  /** Bytes that a cache will take. */
  kvBytes(capacity: number, kvHeads: number, headDim: number): number;
  /** headDim: a multiple of 8. */
  kvCache(capacity: number, kvHeads: number, headDim: number): KvCache;
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
  /** x[c, i] += bias[i], for `columns` vectors of `size`. */
  addBias(x: Floats, bias: Floats, size: number, columns: number): void;
  /** out[i] = gate[i] · sigmoid(gate[i]) · up[i]. out may be gate. */
  swiglu(out: Floats, gate: Floats, up: Floats, count: number): void;
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
   * Appends keys and values, each (columns, kvHeads, headDim), from `position` on. A head's vector is rounded to integers
   * times its step, largest / 32767; one whose largest is below 1e-30 becomes zero.
   */
  storeKv(cache: KvCache, key: Floats, value: Floats, position: number, columns: number): void;
  /** Causal grouped-query attention of q, (columns, heads, headDim), at `position` and on, over what is in the cache. */
  attention(
    out: Floats,
    q: Floats,
    cache: KvCache,
    shape: { position: number; columns: number; heads: number; scale: number },
  ): void;
  /** Lowest index among the largest of `count` values. NaN counts as −∞. */
  argmax(x: Floats, count: number): number | Promise<number>;
  /** log Σ exp x[i] */
  logSumExp(x: Floats, count: number): number | Promise<number>;
  /** out[i] = exp(x[i]) / Σ exp(x). out may be x. */
  softmax(out: Floats, x: Floats, count: number): void;
}

/** Distance between vectors of n elements that stand in one buffer. */
export function stride(n: number): number {
  return Math.ceil(n / 4) * 4;
}
