/**
 * The reference backend: the definition of every operation, in plain TypeScript, and what runs where Wasm SIMD cannot.
 *
 * Made to be read: one formula after the other, f64 inside, one rounding to f32 at the end. It differs from the other
 * backends in what they round on the way; test/backend.case.ts says by how much they may. Unlike them it also checks
 * that handles are alive and long enough.
 */
import { expectInteger } from "../../errors.ts";
import type { WeightType } from "../../format/blocks.ts";
import {
  type Backend,
  type Floats,
  type KvCache,
  type KvShape,
  type Matrix,
  type MatrixWriter,
  stride,
  type Top,
} from "../backend.ts";
import type { DrawKernels } from "../draw-kernels.ts";
import type { RowKernels } from "../fuse-kernels.ts";
import type { CodebookKernels } from "../head-kernels.ts";
import type { LawKernels } from "../law-kernels.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import type { RowMath } from "../row-math.ts";
import type { ScreenKernels } from "../screen-kernels.ts";
import { plainWireKernels, type WireKernels } from "../wire-kernels.ts";
import { attention, HeldKvCache, kvBytes } from "./attention.ts";
import { referenceCodebookKernels } from "./codebook.ts";
import { referenceDrawKernels } from "./draw.ts";
import { referenceKernels } from "./fuse.ts";
import { referenceLawKernels } from "./law.ts";
import { add, addBias, geglu, rmsNorm, rope, scale, swiglu } from "./layer.ts";
import { referenceLikelihoodKernels } from "./likelihood.ts";
import { embed, HeldMatrix, HeldMatrixWriter, matmul, matrixBytes } from "./matmul.ts";
import { HeldFloats, Memory, valuesOf } from "./memory.ts";
import { argmax, logSumExp, softmax, top } from "./row.ts";
import { referenceRowMath } from "./row-math.ts";
import { createReferenceScreenKernels } from "./screen.ts";

/** As much as the Wasm backend can address. */
const DEFAULT_MAX_BYTES = 4 * 2 ** 30;

export interface ReferenceBackendOptions {
  /** Ceiling of what is held, in bytes. Default: 4 GiB. */
  maxBytes?: number;
}

/**
 * A backend without any Wasm.
 *
 * @throws {RangeError} If `maxBytes` is not a positive integer.
 *
 * @example
 * ```ts
 * const backend = createReferenceBackend({ maxBytes: 100 << 20 });
 * const x = backend.floats(3);
 * backend.write(x, Float32Array.of(1, 3, 2));
 * backend.argmax(x, 3); // 1
 * ```
 */
export function createReferenceBackend(options: ReferenceBackendOptions = {}): Backend {
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  return new ReferenceBackend(expectInteger("maxBytes", maxBytes, 1, Number.MAX_SAFE_INTEGER));
}

class ReferenceBackend implements Backend {
  readonly name = "reference";
  readonly passColumns = 32;
  readonly build = null;
  readonly #memory: Memory;
  #screenKernels: ScreenKernels | undefined;

  constructor(maxBytes: number) {
    this.#memory = new Memory(maxBytes);
  }

  get usedBytes(): number {
    return this.#memory.usedBytes;
  }

  get maxBytes(): number {
    return this.#memory.maxBytes;
  }

  reserve(bytes: number): void {
    this.#memory.reserve(bytes);
  }

  /** Scratch here is ordinary JavaScript memory. */
  reserveScratch(): void {}

  floats(length: number): Floats {
    return HeldFloats.allocate(this.#memory, length);
  }

  slice(x: Floats, start: number, length: number): Floats {
    return (x as HeldFloats).slice(start, length);
  }

  write(x: Floats, values: Float32Array): void {
    valuesOf(x, "x", values.length).set(values);
  }

  copy(to: Floats, x: Floats, count: number): void {
    valuesOf(to, "to", count).set(valuesOf(x, "x", count).subarray(0, count));
  }

  read(x: Floats): Float32Array {
    return valuesOf(x, "x");
  }

  matrixBytes(type: WeightType, rows: number, cols: number): number {
    return matrixBytes(type, rows, cols);
  }

  matrix(type: WeightType, rows: number, cols: number): MatrixWriter {
    return new HeldMatrixWriter(this.#memory, type, rows, cols);
  }

  rowsOf(weights: Matrix, first: number, count: number): Matrix {
    return (weights as HeldMatrix).view(first, count);
  }

  kvBytes(shape: KvShape, capacity: number): number {
    return kvBytes(shape, capacity);
  }

  kvCache(shape: KvShape, capacity: number): KvCache {
    return HeldKvCache.open(this.#memory, shape, capacity);
  }

  forkKv(cache: KvCache, length: number, capacity: number): KvCache {
    return (cache as HeldKvCache).fork(length, capacity);
  }

  claimKv(cache: KvCache, position: number, columns: number): void {
    (cache as HeldKvCache).claim(position, columns);
  }

  free(handle: Floats | Matrix | KvCache): void {
    if (handle instanceof HeldKvCache) {
      handle.free();
      return;
    }
    if (handle instanceof HeldFloats && handle.isSlice)
      throw new TypeError("Cannot free a slice: free what it is of");
    if (handle instanceof HeldMatrix && handle.isView)
      throw new TypeError("Cannot free rows of a matrix: free what they are of");
    this.#memory.free((handle as HeldFloats | HeldMatrix).allocation);
  }

  close(): void {
    this.#memory.close();
  }

  embed(out: Floats, weights: Matrix, tokens: ArrayLike<number>): void {
    embed(valuesOf(out, "out", extent(tokens.length, weights.cols)), weights as HeldMatrix, tokens);
  }

  matmul(x: Floats, columns: number, products: readonly { weights: Matrix; out: Floats }[]): void {
    for (const { weights, out } of products) {
      const outValues = valuesOf(out, "out", extent(columns, weights.rows));
      const xValues = valuesOf(x, "x", extent(columns, weights.cols));
      matmul(outValues, weights as HeldMatrix, xValues, columns);
    }
  }

  rmsNorm(out: Floats, x: Floats, weight: Floats, size: number, count: number, epsilon: number): void {
    const total = extent(count, size);
    const weightValues = valuesOf(weight, "weight", size);
    rmsNorm(valuesOf(out, "out", total), valuesOf(x, "x", total), weightValues, size, count, epsilon);
  }

  add(x: Floats, y: Floats, count: number): void {
    add(valuesOf(x, "x", count), valuesOf(y, "y", count), count);
  }

  scale(x: Floats, factor: number, count: number): void {
    scale(valuesOf(x, "x", count), factor, count);
  }

  addBias(x: Floats, bias: Floats, size: number, columns: number): void {
    addBias(valuesOf(x, "x", extent(columns, size)), valuesOf(bias, "bias", size), size, columns);
  }

  swiglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    swiglu(valuesOf(out, "out", count), valuesOf(gate, "gate", count), valuesOf(up, "up", count), count);
  }

  geglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    geglu(valuesOf(out, "out", count), valuesOf(gate, "gate", count), valuesOf(up, "up", count), count);
  }

  rope(x: Floats, table: Floats, shape: Parameters<Backend["rope"]>[2]): void {
    const { position, columns, heads, headDim, rotary } = shape;
    const xValues = valuesOf(x, "x", extent(columns, heads * headDim));
    const tableValues = valuesOf(table, "table", extent(position + columns, rotary));
    for (let column = 0; column < columns; column++) {
      const vector = xValues.subarray(column * stride(heads * headDim));
      rope(vector, tableValues.subarray((position + column) * stride(rotary)), shape);
    }
  }

  storeKv(cache: KvCache, key: Floats, value: Floats, place: Parameters<Backend["storeKv"]>[3]): void {
    const { layer, position, columns } = place;
    const size = cache.kvHeads * cache.headDim;
    const keys = valuesOf(key, "key", columns * size);
    const values = valuesOf(value, "value", columns * size);
    for (let column = 0; column < columns; column++) {
      const [start, end] = [column * size, (column + 1) * size];
      const held = cache as HeldKvCache;
      held.store(keys.subarray(start, end), values.subarray(start, end), layer, position + column);
    }
  }

  copyKv(cache: KvCache, from: KvCache, place: Parameters<Backend["copyKv"]>[2]): void {
    const { layer, source, position, columns } = place;
    for (let i = 0; i < columns; i++) {
      (cache as HeldKvCache).copyFrom(from as HeldKvCache, layer, source + i, position + i);
    }
  }

  attention(out: Floats, q: Floats, cache: KvCache, shape: Parameters<Backend["attention"]>[3]): void {
    const total = shape.columns * shape.heads * cache.headDim;
    attention(valuesOf(out, "out", total), valuesOf(q, "q", total), cache as HeldKvCache, shape);
  }

  argmax(x: Floats, count: number): number {
    return argmax(valuesOf(x, "x", count).subarray(0, count));
  }

  logSumExp(x: Floats, count: number): number {
    return logSumExp(valuesOf(x, "x", count).subarray(0, count));
  }

  top(x: Floats, vocab: number, count: number): Top {
    return top(valuesOf(x, "x", vocab).subarray(0, vocab), count);
  }

  lawKernels(x: Floats, vocab: number): LawKernels {
    return referenceLawKernels(() => valuesOf(x, "x", vocab).subarray(0, vocab));
  }

  rowMath(): RowMath {
    return referenceRowMath;
  }

  drawKernels(): DrawKernels {
    return referenceDrawKernels;
  }

  likelihoodKernels(): LikelihoodKernels {
    return referenceLikelihoodKernels;
  }

  fuseKernels(): RowKernels<object> {
    return referenceKernels;
  }

  screenKernels(): ScreenKernels {
    this.#screenKernels ??= createReferenceScreenKernels(this.#memory);
    return this.#screenKernels;
  }

  wireKernels(): WireKernels {
    return plainWireKernels;
  }

  codebookKernels(): CodebookKernels {
    return referenceCodebookKernels(this.#memory);
  }

  softmax(out: Floats, x: Floats, count: number): void {
    softmax(valuesOf(out, "out", count), valuesOf(x, "x", count).subarray(0, count));
  }
}

/** Values from the first to the last of `count` vectors of `size`. */
function extent(count: number, size: number): number {
  return count === 0 ? 0 : (count - 1) * stride(size) + size;
}
