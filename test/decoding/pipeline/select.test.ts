import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bestFirst, kBest, lastOfMass } from "../../../src/decoding/pipeline/select.ts";
import { createRandom } from "../../support/random.ts";
import { smallestSet } from "./support.ts";

/** All indices, larger key first, of equal keys the lower index. */
function sorted(keys: Float64Array): number[] {
  return Array.from(keys, (_, index) => index).sort((a, b) => keys[b] - keys[a] || a - b);
}

/** Few different values, so that there are ties; some of extreme size. */
const keysOf = fc.array(
  fc.oneof(
    fc.integer({ min: -5, max: 5 }),
    fc.double({ min: -40, max: 40, noNaN: true }),
    fc.constantFrom(-1e300, 1e300, -1e9, 5e-324, 0),
  ),
  { minLength: 1, maxLength: 300 },
);

describe("kBest and bestFirst", () => {
  it("give what sorting gives", () => {
    fc.assert(
      fc.property(keysOf, fc.nat(320), (values, k) => {
        const keys = Float64Array.from(values);
        const expected = sorted(keys).slice(0, k);
        expect(Array.from(bestFirst(keys, keys.length, k))).toEqual(expected);
        const best = Array.from(kBest(keys, keys.length, k));
        expect(best[0]).toBe(expected[expected.length - 1]);
        expect(best.sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b));
      }),
      { numRuns: 500, seed: 1 },
    );
  });
});

describe("lastOfMass", () => {
  it("stops where the sum over all in order reaches the goal", () => {
    fc.assert(
      fc.property(keysOf, fc.double({ min: 0, max: 1.1, noNaN: true }), (values, share) => {
        const keys = Float64Array.from(values);
        // Integers, so that sums are exact in any order.
        const weights = Float64Array.from(values, (_, index) => (index * 7) % 5);
        const goal = Math.floor(share * weights.reduce((sum, weight) => sum + weight, 0));
        const order = sorted(keys);
        const expected = smallestSet(order, weights, goal).pop();
        expect(lastOfMass(keys, weights, keys.length, goal)).toBe(expected);
      }),
      { numRuns: 1000, seed: 2 },
    );
  });

  it("divides a large row, an even one and one of a single value", () => {
    const random = createRandom(3);
    const count = 20_000;
    for (const keys of [
      Float64Array.from({ length: count }, () => 4 * random.normal()),
      Float64Array.from({ length: count }, (_, index) => (index % 100) / 1e4),
      new Float64Array(count),
    ]) {
      const weights = new Float64Array(count).fill(1);
      const order = sorted(keys);
      for (const goal of [0, 1, 2, 999, 10_000, 19_999, 20_000, 20_001]) {
        const last = order[Math.min(Math.max(goal, 1), count) - 1];
        expect(lastOfMass(keys, weights, count, goal), String(goal)).toBe(last);
      }
    }
  });
});
