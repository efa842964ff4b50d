/** Running sums of rows that come in pieces. */
import { describe, expect, test } from "vitest";
import { stride } from "../../../src/backend/backend.ts";
import { addLogits } from "../../../src/backend/reference/likelihood.ts";
import type { CreateBackend } from "../../backend.case.ts";
import { createRandom } from "../../support/random.ts";
import { LENGTHS, LONG, load, vectorOf, vectors } from "./harness.ts";

/** Of nothing. */
const EMPTY = [-Infinity, 0];

export function likelihoodCases(create: CreateBackend): void {
  /** Anchor and sum of one row, given in pieces. */
  const sumOf = async (row: Float32Array, piece = row.length) => {
    const backend = await create();
    const sums = Float64Array.from(EMPTY);
    for (let at = 0; at < row.length; at += piece) {
      const part = row.slice(at, at + piece);
      const x = load(
        backend,
        vectors(1, part.length, (_, i) => part[i]),
      );
      expect(await backend.likelihoodKernels().add(x, part.length, 1, sums)).toBe(-1);
      backend.free(x);
    }
    return Array.from(sums);
  };
  const lse = ([anchor, sum]: number[]) => anchor + Math.log(sum);
  /** Another order, relative to the largest. */
  const naive = (row: Float32Array) => {
    const top = row.reduce((most, z) => Math.max(most, z));
    const terms = Array.from(row, (z) => Math.exp(z - top)).sort((a, b) => a - b);
    return top + Math.log(terms.reduce((a, b) => a + b, 0));
  };
  const normals = (length: number, scale: number) => {
    const random = createRandom(length);
    return Float32Array.from({ length }, () => scale * random.normal());
  };

  describe("running sums", () => {
    test.each([...LENGTHS, LONG])(
      "are log-sum-exp, with the bits of the definition: %d logits",
      async (length) => {
        const ascending = Float32Array.from({ length }, (_, i) => 0.37 * i);
        const leaps = Float32Array.from({ length }, (_, i) => (i % 5) * 40 - (i % 3) * 30 + (i >> 4));
        const masked = normals(length, 4).map((z, i) => (i % 3 === 1 ? -Infinity : z));
        const far = normals(length, 400);
        const rows = [normals(length, 4), ascending, ascending.slice().reverse(), leaps, masked, far];
        for (const [index, row] of rows.entries()) {
          const found = await sumOf(row);
          const running = { anchor: -Infinity, sum: 0 };
          addLogits(running, row);
          expect(found, `row ${index}`).toEqual([running.anchor, running.sum]);
          const expected = naive(row);
          expect(Math.abs(lse(found) - expected), `row ${index}`).toBeLessThan(
            2e-12 * (1 + Math.abs(expected)),
          );
        }
      },
    );

    test.each([1, 2, 3, 7, 64, 999])("are the same to the last bit in pieces of %d", async (piece) => {
      for (const row of [normals(1000, 5), normals(1000, 50)]) {
        expect(await sumOf(row, piece)).toEqual(await sumOf(row));
      }
    });

    test("of several rows do not know of each other, nor of what stands between them", async () => {
      const backend = await create();
      const random = createRandom(3);
      for (const count of [1, 5, 33]) {
        const all = vectors(4, count, () => 3 * random.normal());
        const sums = Float64Array.from({ length: 8 }, (_, i) => EMPTY[i % 2]);
        await backend.likelihoodKernels().add(load(backend, all), count, 4, sums);
        for (let column = 0; column < 4; column++) {
          const alone = await sumOf(vectorOf(all, column, count).slice());
          expect(Array.from(sums.subarray(2 * column, 2 * column + 2))).toEqual(alone);
        }
      }
    });

    test("of what is impossible are nothing", async () => {
      expect(await sumOf(new Float32Array(7).fill(-Infinity))).toEqual(EMPTY);
      expect(await sumOf(Float32Array.of(-Infinity, 5, -Infinity))).toEqual([5, 1]);
      expect(lse(await sumOf(Float32Array.of(1e4, 1e4)))).toBeCloseTo(1e4 + Math.LN2, 10);
      expect(lse(await sumOf(Float32Array.of(-3e38, -3e38)))).toBe(Math.fround(-3e38));
      expect(lse(await sumOf(Float32Array.of(-3e38, 3e38)))).toBe(Math.fround(3e38));
      // What is 745 below the anchor is not nothing yet, and 746 is.
      expect(await sumOf(Float32Array.of(0, -745))).toEqual([0, 1]);
      expect(await sumOf(Float32Array.of(0, -710, 40))).toEqual([40, 1 + Math.exp(-40)]);
    });

    test("tell where a logit is none, and leave its row as it was", async () => {
      const backend = await create();
      for (const wrong of [NaN, Infinity]) {
        for (const count of [4, 5, 9]) {
          for (let at = 0; at < count; at++) {
            const all = vectors(3, count, (column, i) => (column === 1 && i === at ? wrong : i / 8));
            const sums = Float64Array.of(0, 1, 0.5, 2, -Infinity, 0);
            const x = load(backend, all);
            expect(await backend.likelihoodKernels().add(x, count, 3, sums)).toBe(stride(count) + at);
            expect(Array.from(sums.subarray(2, 4))).toEqual([0.5, 2]);
            expect(sums[4]).toBe(0);
            backend.free(x);
          }
        }
      }
    });
  });
}
