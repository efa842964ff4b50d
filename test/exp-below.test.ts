import { expect, test } from "vitest";
import { expBelow } from "../src/exp-below.ts";
import { exp } from "../src/math.ts";
import { createRandom } from "./support/random.ts";

/** How far two f64 above 0 are apart at most, in numbers between them. */
function distanceInBits(a: Float64Array, b: Float64Array): number {
  const [aBits, bBits] = [a, b].map((values) => new BigInt64Array(values.buffer));
  return aBits.reduce((most, bits, i) => Math.max(most, Math.abs(Number(bits - bBits[i]))), 0);
}

const random = createRandom(1);
const EDGES = [0, -0, -1e-300, -5e-324, -1e-17, -0.5, -1, -707.9, -708, -708.1, -740, -745.1, -745.2];

test("is exp to the last bit but one, also where the result is subnormal, and its sum in order", () => {
  const steps = Array.from({ length: 64 * 1080 }, (_, k) => (-k * Math.LN2) / 64);
  const halves = steps.map((x) => x - Math.LN2 / 128);
  const others = Array.from({ length: 100_000 }, (_, i) => -random.uniform() * [1e-9, 1, 30, 746][i % 4]);
  const x = Float64Array.from([...EDGES, ...steps, ...halves, ...others]);
  for (const top of [0, 3, -1e5]) {
    const values = x.map((below) => top + below);
    const out = new Float64Array(x.length);
    const sum = expBelow(out, values, x.length, top);
    expect(
      distanceInBits(
        out,
        values.map((value) => exp(value - top)),
      ),
    ).toBeLessThanOrEqual(1);
    expect(sum).toBe(out.reduce((total, value) => total + value, 0));
  }
});

test("is 1 at the top, 0 far below, and less what lies further below by more than a rounding", () => {
  const x = Float64Array.of(2, 2 - 745.2, -1e9, -1e300, -Infinity);
  const out = new Float64Array(5);
  expBelow(out, x, 5, 2);
  expect([...out]).toEqual([1, 0, 0, 0, 0]);
  const ladder = Float64Array.from({ length: 200_000 }, (_, i) => -i / 300);
  const steps = new Float64Array(ladder.length);
  expBelow(steps, ladder, ladder.length, 0);
  for (let i = 1; i < ladder.length; i++) if (!(steps[i] < steps[i - 1])) expect(steps[i]).toBe(0);
});

test("has the bits it had", () => {
  const x = Float64Array.from({ length: 50_000 }, (_, i) => -i / 67 - i * 2 ** -40);
  const out = new Float64Array(x.length);
  expBelow(out, x, x.length, 0);
  const hash = new Uint32Array(out.buffer).reduce((sum, word) => Math.imul(sum ^ word, 0x01000193) >>> 0, 1);
  expect(hash.toString(16)).toBe("9e610ec7");
});
