/**
 * attention: causal grouped-query attention over keys and values kept in 16 bits.
 *
 *     s[j]  =  scale · Σ_d q[d] · K[j, d]      p  =  softmax(s)      out[d]  =  Σ_j p[j] · V[j, d]      j = 0 … position
 *
 * Head h reads the keys and values of head h / (heads / kvHeads), rounded down.
 *
 * Source    Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245 (groups).
 * Layout    K and V: [kvHead][position][headDim] i16 codes, and a step (f32) per kvHead and position.
 * Accuracy  a vector of one head is rounded to multiples of its step, largest / 32767; all else f64, one rounding to f32.
 * Cost      a call decodes what is in the cache once per kvHead, for all its columns and heads.
 */
import { expectInteger } from "../../errors.ts";
import { exp } from "../../math.ts";
import type { KvCache } from "../backend.ts";
import type { Allocation, Memory } from "./memory.ts";

/** Largest magnitude of a code. */
const LEVELS = 32_767;
/** Vectors that stay below become zero: the inverse of their step would overflow. */
const NEGLIGIBLE = 1e-30;

interface Rounded {
  readonly codes: Int16Array;
  readonly steps: Float32Array;
}

export function kvBytes(capacity: number, kvHeads: number, headDim: number): number {
  for (const [name, size] of Object.entries({ capacity, kvHeads, headDim }))
    expectInteger(name, size, 0, 2 ** 32);
  return 2 * capacity * kvHeads * (headDim * 2 + 4);
}

export class HeldKvCache implements KvCache {
  readonly capacity: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly allocation: Allocation<{ readonly keys: Rounded; readonly values: Rounded }>;

  constructor(memory: Memory, capacity: number, kvHeads: number, headDim: number) {
    this.capacity = capacity;
    this.kvHeads = kvHeads;
    this.headDim = headDim;
    const rounded = () => ({
      codes: new Int16Array(capacity * kvHeads * headDim),
      steps: new Float32Array(capacity * kvHeads),
    });
    this.allocation = memory.allocate("KV cache", kvBytes(capacity, kvHeads, headDim), () => ({
      keys: rounded(),
      values: rounded(),
    }));
  }

  /** Keys and values of one position, (kvHeads, headDim) each. */
  store(key: Float32Array, value: Float32Array, position: number): void {
    expectInteger("position", position, 0, this.capacity - 1);
    const { keys, values } = this.allocation.data;
    for (let head = 0; head < this.kvHeads; head++) {
      const to = head * this.capacity + position;
      const from = head * this.headDim;
      round(key.subarray(from, from + this.headDim), keys, to);
      round(value.subarray(from, from + this.headDim), values, to);
    }
  }

  /** Positions 0 … length − 1 of a head, (length, headDim). */
  decode(what: "keys" | "values", kvHead: number, length: number): Float64Array {
    expectInteger("length", length, 0, this.capacity);
    const { codes, steps } = this.allocation.data[what];
    const first = kvHead * this.capacity;
    const decoded = new Float64Array(length * this.headDim);
    for (let i = 0; i < decoded.length; i++) {
      decoded[i] = codes[first * this.headDim + i] * steps[first + Math.floor(i / this.headDim)];
    }
    return decoded;
  }
}

export function attention(
  out: Float32Array,
  q: Float32Array,
  cache: HeldKvCache,
  shape: { position: number; columns: number; heads: number; scale: number },
): void {
  const { position, columns, heads, scale } = shape;
  const { headDim } = cache;
  const group = heads / cache.kvHeads;
  for (let kvHead = 0; kvHead < cache.kvHeads; kvHead++) {
    const keys = cache.decode("keys", kvHead, position + columns);
    const values = cache.decode("values", kvHead, position + columns);
    for (let column = 0; column < columns; column++) {
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const start = (column * heads + head) * headDim;
        const end = start + headDim;
        attendOne(
          out.subarray(start, end),
          q.subarray(start, end),
          keys,
          values,
          position + column + 1,
          scale,
        );
      }
    }
  }
}

/** One head of one position, over `length` keys and values. */
function attendOne(
  out: Float32Array,
  q: Float32Array,
  keys: Float64Array,
  values: Float64Array,
  length: number,
  scale: number,
): void {
  const dims = q.length;
  const weights = new Float64Array(length);
  let largest = -Infinity;
  for (let j = 0; j < length; j++) {
    let product = 0;
    for (let d = 0; d < dims; d++) product += q[d] * keys[j * dims + d];
    weights[j] = scale * product;
    largest = Math.max(largest, weights[j]);
  }
  let total = 0;
  for (let j = 0; j < length; j++) {
    weights[j] = exp(weights[j] - largest);
    total += weights[j];
  }
  for (let d = 0; d < dims; d++) {
    let sum = 0;
    for (let j = 0; j < length; j++) sum += weights[j] * values[j * dims + d];
    out[d] = sum / total;
  }
}

/** Rounds one vector, ties to even, into place `at`. NaN and infinity spoil the step, and so the vector. */
function round(values: Float32Array, into: Rounded, at: number): void {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  const usable = largest > NEGLIGIBLE;
  const inverse = usable ? Math.fround(LEVELS / largest) : 0;
  into.steps[at] = usable ? largest / LEVELS : largest * 0;
  for (let d = 0; d < values.length; d++) {
    into.codes[at * values.length + d] = toEven(Math.fround(values[d] * inverse));
  }
}

/** The nearest integer, ties to even; 0 for NaN. */
function toEven(x: number): number {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded || 0;
}
