/**
 * attention: causal grouped-query attention over keys and values kept as F16.
 *
 *     s[j]  =  scale · Σ_d q[d] · K[j, d]      p  =  softmax(s)      out[d]  =  Σ_j p[j] · V[j, d]      j = 0 … position
 *
 * Head h reads the keys and values of head h / (heads / kvHeads), rounded down.
 *
 * Source    Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245 (groups).
 * Layout    K and V: [kvHead][position][headDim] halves.
 * Accuracy  keys and values rounded to F16 (nearest, ties to even, ±65504 beyond), all else f64, one rounding to f32.
 * Cost      a call decodes what is in the cache once per kvHead, for all its columns and heads.
 */
import { expectInteger } from "../../errors.ts";
import { f16ToNumber, numberToF16 } from "../../format/half.ts";
import { exp } from "../../math.ts";
import type { KvCache } from "../backend.ts";
import type { Allocation, Memory } from "./memory.ts";

const LARGEST_F16 = 65504;
const BYTES_OF_F16 = 2;

interface Halves {
  readonly keys: Uint16Array;
  readonly values: Uint16Array;
}

export function kvBytes(capacity: number, kvHeads: number, headDim: number): number {
  for (const [name, size] of Object.entries({ capacity, kvHeads, headDim }))
    expectInteger(name, size, 0, 2 ** 32);
  return 2 * capacity * kvHeads * headDim * BYTES_OF_F16;
}

export class HeldKvCache implements KvCache {
  readonly capacity: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly allocation: Allocation<Halves>;

  constructor(memory: Memory, capacity: number, kvHeads: number, headDim: number) {
    this.capacity = capacity;
    this.kvHeads = kvHeads;
    this.headDim = headDim;
    const length = capacity * kvHeads * headDim;
    this.allocation = memory.allocate("KV cache", kvBytes(capacity, kvHeads, headDim), () => ({
      keys: new Uint16Array(length),
      values: new Uint16Array(length),
    }));
  }

  /** Keys and values of one position, (kvHeads, headDim) each. */
  store(key: Float32Array, value: Float32Array, position: number): void {
    expectInteger("position", position, 0, this.capacity - 1);
    const { keys, values } = this.allocation.data;
    for (let head = 0; head < this.kvHeads; head++) {
      const to = (head * this.capacity + position) * this.headDim;
      const from = head * this.headDim;
      for (let d = 0; d < this.headDim; d++) {
        keys[to + d] = saturatedF16(key[from + d]);
        values[to + d] = saturatedF16(value[from + d]);
      }
    }
  }

  /** Positions 0 … length − 1 of a head, (length, headDim). */
  decode(what: "keys" | "values", kvHead: number, length: number): Float32Array {
    expectInteger("length", length, 0, this.capacity);
    const halves = this.allocation.data[what];
    const start = kvHead * this.capacity * this.headDim;
    const decoded = new Float32Array(length * this.headDim);
    for (let i = 0; i < decoded.length; i++) decoded[i] = f16ToNumber(halves[start + i]);
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
  keys: Float32Array,
  values: Float32Array,
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

function saturatedF16(value: number): number {
  return numberToF16(Math.max(-LARGEST_F16, Math.min(LARGEST_F16, value)));
}
