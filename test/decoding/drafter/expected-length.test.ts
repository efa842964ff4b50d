import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bestDraftLength,
  expectedSpeedup,
  expectedTokens,
} from "../../../src/decoding/drafter/expected-length.ts";
import { createRandom } from "../../support/random.ts";

describe("expected length", () => {
  test("is the geometric sum", () => {
    expect(expectedTokens(0.5, 2)).toBe(1.75);
    expect(expectedTokens(0, 7)).toBe(1);
    expect(expectedTokens(1, 7)).toBe(8);
    expect(expectedTokens(0.3, 0)).toBe(1);
    fc.assert(
      fc.property(fc.double({ min: 0, max: 0.99, noNaN: true }), fc.nat(64), (alpha, gamma) => {
        expect(expectedTokens(alpha, gamma)).toBeCloseTo((1 - alpha ** (gamma + 1)) / (1 - alpha), 10);
      }),
    );
  });

  test("is what a simulation gives", () => {
    const random = createRandom(1);
    const [chance, gamma] = [0.6, 4];
    const rounds = 200_000;
    let emitted = 0;
    for (let round = 0; round < rounds; round++) {
      let accepted = 0;
      while (accepted < gamma && random.uniform() < chance) accepted++;
      emitted += accepted + 1;
    }
    // Standard deviation of the mean: below 1.6 / sqrt(200,000) = 0.004.
    expect(Math.abs(emitted / rounds - expectedTokens(chance, gamma))).toBeLessThan(0.015);
  });

  test("gives the speed-up, and the best draft length", () => {
    const costs = { target: (n: number) => 1 + 0.1 * (n - 1), draft: () => 0 };
    expect(expectedSpeedup(0.8, 4, costs)).toBeCloseTo(3.3616 / 1.4, 12);
    expect(expectedSpeedup(0.8, 0, costs)).toBe(1);
    expect(bestDraftLength(0.8, costs, 16)).toBe(6);
    expect(bestDraftLength(0.8, costs, 3)).toBe(3);
    expect(bestDraftLength(0.05, costs, 16)).toBe(0);
    expect(bestDraftLength(1, costs, 16)).toBe(16);
    expect(bestDraftLength(0.8, { target: (n) => n, draft: () => 0 }, 16)).toBe(0);
  });

  test.each([
    [1.1, 2, '"acceptance" must be a number from 0 to 1, got 1.1'],
    [Number.NaN, 2, '"acceptance" must be a number from 0 to 1, got NaN'],
    [0.5, -1, '"gamma" must be an integer from 0 to 256, got -1'],
  ])("refuses %s and %s", (acceptance, gamma, message) => {
    expect(() => expectedTokens(acceptance, gamma)).toThrow(message);
  });
});
