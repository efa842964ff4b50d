/** The pages of KV caches: layers, claims, forks, copies, and what all of it counts. */
import { describe, expect, test } from "vitest";
import type { Backend, KvCache, KvShape } from "../../../src/backend/backend.ts";
import { KV_PAGE } from "../../../src/backend/kv-pages.ts";
import { MemoryError } from "../../../src/errors.ts";
import type { CreateBackend } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import { copyOf, expectSame, load } from "./harness.ts";

const SHAPE: KvShape = { layers: 3, kvHeads: 2, headDim: 16 };
const SIZE = SHAPE.kvHeads * SHAPE.headDim;
const HEADS = 4;

/** Around the ends of pages, and within. */
const LENGTHS = [1, 2, KV_PAGE - 1, KV_PAGE, KV_PAGE + 1, 2 * KV_PAGE - 3, 2 * KV_PAGE, 3 * KV_PAGE + 5];

export function kvCases(create: CreateBackend): void {
  describe("KV caches", () => {
    test("layers do not touch each other, on any page", async () => {
      const backend = await create();
      const length = 2 * KV_PAGE + 7;
      const alone: Float32Array[] = [];
      for (let layer = 0; layer < SHAPE.layers; layer++) {
        const cache = open(backend, length);
        fill(backend, cache, layer, texts(layer, length));
        alone.push(await look(backend, cache, layer, length));
      }
      expect(new Set(alone.map(String)).size).toBe(SHAPE.layers);
      const all = open(backend, length);
      for (const layer of [1, 2, 0]) fill(backend, all, layer, texts(layer, length));
      for (let layer = 0; layer < SHAPE.layers; layer++) {
        expectSame(await look(backend, all, layer, length), alone[layer], `layer ${layer}`);
      }
    });

    test("a fork goes on like the sequence it was made of, and neither changes the other", async () => {
      const backend = await create();
      for (const length of LENGTHS) {
        const capacity = length + KV_PAGE + 3;
        const [one, other] = [texts(1, capacity), [...texts(1, length), ...texts(2, capacity - length)]];
        const expected: Float32Array[] = [];
        for (const text of [one, other]) {
          const cache = open(backend, capacity);
          fill(backend, cache, 2, text);
          expected.push(await look(backend, cache, 2, capacity));
        }
        for (const first of ["parent", "fork"]) {
          const parent = open(backend, capacity);
          fill(backend, parent, 2, one.slice(0, length));
          const fork = backend.forkKv(parent, length, capacity);
          const goOn = (cache: KvCache, text: readonly number[]) =>
            fill(backend, cache, 2, text.slice(length), length);
          if (first === "parent") goOn(parent, one);
          goOn(fork, other);
          if (first === "fork") goOn(parent, one);
          const context = `${length} positions, ${first} first`;
          expectSame(await look(backend, parent, 2, capacity), expected[0], `${context}: parent`);
          expectSame(await look(backend, fork, 2, capacity), expected[1], `${context}: fork`);
        }
      }
    });

    test("what is written again where two share it changes in one only, and the other may be freed", async () => {
      const backend = await create();
      const length = 3 * KV_PAGE + 4;
      for (const from of [0, 1, KV_PAGE - 1, KV_PAGE, KV_PAGE + 9, 3 * KV_PAGE]) {
        const text = texts(3, length);
        const changed = [...text.slice(0, from), ...texts(4, length - from)];
        const fresh = open(backend, length);
        fill(backend, fresh, 1, changed);
        const expected = await look(backend, fresh, 1, length);
        const parent = open(backend, length);
        fill(backend, parent, 1, text);
        const before = await look(backend, parent, 1, length);
        const fork = backend.forkKv(parent, length, length);
        fill(backend, parent, 1, changed.slice(from), from);
        expectSame(await look(backend, fork, 1, length), before, `from ${from}: fork`);
        backend.free(fork);
        expectSame(await look(backend, parent, 1, length), expected, `from ${from}: parent`);
      }
    });

    test("copied positions have the bits of stored ones", async () => {
      const backend = await create();
      const length = KV_PAGE + 21;
      const text = texts(5, length);
      const direct = open(backend, length);
      fill(backend, direct, 2, text);
      const expected = await look(backend, direct, 2, length);
      // Backwards, and one by one: each lands in another slot than it was in.
      const [source, target] = [open(backend, length), open(backend, length)];
      fill(backend, source, 2, text.toReversed());
      for (let i = 0; i < length; i++) {
        backend.copyKv(target, source, { layer: 2, source: length - 1 - i, position: i, columns: 1 });
      }
      expectSame(await look(backend, target, 2, length), expected, "one by one");
      const shifted = open(backend, length + 5);
      fill(backend, shifted, 2, text, 5);
      const all = open(backend, length);
      backend.copyKv(all, shifted, { layer: 2, source: 5, position: 0, columns: length });
      expectSame(await look(backend, all, 2, length), expected, "all at once");
    });

    test("a promise is counted at once, claims and shared pages are not, and all comes back", async () => {
      const backend = await create();
      const before = backend.usedBytes;
      const counted = (work: () => void) => {
        const used = backend.usedBytes;
        work();
        return backend.usedBytes - used;
      };
      const page = backend.kvBytes(SHAPE, 2 * KV_PAGE) - backend.kvBytes(SHAPE, KV_PAGE);
      expect(page).toBeGreaterThanOrEqual(KV_PAGE * SHAPE.layers * SIZE * 4);
      let parent!: KvCache;
      let fork!: KvCache;
      expect(counted(() => (parent = backend.kvCache(SHAPE, 4 * KV_PAGE)))).toBe(
        backend.kvBytes(SHAPE, 4 * KV_PAGE),
      );
      expect(counted(() => backend.claimKv(parent, 0, 3 * KV_PAGE - 1))).toBe(0);
      const pagesOf = (bytes: number) => Math.floor(bytes / page);
      // Two full pages are shared; the third, which both go on in, is there for either.
      expect(pagesOf(counted(() => (fork = backend.forkKv(parent, 3 * KV_PAGE - 1, 4 * KV_PAGE))))).toBe(2);
      expect(counted(() => backend.claimKv(parent, 3 * KV_PAGE - 1, KV_PAGE + 1))).toBe(0);
      expect(counted(() => backend.claimKv(fork, 3 * KV_PAGE - 1, KV_PAGE + 1))).toBe(0);
      // To go back into what is shared takes a copy.
      expect(counted(() => backend.claimKv(fork, KV_PAGE + 1, 1))).toBe(page);
      expect(counted(() => backend.claimKv(parent, KV_PAGE + 1, 1))).toBe(0);
      backend.free(parent);
      expect(pagesOf(backend.usedBytes - before)).toBe(4);
      backend.free(fork);
      expect(backend.usedBytes).toBe(before);
    });

    test("many forks of forks, closed in any order, count nothing in the end", async () => {
      const backend = await create();
      const before = backend.usedBytes;
      const random = createRandom(9);
      const held: { cache: KvCache; length: number }[] = [];
      for (let step = 0; step < 400; step++) {
        const one = held[random.below(held.length + 1)];
        const kind = random.below(3);
        const capacity = 5 * KV_PAGE - random.below(3);
        if (one === undefined || held.length < 2) {
          held.push({ cache: backend.kvCache(SHAPE, capacity), length: 0 });
        } else if (kind === 0) {
          const most = Math.max(one.length, capacity);
          held.push({ cache: backend.forkKv(one.cache, one.length, most), length: one.length });
        } else if (kind === 1 && random.below(2) === 0) {
          held.splice(held.indexOf(one), 1);
          backend.free(one.cache);
        } else {
          if (random.below(4) === 0) one.length = random.below(one.length + 1);
          const columns = random.below(one.cache.capacity - one.length + 1);
          backend.claimKv(one.cache, one.length, columns);
          one.length += columns;
        }
      }
      for (const { cache } of held) backend.free(cache);
      expect(backend.usedBytes).toBe(before);
    });

    test("what was promised is there, whatever else fills the memory", async () => {
      const backend = await create({ maxBytes: 4 * 2 ** 20 });
      const length = 20 * KV_PAGE - 5;
      const parent = backend.kvCache(SHAPE, length);
      const text = texts(6, length);
      const shared = KV_PAGE + 18;
      fill(backend, parent, 0, text.slice(0, shared));
      const fork = backend.forkKv(parent, shared, length);
      const floats: ReturnType<Backend["floats"]>[] = [];
      // Of many sizes, with gaps: pages would not fit between them.
      for (let size = 2 ** 18; size > 100; ) {
        try {
          floats.push(backend.floats(size));
        } catch (error) {
          expect(error).toBeInstanceOf(MemoryError);
          size >>= 1;
        }
      }
      expect(() => backend.kvCache(SHAPE, KV_PAGE)).toThrow(MemoryError);
      const used = backend.usedBytes;
      for (let at = shared; at < length; at += 7) {
        for (const cache of [fork, parent]) backend.claimKv(cache, at, Math.min(7, length - at));
      }
      expect(backend.usedBytes).toBe(used);
      // There is no page for a copy of what the fork shares.
      expect(() => backend.claimKv(fork, 3, 1)).toThrow(/bytes are needed, .* are left/);
      for (const each of floats) backend.free(each);
      for (const cache of [parent, fork]) fill(backend, cache, 0, text.slice(shared), shared);
      expectSame(
        await look(backend, fork, 0, length),
        await look(backend, parent, 0, length),
        "after all of it",
      );
    });
  });
}

function open(backend: Backend, capacity: number): KvCache {
  const cache = backend.kvCache(SHAPE, capacity);
  backend.claimKv(cache, 0, capacity);
  return cache;
}

/** Tokens of a text, each standing for its key and value. */
function texts(seed: number, length: number): number[] {
  return Array.from({ length }, (_, i) => seed * 1000 + i);
}

/** Claims and stores positions from `position` on in one layer. */
function fill(backend: Backend, cache: KvCache, layer: number, text: readonly number[], position = 0): void {
  backend.claimKv(cache, position, text.length);
  const vectors = (salt: number) =>
    load(
      backend,
      Float32Array.from(
        text.flatMap((token) => {
          const random = createRandom(token * 2 + salt);
          return Array.from({ length: SIZE }, () => random.normal());
        }),
      ),
    );
  const [key, value] = [vectors(0), vectors(1)];
  backend.storeKv(cache, key, value, { layer, position, columns: text.length });
  backend.free(key);
  backend.free(value);
}

/** What attention sees in a layer, from every position. */
async function look(backend: Backend, cache: KvCache, layer: number, columns: number): Promise<Float32Array> {
  const random = createRandom(11);
  const size = columns * HEADS * SHAPE.headDim;
  const q = load(
    backend,
    Float32Array.from({ length: size }, () => random.normal()),
  );
  const out = backend.floats(size);
  backend.attention(out, q, cache, { layer, position: 0, columns, heads: HEADS, scale: 0.5 });
  const found = await copyOf(backend, out);
  backend.free(q);
  backend.free(out);
  return found;
}
