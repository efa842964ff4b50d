import { expect, test } from "vitest";
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from "../../src/format/half.ts";
import { createRandom } from "../support/random.ts";

/** Value by the definition, from sign, exponent and fraction fields; independent of any bit pattern of f32. */
function byDefinition(bits: number, fractionBits: number, bias: number, maxExponent: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> fractionBits;
  const fraction = (bits & ((1 << fractionBits) - 1)) / (1 << fractionBits);
  if (exponent === maxExponent) return fraction === 0 ? sign * Infinity : NaN;
  let power = 1;
  for (let step = 0; step < Math.abs(Math.max(exponent, 1) - bias); step++) power *= 2;
  if (Math.max(exponent, 1) < bias) power = 1 / power;
  return sign * power * (exponent === 0 ? fraction : 1 + fraction);
}

const HALVES = [
  { name: "F16", decode: f16ToNumber, encode: numberToF16, fraction: 10, bias: 15, maxExponent: 31 },
  { name: "BF16", decode: bf16ToNumber, encode: numberToBf16, fraction: 7, bias: 127, maxExponent: 255 },
];

test.each(HALVES)("$name decodes all 65,536 patterns exactly", (half) => {
  const wrong: number[] = [];
  for (let bits = 0; bits < 65_536; bits++) {
    const expected = byDefinition(bits, half.fraction, half.bias, half.maxExponent);
    if (!Object.is(half.decode(bits), expected)) wrong.push(bits);
  }
  expect(wrong).toEqual([]);
});

test.each(HALVES)("$name encodes every value it can hold to itself, and NaN to NaN", ({ decode, encode }) => {
  const wrong: number[] = [];
  for (let bits = 0; bits < 65_536; bits++) {
    const value = decode(bits);
    const back = encode(value);
    if (Number.isNaN(value) ? !Number.isNaN(decode(back)) : back !== bits) wrong.push(bits);
  }
  expect(wrong).toEqual([]);
});

test.each(HALVES)("$name rounds to nearest, ties to even, between all neighbours", ({ decode, encode }) => {
  const wrong: number[] = [];
  for (let bits = 0; Number.isFinite(decode(bits + 1)); bits++) {
    const low = decode(bits);
    const high = decode(bits + 1);
    const middle = (low + high) / 2;
    const even = bits % 2 === 0 ? bits : bits + 1;
    const below = Math.fround(middle - (high - low) / 64);
    const above = Math.fround(middle + (high - low) / 64);
    for (const sign of [0, 0x8000]) {
      const signed = (value: number) => (sign ? -value : value);
      if (encode(signed(middle)) !== (sign | even)) wrong.push(bits);
      if (encode(signed(below)) !== (sign | bits)) wrong.push(bits);
      if (encode(signed(above)) !== (sign | (bits + 1))) wrong.push(bits);
    }
  }
  expect(wrong).toEqual([]);
});

test("F16 overflows to infinity from the tie above its largest value on, and underflows to a signed zero", () => {
  expect(numberToF16(65_504)).toBe(0x7bff);
  expect(numberToF16(65_519.996)).toBe(0x7bff);
  expect(numberToF16(65_520)).toBe(0x7c00);
  expect(numberToF16(-1e30)).toBe(0xfc00);
  expect(numberToF16(2 ** -25)).toBe(0);
  expect(numberToF16(-(2 ** -25))).toBe(0x8000);
  expect(numberToF16(2 ** -25 * 1.0001)).toBe(1);
  expect(numberToF16(-0)).toBe(0x8000);
});

test("BF16 overflows to infinity and keeps signed zeros", () => {
  expect(numberToBf16(3.4028234663852886e38)).toBe(0x7f80);
  expect(numberToBf16(-3.4028234663852886e38)).toBe(0xff80);
  expect(numberToBf16(-0)).toBe(0x8000);
});

test.each(HALVES)("$name keeps the order of random values", ({ decode, encode }) => {
  const random = createRandom(3);
  for (let trial = 0; trial < 2000; trial++) {
    const a = random.normal() * 2 ** (random.below(40) - 20);
    const b = a + Math.abs(a) * random.uniform() * 0.01;
    expect(decode(encode(a))).toBeLessThanOrEqual(decode(encode(b)));
  }
});
