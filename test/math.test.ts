import { describe, expect, test } from "vitest";
import { cos, exp, log, sin } from "../src/math.ts";
import { createRandom } from "./support/random.ts";

/** Ours is within 1 ulp of the truth and so, in today's engines, is the engine's. */
const ULPS_APART = 2;

/** Distance to the next f64 away from zero. */
function ulp(value: number): number {
  const magnitude = Math.abs(value);
  if (magnitude < 2 ** -1022) return 2 ** -1074;
  let exponent = Math.floor(Math.log2(magnitude));
  if (2 ** exponent > magnitude) exponent--;
  return 2 ** Math.max(exponent - 52, -1074);
}

function expectNear(
  name: string,
  ours: (x: number) => number,
  theirs: (x: number) => number,
  x: number,
): void {
  const [actual, expected] = [ours(x), theirs(x)];
  if (Object.is(actual, expected)) return;
  expect(Math.abs(actual - expected) / ulp(expected), `ulps of ${name}(${x})`).toBeLessThanOrEqual(
    ULPS_APART,
  );
}

const random = createRandom(1);
const between = (low: number, high: number, count = 3000) =>
  Array.from({ length: count }, () => low + (random.uniform() + random.uniform() / 2 ** 32) * (high - low));

test("exp is Math.exp to the last bits, subnormal results included", () => {
  for (const x of [
    ...between(-745, 709),
    ...between(-1, 1),
    ...between(-745.2, -708),
    ...between(-1e-9, 1e-9),
  ]) {
    expectNear("exp", exp, Math.exp, x);
  }
});

test("log is Math.log to the last bits, near 1 and for subnormal numbers too", () => {
  const wide = between(-1074, 1023).map((exponent) => 2 ** exponent * 1.2345);
  for (const x of [...wide, ...between(0.4, 3), ...between(1 - 1e-6, 1 + 1e-6), ...between(0, 1e-310)]) {
    expectNear("log", log, Math.log, x);
  }
});

test("sin and cos are Math.sin and Math.cos to the last bits, up to 1e8 and next to multiples of π/2", () => {
  const multiples = Array.from({ length: 3000 }, () => random.below(600_000) * (Math.PI / 2));
  for (const x of [
    ...between(-8, 8),
    ...between(-1e6, 1e6),
    ...between(-1e8, 1e8),
    ...multiples,
    11,
    22,
    355,
  ]) {
    expectNear("sin", sin, Math.sin, x);
    expectNear("cos", cos, Math.cos, x);
  }
});

describe("special values", () => {
  test.each([
    [exp(0), 1],
    [exp(-0), 1],
    [exp(1e-300), 1],
    [exp(709.7827128933841), Infinity],
    [exp(Infinity), Infinity],
    [exp(-745.1332191019411), 5e-324],
    [exp(-745.1332191019412), 0],
    [exp(-Infinity), 0],
    [exp(NaN), NaN],
    [log(1), 0],
    [log(0), -Infinity],
    [log(-0), -Infinity],
    [log(-1), NaN],
    [log(NaN), NaN],
    [log(Infinity), Infinity],
    [log(5e-324), -744.4400719213812],
    [log(Number.MAX_VALUE), 709.782712893384],
    [sin(0), 0],
    [cos(0), 1],
    [sin(Math.PI), 1.2246467991473532e-16],
    [cos(Math.PI / 2), 6.123233995736766e-17],
  ])("%s is %s", (actual, expected) => {
    expect(actual).toBe(expected);
  });

  test.each([1.1e8, -1.1e8, Infinity, NaN])("sin and cos of %s are refused", (x) => {
    expect(() => sin(x)).toThrow(RangeError);
    expect(() => cos(x)).toThrow('"x" must be a number from -100000000 to 100000000');
  });
});

test("the bits are the same in every engine", () => {
  const view = new DataView(new ArrayBuffer(8));
  const seeded = createRandom(2);
  let hash = 0x811c9dc5;
  const take = (value: number) => {
    view.setFloat64(0, value);
    hash = Math.imul(hash ^ view.getUint32(0), 0x01000193);
    hash = Math.imul(hash ^ view.getUint32(4), 0x01000193);
  };
  for (let i = 0; i < 10_000; i++) {
    const x = seeded.uniform();
    for (const value of [
      exp(x * 1450 - 745),
      exp(x),
      log(x + 1e-12),
      log(x * 1e-308),
      sin(x * 1e6),
      cos(x * 1e6),
    ]) {
      take(value);
    }
  }
  expect((hash >>> 0).toString(16)).toBe("1560ea61");
});
