import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import {
  createPipeline,
  type Distribution,
  denseProbabilities,
  draw,
  gumbelArgmax,
  probabilityOf,
  topLogProbabilities,
} from "../../../src/decoding/pipeline.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import { createRandom } from "../../support/random.ts";
import { context, rowOf } from "./support.ts";

const FEW: Distribution = {
  vocab: 9,
  ids: Uint32Array.of(1, 4, 7),
  probabilities: Float64Array.of(0.25, 0.5, 0.25),
};

describe("draw", () => {
  it("inverts the cumulative distribution", () => {
    const drawn = [0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2 ** -53].map((random) => draw(FEW, random));
    expect(drawn).toEqual([1, 1, 4, 4, 7, 7]);
  });

  it("takes the last token with mass where rounding leaves the number beyond the end", () => {
    // The sum of ten tenths is below 1.
    const ids = Uint32Array.from({ length: 10 }, (_, id) => id);
    const even = { vocab: 12, ids, probabilities: new Float64Array(10).fill(0.1) };
    expect(draw(even, 1 - 2 ** -53)).toBe(9);
    expect(draw(even, 1)).toBe(9);
  });
});

describe("probabilities", () => {
  it("are found by token, and are 0 elsewhere", () => {
    expect([0, 1, 4, 5, 7, 8, 9, -1, 1.5].map((token) => probabilityOf(FEW, token))).toEqual([
      0, 0.25, 0.5, 0, 0.25, 0, 0, 0, 0,
    ]);
  });

  it("fill a row, which is overwritten", () => {
    const expected = Float64Array.of(0, 0.25, 0, 0, 0.5, 0, 0, 0.25, 0);
    expect(denseProbabilities(FEW)).toEqual(expected);
    const out = new Float64Array(9).fill(7);
    expect(denseProbabilities(FEW, out)).toBe(out);
    expect(out).toEqual(expected);
    expect(() => denseProbabilities(FEW, new Float64Array(8))).toThrow(
      '"out.length" must be an integer from 9',
    );
  });

  it("are told as logarithms, best first, the lower id first of equal ones", () => {
    const top = topLogProbabilities(FEW, 2);
    expect(top.map(({ token }) => token)).toEqual([4, 1]);
    expect(top[0].logProbability).toBeCloseTo(Math.log(0.5), 15);
    expect(topLogProbabilities(FEW, 99)).toHaveLength(3);
    expect(topLogProbabilities(FEW, 0)).toEqual([]);
  });

  it("of a choice are those of the row that was really used", () => {
    const pipeline = createPipeline([
      { step: "top-k", k: 2 },
      { step: "temperature", temperature: 0.5 },
    ]);
    const choice = pipeline.sample(rowOf(0.1, 0.4, 0.2, 0.3), context({ seed: 3 }), 5);
    expect(choice.top.map(({ token }) => token)).toEqual([1, 3]);
    expect(choice.top[0].logProbability).toBeCloseTo(Math.log(16 / 25), 12);
    expect(choice.top[1].logProbability).toBeCloseTo(Math.log(9 / 25), 12);
    expect(choice.logProbability).toBe(
      choice.top.find(({ token }) => token === choice.token)?.logProbability,
    );
  });
});

describe("gumbelArgmax", () => {
  it("is what a verifier makes of the dense row", () => {
    const random = createRandom(1);
    const pipeline = createPipeline([{ step: "top-k", k: 12 }]);
    for (let position = 0; position < 300; position++) {
      const row = Float32Array.from({ length: 50 }, () => 2 * random.normal());
      const distribution = pipeline.distribution(row, context({ position }));
      const values = denseProbabilities(distribution);
      const mass = referenceRowMath.mass(values);
      expect(gumbelArgmax(distribution, 11, position)).toBe(
        referenceRowMath.gumbelArgmax({ values, mass }, seededRandom(11), position),
      );
    }
  });

  it("draws as the probabilities say", () => {
    const count = 4000;
    const drawn = new Map<number, number>();
    for (let position = 0; position < count; position++) {
      const token = gumbelArgmax(FEW, 5, position);
      drawn.set(token, (drawn.get(token) ?? 0) + 1);
    }
    // Four standard deviations.
    for (const [token, p] of [
      [1, 0.25],
      [4, 0.5],
      [7, 0.25],
    ]) {
      expect(Math.abs(drawn.get(token)! / count - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / count));
    }
    expect(drawn.size).toBe(3);
  });
});
