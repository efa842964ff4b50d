import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPipeline, presetSteps } from "../../src/decoding/pipeline.ts";
import { noise } from "../../src/philox.ts";

/** The options that every runtime has. */
interface Settings {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

function sampleToken(row: Float32Array, history: number[], position: number, settings: Settings): number {
  const { seed, ...options } = settings;
  const context = { history, promptLength: history.length, position, seed };
  return createPipeline(presetSteps("edgewise", options)).sample(row, context).token;
}

const NEUTRAL: Settings = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 1,
};

/** Logits with these probabilities. */
const rowOf = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);

const DRAWS = 4000;

/** How often each token is drawn at positions 0 … DRAWS − 1, as shares. */
function shares(row: Float32Array, settings: Partial<Settings>, history: number[] = []): number[] {
  const counts = new Array<number>(row.length).fill(0);
  for (let position = 0; position < DRAWS; position++) {
    counts[sampleToken(row, history, position, { ...NEUTRAL, ...settings })]++;
  }
  return counts.map((count) => count / DRAWS);
}

/** Four standard deviations of a share; a token without a chance must never be drawn. */
function expectShares(actual: number[], expected: number[]): void {
  expected.forEach((p, token) => {
    if (p === 0) expect(actual[token], `token ${token}`).toBe(0);
    else
      expect(Math.abs(actual[token] - p), `token ${token}`).toBeLessThanOrEqual(
        4 * Math.sqrt((p * (1 - p)) / DRAWS),
      );
  });
}

describe("a pipeline of the common options", () => {
  it("draws as the probabilities say", () => {
    const p = [0.05, 0.5, 0.15, 0.3];
    expectShares(shares(rowOf(...p), {}), p);
  });

  it("is a function of row, position and seed", () => {
    const row = rowOf(0.25, 0.25, 0.25, 0.25);
    const tokens = (seed: number) =>
      Array.from({ length: 50 }, (_, position) => sampleToken(row, [], position, { ...NEUTRAL, seed }));
    expect(tokens(5)).toEqual(tokens(5));
    expect(tokens(5)).not.toEqual(tokens(6));
    // With equal chances the token with the most noise wins.
    expect(tokens(5)).toEqual(
      Array.from({ length: 50 }, (_, position) => {
        const u = row.map((_logit, token) => noise(5, position, token));
        return u.indexOf(Math.max(...u));
      }),
    );
  });

  it("sharpens with a low temperature and flattens with a high one", () => {
    const root = [Math.sqrt(0.1), Math.sqrt(0.9)];
    expectShares(shares(rowOf(0.1, 0.9), { temperature: 2 }), [
      root[0] / (root[0] + root[1]),
      root[1] / (root[0] + root[1]),
    ]);
    expectShares(shares(rowOf(0.1, 0.9), { temperature: 0.5 }), [0.01 / 0.82, 0.81 / 0.82]);
  });

  it("takes the best token at temperature 0, the lowest of equal ones", () => {
    expect(shares(rowOf(0.2, 0.4, 0.4), { temperature: 0 })).toEqual([0, 1, 0]);
  });

  it("keeps the k best, the lower of equal ones, and gives them the others' share", () => {
    const row = rowOf(0.1, 0.2, 0.4, 0.2, 0.1);
    expectShares(shares(row, { topK: 2 }), [0, 1 / 3, 2 / 3, 0, 0]);
    expectShares(shares(row, { topK: 1 }), [0, 0, 1, 0, 0]);
    expectShares(shares(row, { topK: 99 }), [0.1, 0.2, 0.4, 0.2, 0.1]);
  });

  it("keeps the smallest set that holds p", () => {
    const row = rowOf(0.1, 0.2, 0.4, 0.3);
    expectShares(shares(row, { topP: 0.3 }), [0, 0, 1, 0]);
    expectShares(shares(row, { topP: 0.6 }), [0, 0, 4 / 7, 3 / 7]);
    expectShares(shares(row, { topP: 0.85 }), [0, 2 / 9, 4 / 9, 3 / 9]);
    expectShares(shares(row, { topP: 1e-9 }), [0, 0, 1, 0]);
  });

  it("drops what is far less likely than the best", () => {
    const row = rowOf(0.5, 0.3, 0.15, 0.05);
    expectShares(shares(row, { minP: 0.2 }), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]);
    expectShares(shares(row, { minP: 1 }), [1, 0, 0, 0]);
  });

  it("applies its steps in the documented order", () => {
    // Temperature 0.5 first: 0.4, 0.3, 0.2, 0.1 become 16/30, 9/30, 4/30, 1/30. Top-k then leaves 16/29, 9/29, 4/29,
    // of which two reach 0.8; before top-k it would have taken three.
    const row = rowOf(0.4, 0.3, 0.2, 0.1);
    expectShares(shares(row, { temperature: 0.5, topK: 3, topP: 0.84 }), [16 / 25, 9 / 25, 0, 0]);
    expectShares(shares(row, { temperature: 0.5, topP: 0.84 }), [16 / 29, 9 / 29, 4 / 29, 0]);
  });

  it("makes seen tokens less likely, whatever the sign of their logit", () => {
    const row = Float32Array.of(2, 2, -2, -2);
    const settings = { ...NEUTRAL, temperature: 0, repetitionPenalty: 1.5 };
    expect(sampleToken(row, [0], 0, settings)).toBe(1);
    expect(sampleToken(row, [0, 1], 0, { ...settings, repetitionPenalty: 1e2 })).toBe(0);
    expect(sampleToken(Float32Array.of(-1, -2, -1.5), [0], 0, { ...settings, repetitionPenalty: 2 })).toBe(2);
    const [seen, other] = [Math.exp(2 / 1.5), Math.exp(2)];
    const total = seen + other;
    expectShares(shares(row.slice(0, 2), { repetitionPenalty: 1.5 }, [0, 0, 0]), [
      seen / total,
      other / total,
    ]);
  });

  it("leaves the row as it is", () => {
    const row = Float32Array.of(1, 2, 3);
    sampleToken(row, [0, 1, 2], 0, { ...NEUTRAL, repetitionPenalty: 2, topK: 2, topP: 0.5, minP: 0.1 });
    expect(row).toEqual(Float32Array.of(1, 2, 3));
  });

  it("gives a possible token of the row, whatever is in it, or an error if it has none", () => {
    const logit = fc.oneof(
      fc.float({ min: Math.fround(-1e30), max: Math.fround(1e30) }),
      fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 3.4e38, -3.4e38),
    );
    const settings = fc.record({
      temperature: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 100, noNaN: true })),
      topK: fc.nat(20),
      topP: fc.double({ min: 1e-9, max: 1, noNaN: true }),
      minP: fc.double({ min: 0, max: 1, noNaN: true }),
      repetitionPenalty: fc.oneof(fc.constant(1), fc.double({ min: 0.01, max: 100, noNaN: true })),
      seed: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 1, maxLength: 12 }),
        settings,
        fc.nat(1000),
        (values, some, at) => {
          const row = Float32Array.from(values);
          const sample = () => sampleToken(row, [0, row.length - 1], at, some);
          if (row.some((value) => value > -Infinity)) expect(row[sample()]).toBeGreaterThan(-Infinity);
          else expect(sample).toThrow(`position ${at}: no logit of the row is above −∞`);
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
  });

  it("lets nothing but the largest f32 stand against an infinite logit", () => {
    const greedy = { ...NEUTRAL, temperature: 0 };
    expect(sampleToken(Float32Array.of(0, Infinity, 5, Infinity), [], 0, greedy)).toBe(1);
    expect(shares(Float32Array.of(0, Infinity, NaN, -Infinity), {})).toEqual([0, 1, 0, 0]);
    expect(sampleToken(Float32Array.of(NaN, -5, NaN), [], 0, greedy)).toBe(1);
  });

  it("draws the best token more and more often as the temperature falls", () => {
    const row = rowOf(0.4, 0.35, 0.25);
    const best = [4, 1, 0.3, 0.05, 1e-6].map((temperature) => shares(row, { temperature })[0]);
    expect(best).toEqual([...best].sort((a, b) => a - b));
    expect(best[best.length - 1]).toBe(1);
  });
});
