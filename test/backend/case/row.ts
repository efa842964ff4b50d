/** What is said of a row of logits: argmax, top, logSumExp, softmax. */
import { describe, expect, test } from "vitest";
import type { Backend } from "../../../src/backend/backend.ts";
import type { CreateBackend, Tolerance } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import { expectClose, expectSame, guarded, LENGTHS, LONG, load } from "./harness.ts";

/** A probability below this may be 0. */
const NEGLIGIBLE = 1e-37;

export function rowCases(create: CreateBackend, tolerance: Tolerance): void {
  /** A row that is part of a larger buffer, so that more values, the largest ones, follow it. */
  const rowOf = (backend: Backend, values: ArrayLike<number>) => {
    const all = new Float32Array(values.length + 8).fill(3e38);
    all.set(values);
    return load(backend, all);
  };

  describe("argmax", () => {
    const find = async (values: ArrayLike<number>) => {
      const backend = await create();
      return await backend.argmax(rowOf(backend, values), values.length);
    };

    test("is the index of the largest value, at every length", async () => {
      for (const length of [...LENGTHS, LONG]) {
        const random = createRandom(length);
        const row = Float32Array.from({ length }, () => random.normal());
        for (const index of new Set([0, length >> 1, length - 1])) {
          const winning = row.slice();
          winning[index] = 4;
          expect(await find(winning), `length ${length}`).toBe(index);
        }
      }
    });

    test("is the lowest of two ties, wherever they are", async () => {
      const backend = await create();
      for (let first = 0; first < 18; first++) {
        for (let second = first + 1; second < 19; second++) {
          const row = new Float32Array(19).fill(-1);
          row[first] = row[second] = 0.5;
          const x = load(backend, row);
          expect(await backend.argmax(x, 19), `${first}, ${second}`).toBe(first);
          backend.free(x);
        }
      }
    });

    test.each([
      { row: [2, 2, 2, 2, 2], index: 0 },
      { row: [-0, 0, -0, 0], index: 0 },
      { row: [-1, -0, 0, -2, -3], index: 1 },
      { row: [-Infinity, -Infinity, -5, -Infinity, -4], index: 4 },
      { row: new Array(9).fill(-Infinity), index: 0 },
      { row: [1, Infinity, 2, 3, 4, Infinity], index: 1 },
      { row: [NaN, 1, 2, NaN], index: 2 },
      { row: [NaN, -3e38, NaN, NaN, NaN, NaN, NaN], index: 1 },
      { row: [1, 2, 3, NaN, 2, NaN], index: 2 },
      { row: [NaN, NaN, NaN, NaN, 7], index: 4 },
      { row: new Array(7).fill(NaN), index: 0 },
      { row: [NaN, -Infinity, NaN, -Infinity, -Infinity], index: 0 },
      { row: [-1e-45, 0, 1e-45, -3e38], index: 2 },
    ])("of $row is $index", async ({ row, index }) => {
      expect(await find(row)).toBe(index);
    });
  });

  describe("top", () => {
    const find = async (values: ArrayLike<number>, count: number) => {
      const backend = await create();
      const { ids, logits } = await backend.top(rowOf(backend, values), values.length, count);
      expect([...logits], "the values of the row").toEqual(Array.from(ids, (id) => values[id]));
      return [...ids];
    };
    /** By a stable sort of all. */
    const sorted = (values: Float32Array) =>
      [...values.keys()]
        .filter((id) => values[id] > -Infinity)
        .sort((a, b) => (values[a] === values[b] ? 0 : values[a] > values[b] ? -1 : 1));

    test.each([1, 2, 15, 16, 17, 40, 64, 1000, 8193, 151_936])(
      "is the beginning of the sorted row, of %d values",
      async (length) => {
        const random = createRandom(length);
        const kinds = {
          normal: () => random.normal(),
          // Few different values: ties everywhere.
          coarse: () => Math.round(2 * random.normal()),
          odd: () => [NaN, -Infinity, Infinity, -0, 0, -1e-45, 3e38, random.normal()][random.below(8)],
        };
        for (const [name, value] of Object.entries(kinds)) {
          const row = Float32Array.from({ length }, value);
          const order = sorted(row);
          for (const count of [1, 40, 3000]) {
            expect(await find(row, count), `${name}, ${count}`).toEqual(order.slice(0, count));
          }
        }
      },
    );

    test("is the same of rows in order and in reverse", async () => {
      const ascending = Float32Array.from({ length: 5000 }, (_, i) => i);
      expect(await find(ascending, 50)).toEqual(sorted(ascending).slice(0, 50));
      expect(await find(ascending.reverse(), 50)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    });

    test.each([
      { row: [2, 2, 2, 2, 2], count: 3, ids: [0, 1, 2] },
      { row: [-0, 0, -0, 1], count: 4, ids: [3, 0, 1, 2] },
      { row: [1, Infinity, -Infinity, NaN, Infinity], count: 5, ids: [1, 4, 0] },
      { row: [NaN, -Infinity, NaN], count: 2, ids: [] },
      { row: [1, 2, 3], count: 0, ids: [] },
      { row: [1, 3, 2], count: 2 ** 31, ids: [1, 2, 0] },
    ])("$count of $row are $ids", async ({ row, count, ids }) => {
      expect(await find(row, count)).toEqual(ids);
    });

    test.each([8193, 151_936])("is never of what follows the row, of %d values", async (length) => {
      // What follows is 3e38: see rowOf.
      const row = new Float32Array(length).fill(-1e30);
      row[length - 1] = -5;
      expect(await find(row, 3)).toEqual([length - 1, 0, 1]);
    });
  });

  /** Rows of every length, flat, peaked, far from zero, and with tokens that are ruled out. */
  const rows = function* (): Generator<[name: string, row: Float32Array]> {
    for (const length of [...LENGTHS, LONG]) {
      const random = createRandom(length);
      const fill = (value: (i: number) => number) => Float32Array.from({ length }, (_, i) => value(i));
      yield [`normal, ${length}`, fill(() => random.normal())];
      yield [`wide, ${length}`, fill(() => random.normal() * 30)];
      yield [`far up, ${length}`, fill(() => 1e4 + random.normal())];
      yield [`far down, ${length}`, fill(() => -3e38 * random.uniform())];
      yield [`all equal, ${length}`, fill(() => -7.25)];
      yield [`zeros, ${length}`, fill(() => 0)];
      yield [`subnormal, ${length}`, fill(() => random.normal() * 1e-40)];
      yield [`one peak, ${length}`, fill((i) => (i === length >> 1 ? 90 : random.normal()))];
      yield [`mostly ruled out, ${length}`, fill((i) => (i % 5 === 0 ? random.normal() : -Infinity))];
    }
  };

  describe("logSumExp", () => {
    test("follows the formula, at every length", async () => {
      const backend = await create();
      for (const [name, row] of rows()) {
        const found = await backend.logSumExp(rowOf(backend, row), row.length);
        const { largest, total } = sumOfExp(row);
        const expected = largest + Math.log(total);
        const allowed = tolerance.logSumExp * Math.max(1, Math.abs(expected));
        expect(Math.abs(found - expected), `${name}: ${found} instead of ${expected}`).toBeLessThanOrEqual(
          allowed,
        );
      }
    });

    test.each([
      { row: new Array(6).fill(-Infinity), expected: -Infinity },
      { row: [1, Infinity, 2, -Infinity, 0], expected: Infinity },
      { row: [1, 2, 3, 4, NaN, 5], expected: NaN },
      { row: [NaN, 2, 3, 4, 7], expected: NaN },
    ])("of $row is $expected", async ({ row, expected }) => {
      const backend = await create();
      expect(await backend.logSumExp(rowOf(backend, row), row.length)).toBe(expected);
    });
  });

  describe("softmax", () => {
    test("follows the formula, at every length, in place too", async () => {
      const backend = await create();
      for (const [name, row] of rows()) {
        const out = guarded(backend, row.length);
        backend.softmax(out.floats, rowOf(backend, row), row.length);
        const found = await out.read();
        const { largest, total } = sumOfExp(row);
        const expected = Float64Array.from(row, (x) => Math.exp(x - largest) / total);
        // Where x − max is rounded to f32, its exponential is off by as much, relatively.
        const allowed = (i: number) =>
          expected[i] * (tolerance.softmax + 2 ** -24 * Math.min(largest - row[i], 1000)) + NEGLIGIBLE;
        expectClose(found, expected, allowed, name);

        const inPlace = guarded(backend, row.length, row);
        backend.softmax(inPlace.floats, inPlace.floats, row.length);
        expectSame(await inPlace.read(), found, `${name}, in place`);
      }
    });

    test("gives what is ruled out no probability, and a single token all of it", async () => {
      const backend = await create();
      const x = guarded(
        backend,
        6,
        Float32Array.of(-Infinity, 3, -Infinity, -Infinity, -Infinity, -Infinity),
      );
      backend.softmax(x.floats, x.floats, 6);
      expect([...(await x.read())]).toEqual([0, 1, 0, 0, 0, 0]);
    });

    test.each([NaN, Infinity])("of a row with %s is all NaN", async (bad) => {
      const backend = await create();
      const x = guarded(backend, 6, Float32Array.of(0, 3, -1, bad, 2, 1));
      backend.softmax(x.floats, x.floats, 6);
      expect([...(await x.read())]).toEqual(new Array(6).fill(NaN));
    });
  });
}

function sumOfExp(row: Float32Array): { largest: number; total: number } {
  const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
  return { largest, total: row.reduce((sum, x) => sum + Math.exp(x - largest), 0) };
}
