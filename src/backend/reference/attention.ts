/**
 * attention: causal grouped-query attention over keys and values kept in 16 bits.
 *
 *     s[j]  =  scale · Σ_d q[d] · K[j, d]      p  =  softmax(s)      out[d]  =  Σ_j p[j] · V[j, d]
 *
 *     j = max(0, position + 1 − window) … position
 *
 * Head h reads the keys and values of head h / (heads / kvHeads), rounded down.
 *
 * Source    Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245 (groups).
 * Layout    of a page, K and V: [layer][kvHead][slot][headDim] i16 codes, and a step (f32) per layer, kvHead and slot.
 * Accuracy  a vector of one head is rounded to multiples of its step, largest / 32767; all else f64, one rounding to f32.
 * Cost      a call decodes what is in the cache once per kvHead, for all its columns and heads.
 */
import { expectInteger } from "../../errors.ts";
import { exp } from "../../math.ts";
import type { KvCache, KvShape } from "../backend.ts";
import { KV_PAGE, KvPages, type PageStore, pageCount } from "../kv-pages.ts";
import type { Allocation, Memory } from "./memory.ts";

/** Largest magnitude of a code. */
const LEVELS = 32_767;
/** Vectors that stay below become zero: the inverse of their step would overflow. */
const NEGLIGIBLE = 1e-30;

interface Rounded {
  readonly codes: Int16Array;
  readonly steps: Float32Array;
}

interface Page {
  readonly keys: Rounded;
  readonly values: Rounded;
}

export function kvBytes(shape: KvShape, capacity: number): number {
  for (const [name, size] of Object.entries({ capacity, ...shapeOf(shape) })) {
    expectInteger(name, size, 0, 2 ** 32);
  }
  return pageCount(capacity) * pageBytes(shape);
}

function pageBytes({ layers, kvHeads, headDim }: KvShape): number {
  return 2 * KV_PAGE * layers * kvHeads * (headDim * 2 + 4);
}

function shapeOf({ layers, kvHeads, headDim }: KvShape): KvShape {
  return { layers, kvHeads, headDim };
}

/** Pages of one shape, counted when they are promised and made when they are taken. */
class HeldPages implements PageStore<Page> {
  readonly #memory: Memory;
  readonly #shape: KvShape;

  constructor(memory: Memory, shape: KvShape) {
    this.#memory = memory;
    this.#shape = shape;
  }

  promise(count: number): void {
    this.#memory.claim(count * pageBytes(this.#shape));
  }

  release(count: number): void {
    this.#memory.release(count * pageBytes(this.#shape));
  }

  take(): Page {
    const { layers, kvHeads, headDim } = this.#shape;
    const vectors = KV_PAGE * layers * kvHeads;
    const rounded = () => ({
      codes: new Int16Array(vectors * headDim),
      steps: new Float32Array(vectors),
    });
    return this.#memory.make("KV cache", pageBytes(this.#shape), () => ({
      keys: rounded(),
      values: rounded(),
    }));
  }

  free(): void {
    this.release(1);
  }

  copy(to: Page, from: Page): void {
    for (const part of ["keys", "values"] as const) {
      to[part].codes.set(from[part].codes);
      to[part].steps.set(from[part].steps);
    }
  }
}

export class HeldKvCache implements KvCache {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly capacity: number;
  readonly allocation: Allocation<KvPages<Page>>;
  readonly #memory: Memory;

  static open(memory: Memory, shape: KvShape, capacity: number): HeldKvCache {
    kvBytes(shape, capacity);
    const pages = KvPages.open(new HeldPages(memory, shapeOf(shape)), capacity);
    return new HeldKvCache(memory, shape, capacity, pages);
  }

  private constructor(memory: Memory, shape: KvShape, capacity: number, pages: KvPages<Page>) {
    this.layers = shape.layers;
    this.kvHeads = shape.kvHeads;
    this.headDim = shape.headDim;
    this.capacity = capacity;
    this.#memory = memory;
    // The pages are counted one by one.
    this.allocation = memory.allocate("KV cache", 0, () => pages);
  }

  fork(length: number, capacity: number): HeldKvCache {
    expectInteger("length", length, 0, this.capacity);
    expectInteger("capacity", capacity, length, 2 ** 32);
    const pages = this.allocation.data.fork(length, capacity);
    return new HeldKvCache(this.#memory, this, capacity, pages);
  }

  claim(position: number, columns: number): void {
    expectInteger("position", position, 0, this.capacity);
    expectInteger("columns", columns, 0, this.capacity - position);
    this.allocation.data.claim(position, columns, () => {});
  }

  free(): void {
    const pages = this.allocation.data;
    this.#memory.free(this.allocation);
    pages.close();
  }

  /** Keys and values of one position in one layer, (kvHeads, headDim) each. */
  store(key: Float32Array, value: Float32Array, layer: number, position: number): void {
    const { keys, values } = this.#writable(position);
    for (let head = 0; head < this.kvHeads; head++) {
      const to = this.#vector(layer, head, position);
      const from = head * this.headDim;
      round(key.subarray(from, from + this.headDim), keys, to);
      round(value.subarray(from, from + this.headDim), values, to);
    }
  }

  /** Copies one position of one layer of another cache. */
  copyFrom(from: HeldKvCache, layer: number, source: number, position: number): void {
    const to = this.#writable(position);
    const page = from.#page(source);
    const { headDim } = this;
    for (let head = 0; head < this.kvHeads; head++) {
      const [at, sourceAt] = [this.#vector(layer, head, position), from.#vector(layer, head, source)];
      for (const part of ["keys", "values"] as const) {
        const codes = page[part].codes.subarray(sourceAt * headDim, (sourceAt + 1) * headDim);
        to[part].codes.set(codes, at * headDim);
        to[part].steps[at] = page[part].steps[sourceAt];
      }
    }
  }

  /** Positions 0 … length − 1 of a head in a layer, (length, headDim). */
  decode(part: keyof Page, layer: number, kvHead: number, length: number): Float64Array {
    expectInteger("length", length, 0, this.capacity);
    const { headDim } = this;
    const decoded = new Float64Array(length * headDim);
    for (let position = 0; position < length; position++) {
      const { codes, steps } = this.#page(position)[part];
      const at = this.#vector(layer, kvHead, position);
      for (let d = 0; d < headDim; d++) decoded[position * headDim + d] = codes[at * headDim + d] * steps[at];
    }
    return decoded;
  }

  /** Index of a head's vector in its page. */
  #vector(layer: number, kvHead: number, position: number): number {
    return (layer * this.kvHeads + kvHead) * KV_PAGE + (position % KV_PAGE);
  }

  #page(position: number): Page {
    const page = this.allocation.data.pageOf(expectInteger("position", position, 0, this.capacity - 1));
    if (page === undefined) throw new RangeError(`Cannot read position ${position}: it was never claimed`);
    return page;
  }

  #writable(position: number): Page {
    const page = this.#page(position);
    if (!this.allocation.data.writable(position))
      throw new RangeError(`Cannot write position ${position}: it is shared, claim it first`);
    return page;
  }
}

export function attention(
  out: Float32Array,
  q: Float32Array,
  cache: HeldKvCache,
  shape: {
    layer: number;
    position: number;
    columns: number;
    heads: number;
    scale: number;
    window?: number;
  },
): void {
  const { layer, position, columns, heads, scale, window = Infinity } = shape;
  const { headDim } = cache;
  const group = heads / cache.kvHeads;
  for (let kvHead = 0; kvHead < cache.kvHeads; kvHead++) {
    const keys = cache.decode("keys", layer, kvHead, position + columns);
    const values = cache.decode("values", layer, kvHead, position + columns);
    for (let column = 0; column < columns; column++) {
      const length = position + column + 1;
      const first = Math.max(0, length - window);
      const [seenKeys, seenValues] = [keys, values].map((all) =>
        all.subarray(first * headDim, length * headDim),
      );
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const start = (column * heads + head) * headDim;
        const end = start + headDim;
        attendOne(out.subarray(start, end), q.subarray(start, end), seenKeys, seenValues, scale);
      }
    }
  }
}

/** One head of one position, over all of these keys and values. */
function attendOne(
  out: Float32Array,
  q: Float32Array,
  keys: Float64Array,
  values: Float64Array,
  scale: number,
): void {
  const dims = q.length;
  const length = keys.length / dims;
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
