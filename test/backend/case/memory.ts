/** Memory: allocation, the ceiling, and the way of weights into a backend. */
import { describe, expect, test } from "vitest";
import type { Backend, Floats, KvCache, Matrix } from "../../../src/backend/backend.ts";
import { WEIGHT_TYPES } from "../../../src/format/blocks.ts";
import type { CreateBackend } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import {
  copyOf,
  expectSame,
  fillMatrix,
  LENGTHS,
  LONG,
  load,
  rowOf,
  usualWeights,
  wholeBlocks,
} from "./harness.ts";

const MIB = 2 ** 20;
/** What alignment may add to an allocation. */
const ALIGNMENT = 256;

export function memoryCases(create: CreateBackend): void {
  describe("memory", () => {
    test("write and read give values back, at every length", async () => {
      const backend = await create();
      for (const length of [0, ...LENGTHS, LONG]) {
        const values = Float32Array.from({ length }, (_, i) => [i, -0, NaN, 1e-45, Infinity][i % 5]);
        const x = load(backend, values);
        expect(x.length).toBe(length);
        expectSame(await copyOf(backend, x), values, `${length} values`);
      }
    });

    test("write fills the start and leaves the rest", async () => {
      const backend = await create();
      const x = load(backend, Float32Array.of(1, 2, 3, 4, 5));
      backend.write(x, Float32Array.of(8, 9));
      expect([...(await copyOf(backend, x))]).toEqual([8, 9, 3, 4, 5]);
    });

    test("floats are zeroed, also where others were before", async () => {
      const backend = await create();
      for (const length of [5, 1000, LONG]) {
        backend.free(load(backend, new Float32Array(length).fill(7)));
        const x = backend.floats(length);
        expectSame(await copyOf(backend, x), new Float32Array(length), `${length} values`);
      }
    });

    test("a slice shares the memory of what it is of", async () => {
      const backend = await create();
      const x = backend.floats(12);
      const part = backend.slice(backend.slice(x, 4, 8), 4, 3);
      backend.write(part, Float32Array.of(1, 2, 3));
      expect([...(await copyOf(backend, x))]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0]);
      backend.write(x, new Float32Array(12).fill(6));
      expect([...(await copyOf(backend, part))]).toEqual([6, 6, 6]);
    });

    test("usedBytes counts what is held, as announced, until it is freed", async () => {
      const backend = await create();
      const shape = { layers: 2, kvHeads: 3, headDim: 16 };
      const held: [number, () => Floats | Matrix | KvCache][] = [
        [4000, () => backend.floats(1000)],
        [backend.kvBytes(shape, 100), () => backend.kvCache(shape, 100)],
      ];
      for (const type of WEIGHT_TYPES) {
        const bytes = usualWeights(type, 37, 256, createRandom(1));
        held.push([backend.matrixBytes(type, 37, 256), () => fillMatrix(backend, type, 37, 256, bytes)]);
      }
      for (const [announced, make] of held) {
        const before = backend.usedBytes;
        const handle = make();
        expect(backend.usedBytes - before).toBeGreaterThanOrEqual(announced);
        expect(backend.usedBytes - before).toBeLessThanOrEqual(announced + ALIGNMENT);
        if ("bytes" in handle) expect(handle.bytes).toBe(announced);
        backend.free(handle);
        expect(backend.usedBytes).toBe(before);
      }
    });

    test("freed memory is used again, whatever the order", async () => {
      const backend = await create({ maxBytes: 4 * MIB });
      const third = MIB / 4;
      for (let round = 0; round < 20; round++) {
        const all = [0, 1, 2].map(() => backend.floats(third));
        for (const index of [round % 3, (round + 1) % 3, (round + 2) % 3]) backend.free(all[index]);
      }
      expect(backend.maxBytes).toBe(4 * MIB);
      expect(backend.usedBytes).toBeLessThan(MIB);
      backend.reserve(3 * MIB);
      backend.free(backend.floats((3 * MIB) / 4));
    });

    test("what would pass maxBytes is refused, with the counts, and nothing is lost by it", async () => {
      const backend = await create({ maxBytes: MIB });
      const kept = load(backend, Float32Array.of(1, 2, 3));
      const left = MIB - backend.usedBytes;
      const attempts: [needed: string, () => unknown][] = [
        ["1,048,577", () => backend.reserve(MIB + 1)],
        ["4,194,304", () => backend.floats(MIB)],
        ["4,194,304", () => backend.matrix("F32", 1024, 1024)],
        ["4,325,376", () => backend.kvCache({ layers: 1, kvHeads: 16, headDim: 64 }, 1024)],
      ];
      for (const [needed, attempt] of attempts) {
        const used = backend.usedBytes;
        expect(attempt).toThrow(RangeError);
        expect(attempt).toThrow(needed);
        expect(attempt).toThrow(left.toLocaleString("en"));
        expect(backend.usedBytes).toBe(used);
      }
      expect([...(await copyOf(backend, kept))]).toEqual([1, 2, 3]);
      backend.reserve(left);
    });

    test("sizes that do not fit 32 bits are refused, not wrapped", async () => {
      const backend = await create({ maxBytes: MIB });
      const shape = { layers: 1, kvHeads: 8, headDim: 128 };
      const attempts: (() => unknown)[] = [
        () => backend.floats(2 ** 30),
        () => backend.floats(2 ** 31),
        () => backend.floats(2 ** 40),
        () => backend.matrix("Q8_0", 2 ** 20, 2 ** 20),
        () => backend.matrix("F32", 4, 2 ** 30),
        () => backend.kvCache(shape, 2 ** 20),
        () => backend.kvCache(shape, 2 ** 22),
        () => backend.reserve(2 ** 40),
      ];
      for (const attempt of attempts) expect(attempt, String(attempt)).toThrow(RangeError);
      expect(backend.kvBytes(shape, 2 ** 22)).toBeGreaterThanOrEqual(2 ** 34);
      expect(backend.matrixBytes("F32", 4, 2 ** 30)).toBeGreaterThanOrEqual(2 ** 34);
    });
  });

  describe("matrix", () => {
    test.each(WEIGHT_TYPES)("%s arrives the same in pieces of any size", async (type) => {
      const backend = await create();
      const [rows, cols] = [11, wholeBlocks(type, 96)];
      const bytes = usualWeights(type, rows, cols, createRandom(2));
      const tokens = Array.from({ length: rows }, (_, i) => i);
      for (const piece of [1, 3, 7, 18, 34, 101, 1000, bytes.length]) {
        const matrix = fillMatrix(backend, type, rows, cols, bytes, piece);
        expect([matrix.type, matrix.rows, matrix.cols]).toEqual([type, rows, cols]);
        const out = backend.floats(rows * cols);
        backend.embed(out, matrix, tokens);
        const expected = tokens.flatMap((row) => [...rowOf(type, cols, bytes, row)]);
        expectSame(await copyOf(backend, out), Float32Array.from(expected), `pieces of ${piece}`);
      }
    });

    test.each(WEIGHT_TYPES)("%s: too many and too few bytes are refused, with the counts", async (type) => {
      const backend = await create();
      const cols = wholeBlocks(type, 64);
      const bytes = usualWeights(type, 50, cols, createRandom(3));
      const refused = (write: (backend: Backend) => unknown, count: number) => {
        expect(() => write(backend)).toThrow(RangeError);
        expect(() => write(backend)).toThrow(bytes.length.toLocaleString("en"));
        expect(() => write(backend)).toThrow(count.toLocaleString("en"));
      };
      const tooMany = (count: number) => () => {
        const writer = backend.matrix(type, 50, cols);
        writer.write(bytes);
        writer.write(new Uint8Array(count));
      };
      refused(tooMany(1), bytes.length + 1);
      refused(tooMany(12_345), bytes.length + 12_345);
      for (const count of [0, 1, bytes.length - 1]) {
        refused(() => {
          const writer = backend.matrix(type, 50, cols);
          writer.write(bytes.subarray(0, count));
          writer.finish();
        }, count);
      }
    });
  });
}
