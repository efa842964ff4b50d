/** What the cases share: shapes, inputs with poisoned padding, guarded outputs, comparisons. */
import { expect } from "vitest";
import { type Backend, type Floats, type Matrix, stride } from "../../../src/backend/backend.ts";
import { blockSize, bytesPerRow, decodeWeights, type WeightType } from "../../../src/format/blocks.ts";
import { quantize, scalesOf } from "../../support/quantize.ts";
import type { Random } from "../../support/random.ts";

/** Around every width that a vector, a block or an unrolled loop may have. */
export const LENGTHS = [1, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000];
/** More than a cache level, and odd. */
export const LONG = 32_003;
/** Groups of four and the rest, and more than any backend takes at once. */
export const COLUMNS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 33];

/** Half the distance of neighbouring f32 at 1, and the least subnormal. */
const ROUNDING = 2 ** -24;
const LEAST = 2 ** -149;
const SENTINEL = 12_345;
const GUARD = 16;

/** `count` vectors of `size`, `stride(size)` apart. What lies between is NaN: no result may depend on it. */
export function vectors(
  count: number,
  size: number,
  value: (column: number, i: number) => number,
): Float32Array {
  const all = new Float32Array(count * stride(size)).fill(NaN);
  for (let column = 0; column < count; column++) {
    for (let i = 0; i < size; i++) all[column * stride(size) + i] = value(column, i);
  }
  return all;
}

/** Vector `column` of such a buffer. */
export function vectorOf(all: Float32Array, column: number, size: number): Float32Array {
  return all.subarray(column * stride(size), column * stride(size) + size);
}

export function load(backend: Backend, values: Float32Array): Floats {
  const floats = backend.floats(values.length);
  backend.write(floats, values);
  return floats;
}

/** A copy: what `read` gives may be a view. */
export async function copyOf(backend: Backend, x: Floats): Promise<Float32Array> {
  return Float32Array.from(await backend.read(x));
}

/** Room for results between sentinels. `read` also asserts that only this room has been written to. */
export function guarded(
  backend: Backend,
  length: number,
  initial?: Float32Array,
): { floats: Floats; read(): Promise<Float32Array> } {
  const end = GUARD + stride(length);
  const all = new Float32Array(end + GUARD).fill(SENTINEL);
  if (initial) all.set(initial, GUARD);
  const buffer = load(backend, all);
  return {
    floats: backend.slice(buffer, GUARD, length),
    async read() {
      const values = await copyOf(backend, buffer);
      const guards = [...values.subarray(0, GUARD), ...values.subarray(end)];
      expect(guards, "values around the output").toEqual(new Array(2 * GUARD).fill(SENTINEL));
      return values.slice(GUARD, GUARD + length);
    },
  };
}

/** `cols`, or the least width above that is a whole number of blocks. */
export function wholeBlocks(type: WeightType, cols: number): number {
  const { weights } = blockSize(type);
  return Math.ceil(cols / weights) * weights;
}

/** Weights of the usual size, as a file holds them. */
export function usualWeights(type: WeightType, rows: number, cols: number, random: Random): Uint8Array {
  return quantize(
    type,
    Float32Array.from({ length: rows * cols }, () => random.normal() / 8),
  );
}

/**
 * Weights of every size that is finite in F16: random bytes under random scales, subnormal, negative and largest ones
 * included. For F32 and BF16: signs and magnitudes from 2^-20 to 2^20.
 */
export function extremeWeights(type: WeightType, rows: number, cols: number, random: Random): Uint8Array {
  const bytes = Uint8Array.from({ length: rows * bytesPerRow(type, cols) }, () => random.below(256));
  const finiteHalf = () => [random.below(0x7c00), 0x7bff, 1, 0][random.below(4)] | (random.below(2) << 15);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += blockSize(type).bytes) {
    for (const scale of scalesOf(type)) view.setUint16(at + scale, finiteHalf(), true);
    if (type === "F32" || type === "BF16") {
      const exponent = 107 + random.below(41);
      const upper = (random.below(2) << 15) | (exponent << 7) | random.below(128);
      view.setUint16(type === "F32" ? at + 2 : at, upper, true);
    }
  }
  return bytes;
}

/** Hands `bytes` over in pieces of `piece` bytes. */
export function fillMatrix(
  backend: Backend,
  type: WeightType,
  rows: number,
  cols: number,
  bytes: Uint8Array,
  piece = bytes.length,
): Matrix {
  const writer = backend.matrix(type, rows, cols);
  for (let at = 0; at < bytes.length; at += piece) writer.write(bytes.subarray(at, at + piece));
  return writer.finish();
}

/** Row `row` of a matrix given as bytes. */
export function rowOf(type: WeightType, cols: number, bytes: Uint8Array, row: number): Float32Array {
  const rowBytes = bytesPerRow(type, cols);
  return decodeWeights(type, bytes.subarray(row * rowBytes, (row + 1) * rowBytes));
}

/**
 * Asserts |actual − expected| ≤ allowed(i) + the rounding to f32. NaN and infinities must be just that.
 *
 * @param expected In f64.
 * @param context  Which shape it was, for the message.
 */
export function expectClose(
  actual: Float32Array,
  expected: ArrayLike<number>,
  allowed: (i: number) => number,
  context: string,
): void {
  expect(actual.length, `${context}: length`).toBe(expected.length);
  let worst = 0;
  let at = 0;
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(Math.fround(expected[i]), actual[i])) continue;
    const excess =
      Math.abs(actual[i] - expected[i]) / (allowed(i) + Math.abs(expected[i]) * ROUNDING + LEAST);
    if (!(excess <= worst)) {
      worst = Number.isNaN(excess) ? Infinity : excess;
      at = i;
    }
  }
  const message = `${context}: [${at}] is ${actual[at]} instead of ${expected[at]}; error as a part of what is allowed`;
  expect(worst, message).toBeLessThanOrEqual(1);
}

/** Asserts that the bits are equal; NaN may be any NaN. */
export function expectSame(actual: Float32Array, expected: Float32Array, context: string): void {
  expect(actual.length, `${context}: length`).toBe(expected.length);
  let differing = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  if (differing < 0) differing = actual.length;
  const message = `${context}: [${differing}] is ${actual[differing]} instead of ${expected[differing]}; first difference`;
  expect(differing, message).toBe(actual.length);
}
