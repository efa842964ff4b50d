/** The specification of RowMath. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { probability, type RowMath, type VerifyRandom, type Weights } from "../../../src/backend/row-math.ts";

const row = (...values: number[]) => Float64Array.from(values);
const LAST_U = 1 - 2 ** -53;

/** Numbers for a race, and no others. */
const withNoise = (noise: (token: number) => number): VerifyRandom => ({
  noise: (_position, token) => noise(token),
  uniform: () => {
    throw new Error("A race takes noise alone");
  },
});

/** @param rounding Of one value of a row below 1. */
export function testRowMath(math: RowMath, rounding: number): void {
  const weights = (...values: number[]): Weights => ({
    values: row(...values),
    mass: math.mass(row(...values)),
  });

  describe("argmax", () => {
    it("takes the lowest of equal ids", () => {
      expect(math.argmax(row(1, 3, 3, 2))).toBe(1);
      expect(math.argmax(row(-0, 0))).toBe(0);
    });
    it("passes NaN over, and finds nothing in a row without numbers", () => {
      expect(math.argmax(row(NaN, -5, NaN))).toBe(1);
      expect(math.argmax(row(NaN, -Infinity))).toBe(-1);
      expect(math.argmax(row(1, Infinity))).toBe(1);
    });
  });

  describe("mass", () => {
    it("sums", () => expect(math.mass(row(0.25, 0.5))).toBe(0.75));
    it("is NaN of a negative number, also where the sum would be 1", () => {
      expect(math.mass(row(1.5, -0.5))).toBeNaN();
      expect(math.mass(row(1, NaN))).toBeNaN();
    });
    it("is f64, also of 152k f32 values", () => {
      const values = new Float32Array(151_936).fill(1 / 151_936);
      expect(Math.abs(math.mass(values) - 151_936 * values[0])).toBeLessThan(1e-9);
    });
  });

  describe("accepts", () => {
    it("always, where p ≥ q", () => {
      expect(math.accepts(LAST_U, 0.4, 0.4)).toBe(true);
      expect(math.accepts(LAST_U, 1, 1)).toBe(true);
      expect(math.accepts(LAST_U, 0.8, 0.4)).toBe(true);
    });
    it("with probability p/q, where p < q", () => {
      expect([0.49, 0.5, 0.51].map((u) => math.accepts(u, 0.2, 0.4))).toEqual([true, false, false]);
      expect([0.09, 0.1].map((u) => math.accepts(u, 0.1, 1))).toEqual([true, false]);
    });
    it("never a token of probability 0, nor one that the draft gives none", () => {
      for (const u of [0, 0.5, LAST_U]) {
        expect(math.accepts(u, 0, 0.5)).toBe(false);
        expect(math.accepts(u, 0.5, 0)).toBe(false);
        expect(math.accepts(u, 0, 0)).toBe(false);
        expect(math.accepts(u, NaN, 0.5)).toBe(false);
        expect(math.accepts(u, 0.5, NaN)).toBe(false);
      }
    });
    it("as soon as p ≥ q, whatever the numbers", () => {
      const normal = fc.double({ min: 2 ** -1021, max: 1, noNaN: true });
      fc.assert(fc.property(normal, (p) => math.accepts(LAST_U, p, p)));
    });
  });

  describe("draw", () => {
    it("inverts the cumulative distribution, scaled by its own end", () => {
      const p = weights(1, 0, 2, 1);
      expect([0, 0.24, 0.25, 0.74, 0.75, LAST_U].map((u) => math.draw(p, u))).toEqual([0, 0, 2, 2, 3, 3]);
    });
    it("falls back to the last token with mass, not to the last id", () => {
      const p = { values: row(0.5, 0.4, 0, 0), mass: 1 };
      expect(math.draw(p, 0.95)).toBe(1);
      expect(math.draw(p, NaN)).toBe(1);
    });
    it("never gives a token without mass at u = 0", () => expect(math.draw(weights(0, 0, 1), 0)).toBe(2));
    it("needs some mass", () => {
      expect(() => math.draw(weights(0, 0), 0.5)).toThrow(
        new RangeError("Cannot draw a token: no token of the row has mass"),
      );
    });
  });

  describe("residual", () => {
    it("of p above q", () => {
      const rest = math.residual(weights(0.1, 0.5, 0.2, 0.2), weights(0.3, 0.2, 0.3, 0.2), 1);
      for (const id of [0, 1, 2, 3]) {
        expect(Math.abs(probability(rest, id) - Number(id === 1))).toBeLessThanOrEqual(rounding);
      }
    });
    it("of equal rows is exactly nothing", () => {
      const p = weights(0.1, 0.2, 0.7);
      expect(math.residual(p, p, 1).mass).toBe(0);
      expect(math.residualMass(p, { values: Float32Array.from(p.values), mass: 1 }, 1)).toBeLessThan(1e-7);
    });
    it("of disjoint rows is p", () => {
      const rest = math.residual(weights(0.5, 0.5, 0, 0), weights(0, 0, 0.9, 0.1), 1);
      expect([...rest.values]).toEqual([0.5, 0.5, 0, 0]);
    });
    it("takes both as p / Σp, and scales p", () => {
      const rest = math.residual(weights(2, 6), weights(1, 1), 0.8);
      expect(rest.values[0]).toBe(0);
      expect(Math.abs(rest.values[1] - (0.8 * 0.75 - 0.5))).toBeLessThan(rounding);
    });
    it("has the mass that residualMass gives", () => {
      const value = fc.double({ min: 0, max: 1, noNaN: true });
      const values = fc.array(value, { minLength: 4, maxLength: 4 });
      fc.assert(
        fc.property(values, values, value, (a, b, scale) => {
          const [p, q] = [weights(...a), weights(...b)];
          expect(math.residualMass(p, q, scale)).toBe(math.residual(p, q, scale).mass);
        }),
      );
    });
  });

  describe("without", () => {
    it("removes tokens and leaves the row as it was", () => {
      const p = weights(0.5, 0.25, 0.25);
      const rest = math.without(p, [0, 2]);
      expect([...rest.values]).toEqual([0, 0.25, 0]);
      expect(probability(rest, 1)).toBe(1);
      expect(p.values[0]).toBe(0.5);
    });
    it("leaves exactly nothing of the last token", () => {
      const rest = math.without(math.without(weights(0.1, 0.2, 0.7), [0, 1]), [2]);
      expect(rest.mass).toBe(0);
      expect(probability(rest, 2)).toBe(0);
    });
  });

  describe("gumbelArgmax", () => {
    /** E[x] as given: u = e^−E. */
    const race = (exponentials: number[]) => withNoise((token) => Math.exp(-exponentials[token]));

    it("takes the largest p/E", () => {
      expect(math.gumbelArgmax(weights(0.2, 0, 0), race([0.5, 0.3, 0.2]), 0)).toBe(0);
      expect(math.gumbelArgmax(weights(0.4, 0.6), race([0.1, 0.8]), 0)).toBe(0);
      expect(math.gumbelArgmax(weights(0.4, 0.6), race([0.8, 0.1]), 0)).toBe(1);
    });
    it("of residuals gives the published recovered tokens", () => {
      const recover = (p: number[], q: number[], exponentials: number[]) =>
        math.gumbelArgmax(math.residual(weights(...p), weights(...q), 1), race(exponentials), 0);
      expect(recover([0.8, 0.1, 0.1], [0.6, 0.1, 0.3], [0.5, 0.3, 0.2])).toBe(0);
      expect(recover([0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1])).toBe(0);
    });
    it("never takes a token without mass, whatever the noise", () => {
      const zero = withNoise(() => 0);
      expect(math.gumbelArgmax(weights(0, 0.5, 0.5, 0), zero, 0)).toBe(2);
      const least = Math.fround(1e-45);
      expect(
        math.gumbelArgmax(
          weights(0, least, 0),
          withNoise(() => 1e-300),
          0,
        ),
      ).toBe(1);
      expect(() => math.gumbelArgmax(weights(0, 0), zero, 0)).toThrow("no token of the row has mass");
    });
    it("takes the lowest of equal ids", () => {
      expect(
        math.gumbelArgmax(
          weights(0.5, 0.5),
          withNoise(() => 0.5),
          0,
        ),
      ).toBe(0);
    });
  });
}
