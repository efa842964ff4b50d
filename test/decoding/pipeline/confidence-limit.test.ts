import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Row, Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";
import { expectLaw, law, normalized, rowOf } from "./support.ts";

const limit = (values: { maxProbability?: number; minEntropy?: number }): Step => ({
  step: "confidence-limit",
  ...values,
});

/** By definition, at a temperature. */
function heated(row: Row, temperature: number): number[] {
  const top = Math.max(...row);
  return normalized(...Array.from(row, (logit) => Math.exp((logit - top) / temperature)));
}

function entropy(p: readonly number[]): number {
  return -p.reduce((sum, x) => (x > 0 ? sum + x * Math.log(x) : sum), 0);
}

/** The temperature that a law of the row has, from its two most different tokens. */
function temperatureOf(row: Row, p: readonly number[]): number {
  const ids = Array.from(row, (_, id) => id).filter((id) => p[id] > 0);
  ids.sort((a, b) => row[a] - row[b]);
  const [low, high] = [ids[0], ids[ids.length - 1]];
  return (row[high] - row[low]) / Math.log(p[high] / p[low]);
}

describe("confidence-limit", () => {
  it("leaves a row within its limits as it is", () => {
    const p = [0.5, 0.3, 0.2];
    const same = law(rowOf(...p), []);
    expect(law(rowOf(...p), [limit({ maxProbability: 0.51 })])).toEqual(same);
    expect(law(rowOf(...p), [limit({ minEntropy: 1 })])).toEqual(same);
    expect(law(rowOf(...p), [limit({ maxProbability: 0.51, minEntropy: 1 })])).toEqual(same);
  });

  it("has a temperature that can be written down for two tokens", () => {
    // p^(1/T) / (p^(1/T) + (1 − p)^(1/T)) = m   where   T = ln(p / (1 − p)) / ln(m / (1 − m))
    const row = rowOf(0.99, 0.01);
    expectLaw(law(row, [limit({ maxProbability: 0.75 })]), [0.75, 0.25], 1e-9);
    const actual = law(row, [limit({ maxProbability: 0.75 })]);
    expect(temperatureOf(row, actual)).toBeCloseTo(Math.log(99) / Math.log(3), 7);
  });

  const rows = fc
    .array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: 2, maxLength: 40 })
    .map((values) => Float64Array.from(values));

  it("heats just enough: never beyond a limit, and at it by 1e-9", () => {
    const share = fc.double({ min: 0.03, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(
        rows,
        share,
        fc.double({ min: 0, max: 3, noNaN: true }),
        (row, maxProbability, minEntropy) => {
          const p = law(row, [limit({ maxProbability, minEntropy })]);
          const plain = heated(row, 1);
          const room = (q: readonly number[]) =>
            Math.min(maxProbability - Math.max(...q), entropy(q) - minEntropy);
          if (room(plain) >= 0) return expectNear(p, plain, 1e-12);
          const flattest = new Array<number>(row.length).fill(1 / row.length);
          if (room(flattest) <= 0) return expectNear(p, flattest, 1e-15);
          expect(room(p)).toBeGreaterThan(-1e-13);
          expect(room(p)).toBeLessThan(1e-9);
          // And what it has become is the row at a temperature.
          expectNear(p, heated(row, temperatureOf(row, p)), 1e-7);
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
  });

  function expectNear(actual: readonly number[], expected: readonly number[], tolerance: number): void {
    expected.forEach((p, id) => {
      expect(Math.abs(actual[id] - p), `token ${id}`).toBeLessThanOrEqual(tolerance);
    });
  }

  it("keeps equal tokens equal, and takes the flattest law where none reaches the limit", () => {
    const row = Float64Array.of(5, 0, 5, -3);
    const tied = law(row, [limit({ maxProbability: 0.3 })]);
    expect(tied[0]).toBe(tied[2]);
    expect(tied[0]).toBeCloseTo(0.3, 9);
    for (const step of [
      limit({ maxProbability: 0.25 }),
      limit({ maxProbability: 0.1 }),
      limit({ minEntropy: 9 }),
    ]) {
      expect(law(row, [step])).toEqual([0.25, 0.25, 0.25, 0.25]);
    }
    const third = law(Float64Array.of(9, 0, 0), [limit({ maxProbability: 1 / 3 })]);
    expectNear(third, [1 / 3, 1 / 3, 1 / 3], 1e-15);
    expect(law(new Float64Array(4), [limit({ maxProbability: 0.1 })])).toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it("gives nothing to tokens that were cut off, and nothing to do after a greedy step", () => {
    const row = rowOf(0.9, 0.05, 0.03, 0.02);
    const cut = law(row, [{ step: "top-k", k: 2 }, limit({ maxProbability: 0.1 })]);
    expect(cut).toEqual([0.5, 0.5, 0, 0]);
    const greedy = law(row, [{ step: "temperature", temperature: 0 }, limit({ maxProbability: 0.1 })]);
    expect(greedy).toEqual([1, 0, 0, 0]);
  });

  it("ends on rows of any size and reach", () => {
    const infinite = Float32Array.of(Infinity, 3, -3.4e38, 0, NaN);
    const p = law(infinite, [limit({ maxProbability: 0.4 })]);
    expect(Math.max(...p)).toBeCloseTo(0.4, 9);
    expect(p[4]).toBe(0);
    expect(Math.max(...law(Float64Array.of(1e300, 0, -1e300), [limit({ minEntropy: 1 })]))).toBeLessThan(0.6);
    const random = createRandom(1);
    const wide = Float32Array.from({ length: 30_000 }, () => 3 * random.normal());
    wide[7] = 40;
    expect(Math.max(...law(wide, [limit({ maxProbability: 0.5 })]))).toBeCloseTo(0.5, 9);
    expect(entropy(law(wide, [limit({ minEntropy: 4 })]))).toBeCloseTo(4, 9);
  });
});
