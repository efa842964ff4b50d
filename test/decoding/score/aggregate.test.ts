import { describe, expect, it } from "vitest";
import { dyadic, minus, plus, quotient, reduced, times } from "../../../src/decoding/score/dyadic.ts";
import { Aggregate } from "../../../src/decoding/score.ts";
import { createRandom } from "../../support/random.ts";

const random = createRandom(11);
const VALUES = Array.from({ length: 500 }, () => 3 + 2 * random.normal());
const BYTES = VALUES.map(() => random.below(9));

function aggregate(from: number, to: number): Aggregate {
  const result = new Aggregate();
  for (let i = from; i < to; i++) result.add(VALUES[i], BYTES[i]);
  return result;
}

describe("Aggregate", () => {
  it("has mean and standard error per position", () => {
    const { positions, total, mean, standardError, perByte } = new Aggregate().add(1).add(2).add(6).summary();
    expect([positions, total, mean, perByte]).toEqual([3, 9, 3, null]);
    // Variance 7, of three.
    expect(standardError).toBeCloseTo(Math.sqrt(7 / 3), 15);
  });

  it("has the ratio to the bytes, and its error", () => {
    // R = 9/6: residuals 1 − 1.5, 2 − 3, 6 − 4.5.
    const summary = new Aggregate().add(1, 1).add(2, 2).add(6, 3).summary();
    const { bytes, mean, standardError, bits } = summary.perByte!;
    expect([bytes, mean]).toEqual([6, 1.5]);
    expect(standardError).toBeCloseTo(Math.sqrt((3 / 2) * (0.25 + 1 + 2.25)) / 6, 15);
    expect(bits.mean).toBe(1.5 / Math.LN2);
    expect(bits.standardError).toBe(standardError! / Math.LN2);
  });

  it("agrees with two passes over many positions", () => {
    const n = VALUES.length;
    const { mean, standardError, perByte } = aggregate(0, n).summary();
    const average = VALUES.reduce((a, b) => a + b) / n;
    const squares = VALUES.reduce((sum, x) => sum + (x - average) ** 2, 0);
    expect(mean).toBeCloseTo(average, 13);
    expect(standardError).toBeCloseTo(Math.sqrt(squares / (n - 1) / n), 13);
    const bytes = BYTES.reduce((a, b) => a + b);
    const ratio = (average * n) / bytes;
    const residuals = VALUES.reduce((sum, x, i) => sum + (x - ratio * BYTES[i]) ** 2, 0);
    expect(perByte!.mean).toBeCloseTo(ratio, 13);
    expect(perByte!.standardError).toBeCloseTo(Math.sqrt((n / (n - 1)) * residuals) / bytes, 13);
  });

  it("is the same to the last bit merged from parts, in any order, through JSON", () => {
    const whole = aggregate(0, 500);
    for (const cuts of [
      [0, 1, 500],
      [0, 250, 251, 499, 500],
      [0, 100, 200, 300, 400, 500],
    ]) {
      const parts = cuts.slice(1).map((to, i) => aggregate(cuts[i], to));
      const merged = new Aggregate();
      for (const part of parts.reverse()) {
        merged.merge(Aggregate.fromJSON(JSON.parse(JSON.stringify(part))));
      }
      expect(merged.summary()).toEqual(whole.summary());
      expect(merged.toJSON()).toEqual(whole.toJSON());
    }
    const twice = aggregate(0, 500);
    expect(twice.merge(twice).toJSON()).toEqual(aggregate(0, 500).merge(whole).toJSON());
    expect(whole.merge(new Aggregate()).toJSON()).toEqual(aggregate(0, 500).toJSON());
  });

  it("loses nothing where f64 would lose all", () => {
    const { mean, standardError } = new Aggregate().add(1e300).add(1).add(-1e300).add(2).summary();
    expect(mean).toBe(0.75);
    expect(standardError! / 1e300).toBeCloseTo(Math.sqrt(2 / 3 / 4), 14);
    // Σx² − (Σx)²/n of these cancels to 0 or below in f64.
    const close = new Aggregate()
      .add(1e9)
      .add(1e9 + 1)
      .add(1e9 + 2)
      .summary();
    expect([close.mean, close.standardError]).toEqual([1e9 + 1, Math.sqrt(1 / 3)]);
    expect(new Aggregate().add(5e-324).add(5e-324).summary().mean).toBe(5e-324);
    expect(new Aggregate().add(0.1).add(0.1).add(0.1).summary()).toMatchObject({
      mean: 0.1,
      standardError: 0,
    });
  });

  it("has no error of one position, and no bytes where a position came without", () => {
    expect(new Aggregate().add(2, 4).summary()).toEqual({
      positions: 1,
      total: 2,
      mean: 2,
      standardError: null,
      perByte: {
        bytes: 4,
        mean: 0.5,
        standardError: null,
        bits: { mean: 0.5 / Math.LN2, standardError: null },
      },
    });
    expect(new Aggregate().add(2, 4).add(1).summary().perByte).toBeNull();
    expect(new Aggregate().add(2, 0).summary().perByte).toBeNull();
  });

  it("is infinite with one infinite value", () => {
    const parts = new Aggregate().add(1, 2).merge(new Aggregate().add(Infinity, 1));
    const summary = Aggregate.fromJSON(JSON.parse(JSON.stringify(parts))).summary();
    expect(summary).toMatchObject({ positions: 2, total: Infinity, mean: Infinity, standardError: null });
    expect(summary.perByte).toMatchObject({ bytes: 3, mean: Infinity });
    expect(new Aggregate().add(-Infinity).summary().mean).toBe(-Infinity);
    expect(() => parts.add(-Infinity).summary()).toThrow("both Infinity and -Infinity");
  });

  it("refuses what is no score and no count", () => {
    expect(() => new Aggregate().summary()).toThrow("Cannot summarize an aggregate of no positions");
    expect(() => new Aggregate().add(NaN)).toThrow('"value" must be a number');
    expect(() => new Aggregate().add("1" as never)).toThrow('"value" must be a number, got string');
    expect(() => new Aggregate().add(1, -1)).toThrow('"bytes" must be an integer from 0');
    expect(() => new Aggregate().add(1, 0.5)).toThrow('"bytes" must be an integer from 0');
  });

  const good = aggregate(0, 3).toJSON();
  it.each([
    [null, '"aggregate" must be an object, got null'],
    [{ ...good, positions: -1 }, '"aggregate.positions" must be'],
    [{ ...good, withBytes: 4 }, '"aggregate.withBytes" must be an integer from 0 to 3, got 4'],
    [{ ...good, positive: 2, negative: 2 }, '"aggregate.negative" must be an integer from 0 to 1, got 2'],
    [{ ...good, sums: undefined }, '"aggregate.sums" must be an object'],
    [{ ...good, sums: { ...good.sums, x: 3 } }, '"aggregate.sums.x" must be a string, got number'],
    [
      { ...good, sums: { ...good.sums, x: "3" } },
      '"aggregate.sums.x" must be a number like "-1fp-52", got "3"',
    ],
    [{ ...good, sums: { ...good.sums, x: "1p9999" } }, '"aggregate.sums.x exponent" must be an integer'],
    [
      { ...good, sums: { ...good.sums, x: `${"f".repeat(2000)}p0` } },
      '"aggregate.sums.x" must be a number like',
    ],
    [{ ...good, sums: { ...good.sums, xx: "0p0" } }, '"aggregate.sums.xx" must be possible'],
    [{ ...good, sums: { ...good.sums, b: "-1p0" } }, '"aggregate.sums.b" must be possible'],
  ])("refuses the JSON of no aggregate: %j", (json, message) => {
    expect(() => Aggregate.fromJSON(json)).toThrow(message);
  });
});

describe("exact arithmetic", () => {
  const numbers = [
    0,
    1,
    -1,
    0.1,
    -1e-7,
    1 / 3,
    5e-324,
    2 ** -1022,
    1.7976931348623157e308,
    2 ** 53 + 2,
    Math.PI,
  ];
  const one = dyadic(1);

  it("takes and gives back every f64", () => {
    for (const x of numbers) {
      expect(quotient(dyadic(x), one)).toBe(x);
      expect(quotient(reduced(dyadic(x)), one)).toBe(x);
    }
  });

  it("rounds sums, differences, products and quotients as f64 does, once", () => {
    const wide = createRandom(3);
    for (let i = 0; i < 2000; i++) {
      const a = wide.normal() * 2 ** (wide.below(60) - 30);
      const b = wide.normal() * 2 ** (wide.below(60) - 30);
      expect(quotient(plus(dyadic(a), dyadic(b)), one)).toBe(a + b);
      expect(quotient(minus(dyadic(a), dyadic(b)), one)).toBe(a - b);
      expect(quotient(times(dyadic(a), dyadic(b)), one)).toBe(a * b + 0);
      if (b > 0) expect(quotient(dyadic(a), dyadic(b))).toBe(a / b + 0);
    }
  });

  it("overflows to infinity and not to nonsense", () => {
    const huge = dyadic(1.7976931348623157e308);
    expect(quotient(times(huge, huge), one)).toBe(Infinity);
    expect(quotient(times(huge, huge), huge)).toBe(1.7976931348623157e308);
    expect(quotient(times(dyadic(5e-324), dyadic(5e-324)), one)).toBe(0);
  });
});
