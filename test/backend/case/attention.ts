/** storeKv and attention. */
import { describe, expect, test } from "vitest";
import type { Backend, KvCache } from "../../../src/backend/backend.ts";
import type { CreateBackend, Tolerance } from "../../backend.case.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { expectClose, expectSame, guarded, load } from "./harness.ts";

interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Groups of 1 to 8 query heads per key head: pairs, fours and what is left over; heads of every usual size. */
const SHAPES: readonly Shape[] = [
  { heads: 1, kvHeads: 1, headDim: 8 },
  { heads: 2, kvHeads: 1, headDim: 16 },
  { heads: 3, kvHeads: 1, headDim: 24 },
  { heads: 8, kvHeads: 2, headDim: 64 },
  { heads: 10, kvHeads: 2, headDim: 32 },
  { heads: 6, kvHeads: 1, headDim: 72 },
  { heads: 7, kvHeads: 1, headDim: 8 },
  { heads: 8, kvHeads: 1, headDim: 128 },
  { heads: 9, kvHeads: 3, headDim: 64 },
  { heads: 5, kvHeads: 5, headDim: 16 },
];

/** Positions to look from: around multiples of 4, and far. The capacity is no multiple of 4, and used up. */
const POSITIONS = [0, 1, 2, 3, 4, 5, 15, 16, 17, 62, 63, 64, 65, 299, 300];
const CAPACITY = 301;

/** Caches here have a layer below the one that is looked at; case/kv.ts is about more of them. */
const LAYER = 1;
const FIRST = { layer: LAYER, position: 0, columns: 1 };

export function attentionCases(create: CreateBackend, tolerance: Tolerance): void {
  describe("storeKv", () => {
    test.each([1, 0.1, 3.4e38, 1e-29, 9e-31, 0, 32_767, 65_504.5])(
      "rounds to 32767ths of the largest, ties to even; largest %d",
      async (largest) => {
        const backend = await create();
        const size = 128;
        const random = createRandom(7);
        const value = Float32Array.from(
          { length: size },
          () => (random.below(2 ** 20) / 2 ** 19 - 1) * largest,
        );
        value[5] = -largest;
        // On ties for a largest of 32,767, where a step is 1.
        value.set(
          [0.5, 1.5, 2.5, -0.5, -1.5, 1, 0, -0].map((x) => (x / 32_767) * largest),
          8,
        );
        const cache = open(backend, { kvHeads: 1, headDim: size }, 1);
        backend.storeKv(cache, backend.floats(size), load(backend, value), FIRST);
        // The one position there is has the weight 1, so attention gives its values back.
        const out = guarded(backend, size);
        backend.attention(out.floats, backend.floats(size), cache, {
          ...FIRST,
          heads: 1,
          scale: 1,
        });
        const found = await out.read();
        // Zeros lose their sign in a sum that starts from zero.
        expectSame(
          found.map((v) => v + 0),
          Float32Array.from(rounded(value, size)).map((v) => v + 0),
          "values",
        );
      },
    );

    test("a value of NaN or infinity spoils its head and no other", async () => {
      const backend = await create();
      for (const bad of [NaN, Infinity, -Infinity]) {
        const cache = open(backend, { kvHeads: 2, headDim: 8 }, 1);
        const value = new Float32Array(16).fill(1);
        value[11] = bad;
        backend.storeKv(cache, backend.floats(16), load(backend, value), FIRST);
        const out = guarded(backend, 16);
        backend.attention(out.floats, backend.floats(16), cache, {
          ...FIRST,
          heads: 2,
          scale: 1,
        });
        const found = await out.read();
        expectSame(
          found,
          Float32Array.from({ length: 16 }, (_, i) => (i < 8 ? 1 : NaN)),
          String(bad),
        );
      }
    });
  });

  describe("attention", () => {
    test.each(SHAPES)("$heads heads over $kvHeads of $headDim, from every position", async (shape) => {
      const backend = await create();
      const random = createRandom(shape.heads);
      const { keys, values, queries } = randomSequence(random, shape, CAPACITY);
      const cache = open(backend, shape, CAPACITY);
      store(backend, cache, keys, values, 0, CAPACITY);
      const scale = 1 / Math.sqrt(shape.headDim);
      for (const position of POSITIONS) {
        const found = await attend(backend, cache, queries, shape, position, 1, scale);
        const { expected, scales } = formula(shape, keys, values, queries, position, scale);
        expectClose(found, expected, (i) => tolerance.attention * scales[i], `position ${position}`);
      }
    });

    test.each(SHAPES)("$heads heads over $kvHeads of $headDim, in a window", async (shape) => {
      const backend = await create();
      const { keys, values, queries } = randomSequence(createRandom(6), shape, CAPACITY);
      const cache = open(backend, shape, CAPACITY);
      store(backend, cache, keys, values, 0, CAPACITY);
      const scale = 1 / Math.sqrt(shape.headDim);
      for (const window of [1, 2, 3, 4, 5, 17, 63, 64, 65, 130]) {
        for (const position of POSITIONS) {
          const found = await attend(backend, cache, queries, shape, position, 1, scale, window);
          const { expected, scales } = formula(shape, keys, values, queries, position, scale, window);
          const context = `window ${window}, position ${position}`;
          expectClose(found, expected, (i) => tolerance.attention * scales[i], context);
        }
      }
    });

    test("a window that everything is in has the bits of none", async () => {
      const backend = await create();
      const shape = { heads: 3, kvHeads: 1, headDim: 16 };
      const { keys, values, queries } = randomSequence(createRandom(7), shape, 70);
      const cache = open(backend, shape, 70);
      store(backend, cache, keys, values, 0, 70);
      const expected = await attend(backend, cache, queries, shape, 60, 10, 0.25);
      for (const window of [70, 71, 4096, 2 ** 32 - 1]) {
        expectSame(await attend(backend, cache, queries, shape, 60, 10, 0.25, window), expected, `${window}`);
      }
    });

    test("nothing before a window is looked at, not even a NaN", async () => {
      const backend = await create();
      const shape = { heads: 5, kvHeads: 1, headDim: 16 };
      const length = 150;
      const { keys, values, queries } = randomSequence(createRandom(8), shape, length);
      const [size, window] = [80, 9];
      const clean = open(backend, shape, length);
      store(backend, clean, keys, values, 0, length);
      for (const position of [9, 10, 11, 12, 63, 64, 65, 72, 73, 140]) {
        const first = position + 1 - window;
        const spoilt = open(backend, shape, length);
        const [badKeys, badValues] = [keys, values].map((all) =>
          all.map((value, i) => (i < first * 16 ? NaN : value)),
        );
        store(backend, spoilt, badKeys, badValues, 0, length);
        const found = await attend(backend, spoilt, queries, shape, position, 1, 0.25, window);
        const expected = await attend(backend, clean, queries, shape, position, 1, 0.25, window);
        expectSame(found, expected, `position ${position}`);
        expect(found.every(Number.isFinite)).toBe(true);
        // The first position that is looked at does count.
        badValues.set(values.subarray(first * 16));
        badValues.fill(NaN, first * 16, first * 16 + 16);
        store(backend, spoilt, keys, badValues, 0, length);
        const withBad = await attend(backend, spoilt, queries, shape, position, 1, 0.25, window);
        expectSame(withBad, new Float32Array(size).fill(NaN), `position ${position}, the first`);
      }
    });

    test("weighs equal keys equally", async () => {
      const backend = await create();
      const shape = { heads: 3, kvHeads: 1, headDim: 16 };
      const { values, queries } = randomSequence(createRandom(1), shape, 23);
      const keys = new Float32Array(values.length).fill(0.75);
      const cache = open(backend, shape, 23);
      store(backend, cache, keys, values, 0, 23);
      const found = await attend(backend, cache, queries, shape, 22, 1, 1);
      const { expected, scales } = formula(shape, keys, values, queries, 22, 1);
      const mean = values.filter((_, i) => i % 16 === 0).reduce((sum, value) => sum + value / 23, 0);
      expect(expected[0]).toBeCloseTo(mean, 4);
      expectClose(found, expected, (i) => tolerance.attention * scales[i], "mean");
    });

    test("takes the value of a key far above the rest, exactly", async () => {
      const backend = await create();
      const shape = { heads: 4, kvHeads: 2, headDim: 8 };
      const length = 21;
      const { values } = randomSequence(createRandom(2), shape, length);
      const queries = new Float32Array(length * 32).fill(100);
      for (const winner of [0, 3, 4, 17, 20]) {
        const keys = Float32Array.from(values, (_, i) => (Math.floor(i / 16) === winner ? 300 : -300));
        const cache = open(backend, shape, length);
        store(backend, cache, keys, values, 0, length);
        const found = await attend(backend, cache, queries, shape, length - 1, 1, 0.5);
        const kept = rounded(values, 8);
        const expected = Float32Array.from(
          found,
          (_, i) => kept[winner * 16 + Math.floor(i / 16) * 8 + (i % 8)],
        );
        expectSame(found, expected, `winner ${winner}`);
      }
    });

    test.each(SHAPES)(
      "$heads heads over $kvHeads of $headDim: a chunk has the bits of one by one",
      async (shape) => {
        const backend = await create();
        const length = 45;
        const { keys, values, queries } = randomSequence(createRandom(3), shape, length);
        const size = shape.heads * shape.headDim;
        const scale = 0.3;
        const run = async (chunks: readonly number[], window?: number) => {
          const cache = open(backend, shape, length);
          const rows = new Float32Array(length * size);
          let position = 0;
          for (const columns of chunks) {
            store(backend, cache, keys, values, position, columns);
            const some = await attend(backend, cache, queries, shape, position, columns, scale, window);
            rows.set(some, position * size);
            position += columns;
          }
          expect(position).toBe(length);
          return rows;
        };
        for (const window of [undefined, 11]) {
          const oneByOne = await run(new Array(length).fill(1), window);
          for (const chunks of [[45], [1, 44], [7, 5, 33], [16, 16, 13], [2, 3, 4, 6, 30]]) {
            expectSame(await run(chunks, window), oneByOne, `chunks ${chunks}, window ${window}`);
          }
        }
      },
    );

    test("positions stored again leave no trace of what was there and behind", async () => {
      const backend = await create();
      const shape = { heads: 3, kvHeads: 1, headDim: 16 };
      const [length, size] = [30, 48];
      const { keys, values, queries } = randomSequence(createRandom(4), shape, length);
      const fresh = open(backend, shape, length);
      store(backend, fresh, keys, values, 0, length);
      const expected = await attend(backend, fresh, queries, shape, 0, length, 0.25);
      for (const kept of [0, 1, 2, 3, 5, 17, 29]) {
        const cache = open(backend, shape, length);
        store(backend, cache, keys, values, 0, kept);
        const huge = new Float32Array(keys.length).fill(65_504);
        store(backend, cache, huge, huge, kept, length - kept);
        for (let position = kept; position < length; position++) {
          store(backend, cache, keys, values, position, 1);
          const found = await attend(backend, cache, queries, shape, position, 1, 0.25);
          const context = `${kept} kept, position ${position}`;
          expectSame(found, expected.subarray(position * size, (position + 1) * size), context);
        }
      }
    });

    test("caches do not touch each other, and a query of NaN spoils its head and no other", async () => {
      const backend = await create();
      const shape = { heads: 6, kvHeads: 2, headDim: 8 };
      const { keys, values, queries } = randomSequence(createRandom(5), shape, 9);
      const caches = [0, 1, 2].map(() => open(backend, shape, 9));
      for (const cache of caches) store(backend, cache, keys, values, 0, 9);
      const clean = await attend(backend, caches[1], queries, shape, 8, 1, 1);
      const noise = new Float32Array(keys.length).fill(-3);
      store(backend, caches[0], noise, noise, 0, 9);
      store(backend, caches[2], noise, noise, 0, 9);
      expectSame(await attend(backend, caches[1], queries, shape, 8, 1, 1), clean, "between two others");

      for (let head = 0; head < 6; head++) {
        const spoilt = queries.slice();
        spoilt[(8 * 6 + head) * 8 + 5] = NaN;
        const found = await attend(backend, caches[1], spoilt, shape, 8, 1, 1);
        const expected = clean.map((value, i) => (Math.floor(i / 8) === head ? NaN : value));
        expectSame(found, expected, `head ${head}`);
      }
    });
  });
}

/** A cache, all of it claimed. */
function open(
  backend: Backend,
  { kvHeads, headDim }: Pick<Shape, "kvHeads" | "headDim">,
  capacity: number,
): KvCache {
  const cache = backend.kvCache({ layers: LAYER + 1, kvHeads, headDim }, capacity);
  backend.claimKv(cache, 0, capacity);
  return cache;
}

/** Keys, values and queries of `length` positions, (length, heads, headDim). */
function randomSequence(random: Random, { heads, kvHeads, headDim }: Shape, length: number) {
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  return {
    keys: normal(length * kvHeads * headDim),
    values: normal(length * kvHeads * headDim),
    queries: normal(length * heads * headDim),
  };
}

/** Stores `columns` positions of a sequence. */
function store(
  backend: Backend,
  cache: KvCache,
  keys: Float32Array,
  values: Float32Array,
  position: number,
  columns: number,
): void {
  const size = cache.kvHeads * cache.headDim;
  const part = (all: Float32Array) =>
    load(backend, all.subarray(position * size, (position + columns) * size));
  const [key, value] = [part(keys), part(values)];
  backend.storeKv(cache, key, value, { layer: LAYER, position, columns });
  backend.free(key);
  backend.free(value);
}

/** Attends with the queries of `columns` positions of a sequence. */
async function attend(
  backend: Backend,
  cache: KvCache,
  queries: Float32Array,
  { heads, headDim }: Shape,
  position: number,
  columns: number,
  scale: number,
  window?: number,
): Promise<Float32Array> {
  const size = heads * headDim;
  const q = load(backend, queries.subarray(position * size, (position + columns) * size));
  const out = guarded(backend, columns * size);
  backend.attention(out.floats, q, cache, { layer: LAYER, position, columns, heads, scale, window });
  backend.free(q);
  return await out.read();
}

/** One position by the definition; scales[i] = Σ p[j] · |v[j, d]|. */
function formula(
  { heads, kvHeads, headDim }: Shape,
  keys: Float32Array,
  values: Float32Array,
  queries: Float32Array,
  position: number,
  scale: number,
  window = Infinity,
) {
  const [k, v] = [rounded(keys, headDim), rounded(values, headDim)];
  const expected = new Float64Array(heads * headDim);
  const scales = new Float64Array(heads * headDim);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor((head * kvHeads) / heads);
    const q = queries.subarray((position * heads + head) * headDim);
    const at = (j: number) => (j * kvHeads + kvHead) * headDim;
    const scores: number[] = [];
    const first = Math.max(0, position + 1 - window);
    for (let j = first; j <= position; j++) {
      let score = 0;
      for (let d = 0; d < headDim; d++) score += q[d] * k[at(j) + d];
      scores.push(score * scale);
    }
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let j = first; j <= position; j++) {
      for (let d = 0; d < headDim; d++) {
        const term = (weights[j - first] / total) * v[at(j) + d];
        expected[head * headDim + d] += term;
        scales[head * headDim + d] += Math.abs(term);
      }
    }
  }
  return { expected, scales };
}

/** What the cache keeps of vectors of `size`: multiples of largest / 32767, by the definition. */
function rounded(values: Float32Array, size: number): Float64Array {
  const kept = new Float64Array(values.length);
  for (let start = 0; start < values.length; start += size) {
    const vector = values.subarray(start, start + size);
    const largest = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (!(largest > 1e-30)) continue;
    const step = Math.fround(largest / 32_767);
    const inverse = Math.fround(32_767 / largest);
    vector.forEach((value, i) => {
      kept[start + i] = roundToEven(Math.fround(value * inverse)) * step;
    });
  }
  return kept;
}

function roundToEven(x: number): number {
  const whole = Math.floor(x);
  const rest = x - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 !== 0) ? whole + 1 : whole;
}
