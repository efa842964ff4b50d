import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import {
  blockSize,
  bytesPerRow,
  decodeWeights,
  encodeWeights,
  isWeightType,
  WEIGHT_TYPES,
} from "../../src/format/blocks.ts";
import { TENSOR_TYPES } from "../../src/format/tensor-types.ts";
import { createRandom } from "../support/random.ts";

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Weights of 100 blocks, of magnitudes that F16 scales can hold. */
function randomWeights(seed: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: 3200 }, (_, index) => random.normal() * 2 ** ((index >> 5) % 9));
}

test("block sizes are those of the file format", () => {
  const sizes = Object.fromEntries(WEIGHT_TYPES.map((type) => [type, blockSize(type)]));
  expect(sizes).toMatchObject({
    F32: { weights: 1, bytes: 4 },
    F16: { weights: 1, bytes: 2 },
    BF16: { weights: 1, bytes: 2 },
    Q8_0: { weights: 32, bytes: 34 },
    Q4_0: { weights: 32, bytes: 18 },
  });
  for (const type of WEIGHT_TYPES) {
    const listed = [...TENSOR_TYPES.values()].find(({ name }) => name === type);
    expect(listed).toMatchObject({ weights: blockSize(type).weights, bytes: blockSize(type).bytes });
  }
});

test("bytesPerRow() counts whole blocks and refuses parts of one", () => {
  expect(WEIGHT_TYPES.map((type) => bytesPerRow(type, 576))).toEqual([2304, 1152, 1152, 612, 324]);
  expect(() => bytesPerRow("Q8_0", 100)).toThrow('"cols" must be a multiple of 32 for Q8_0, got 100');
  expect(() => bytesPerRow("Q4_0", -32)).toThrow(RangeError);
});

test("a type that cannot run is an UnsupportedError", () => {
  expect(isWeightType("Q6_K")).toBe(false);
  expect(isWeightType("toString")).toBe(false);
  expect(() => bytesPerRow("Q6_K", 256)).toThrow(UnsupportedError);
  expect(() => decodeWeights("Q6_K", new Uint8Array(210))).toThrow(/got "Q6_K"/);
});

describe("decodeWeights()", () => {
  test("F32, F16 and BF16 are little-endian", () => {
    expect([...decodeWeights("F32", bytesOf("0000803f000020c1"))]).toEqual([1, -10]);
    expect([...decodeWeights("F16", bytesOf("003c01000080"))]).toEqual([1, 2 ** -24, -0]);
    expect([...decodeWeights("BF16", bytesOf("803f20c1807f"))]).toEqual([1, -10, Infinity]);
  });

  test("Q8_0 multiplies signed bytes by the scale", () => {
    const quants = Array.from({ length: 32 }, (_, j) => (j * 8 - 128) & 255);
    const block = Uint8Array.of(0x00, 0x38, ...quants); // scale 0.5
    expect([...decodeWeights("Q8_0", block)]).toEqual(
      Array.from({ length: 32 }, (_, j) => (j * 8 - 128) / 2),
    );
  });

  test("Q4_0 has element j in the low nibble of byte j, and j + 16 in the high one", () => {
    const nibbles = Array.from({ length: 16 }, (_, j) => j | ((15 - j) << 4));
    const block = Uint8Array.of(0x00, 0xc0, ...nibbles); // scale -2
    const low = Array.from({ length: 16 }, (_, j) => -2 * (j - 8));
    expect([...decodeWeights("Q4_0", block)].map((w) => w + 0)).toEqual(
      [...low, ...low.toReversed()].map((w) => w + 0),
    );
  });

  test("reads unaligned bytes and writes where told", () => {
    const out = new Float32Array(4).fill(9);
    decodeWeights("F16", bytesOf("ff003c00c0").subarray(1), out);
    expect([...out]).toEqual([1, -2, 9, 9]);
  });

  test("refuses parts of a block and too short an output", () => {
    expect(() => decodeWeights("Q8_0", new Uint8Array(33))).toThrow('"bytes" must be a multiple of 34');
    expect(() => decodeWeights("Q8_0", new Uint8Array(34), new Float32Array(31))).toThrow(
      '"out" must have room for 32, got 31',
    );
  });
});

describe("encodeWeights()", () => {
  const ramp = Float32Array.from({ length: 32 }, (_, j) => (((j * 37) % 65) - 32) / 8);
  const halves = Float32Array.from({ length: 32 }, (_, j) => (j === 0 ? 127 : j - 15.5));
  const signed = Float32Array.from({ length: 32 }, (_, j) => (j === 0 ? -8 : (((j * 5) % 32) - 16) / 2));

  // From quantize_row_q8_0_ref and quantize_row_q4_0_ref of llama.cpp's libggml-base.
  test.each([
    ["Q8_0", "ramp", ramp, "08288114a538c85bec7f10a134c457e87b0c9d30c053e47708992cbd4fe073049528"],
    ["Q4_0", "ramp", ramp, "003820b942dc65fe972fb942db64fe871fb9"],
    ["Q8_0", "ties", halves, "003c7ff1f2f3f4f5f6f7f8f9fafbfcfdfeff0102030405060708090a0b0c0d0e0f10"],
    ["Q4_0", "ties", halves, "f0cb80898989898989897878787878787878"],
    [
      "Q8_0",
      "negative extreme",
      signed,
      "082c81a9d0f820476f99c0e810385f89b1d800284f77a1c8f018406791b9e0083057",
    ],
    ["Q4_0", "negative extreme", signed, "003c80b3d5f82a5d7fa2c4f7194c6e91b3e6"],
  ])("%s of %s equals ggml's reference quantiser", (type, _, values, expected) => {
    expect(hexOf(encodeWeights(type, values))).toBe(expected);
  });

  test.each(WEIGHT_TYPES)("%s keeps every weight within half a step", (type) => {
    const weights = randomWeights(1);
    const decoded = decodeWeights(type, encodeWeights(type, weights));
    for (let first = 0; first < weights.length; first += 32) {
      const block = weights.subarray(first, first + 32);
      const largest = block.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
      // Largest error relative to the block's largest weight. Q4_0's 15 also stands for what would be 16.
      const step = { F32: 0, F16: 2 ** -11, BF16: 2 ** -8, Q8_0: 0.51 / 127 + 2 ** -11, Q4_0: 1.01 / 8 }[
        type
      ];
      block.forEach((weight, j) => {
        expect(Math.abs(decoded[first + j] - weight)).toBeLessThanOrEqual(step * largest);
      });
    }
  });

  test.each(WEIGHT_TYPES)("%s gives zeros for zeros", (type) => {
    const decoded = decodeWeights(type, encodeWeights(type, new Float32Array(64)));
    expect(decoded.every((weight) => weight === 0)).toBe(true);
  });

  test("F32 keeps infinities and NaN", () => {
    const odd = Float32Array.of(Infinity, -Infinity, NaN, -0, 2 ** -149);
    expect(decodeWeights("F32", encodeWeights("F32", odd))).toEqual(odd);
  });

  test.each(["Q8_0", "Q4_0"])("%s refuses blocks whose scale F16 cannot hold", (type) => {
    for (const bad of [NaN, Infinity, -Infinity, 1e9]) {
      const values = new Float32Array(64).fill(1);
      values[40] = bad;
      expect(() => encodeWeights(type, values)).toThrow(/weights 32 … 63: scale must be finite in F16/);
    }
  });

  test("refuses parts of a block and too short an output", () => {
    expect(() => encodeWeights("Q4_0", new Float32Array(31))).toThrow(RangeError);
    expect(() => encodeWeights("F16", new Float32Array(2), new Uint8Array(3))).toThrow(/room for 4, got 3/);
  });
});
