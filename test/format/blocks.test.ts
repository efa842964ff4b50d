import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../../src/errors.ts";
import {
  blockSize,
  bytesPerRow,
  decodeWeights,
  encodeWeights,
  isEncodableType,
  isWeightType,
  WEIGHT_TYPES,
  type WeightType,
} from "../../src/format/blocks.ts";
import { TENSOR_TYPES } from "../../src/format/tensor-types.ts";
import { scalesOf } from "../support/quantize.ts";
import { createRandom } from "../support/random.ts";
import { exactWeight } from "./exact-weight.ts";

const ENCODABLE = WEIGHT_TYPES.filter(isEncodableType);

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const PATTERN_SCALES = [0x2a1f, 0xa8c3, 0x0007, 0x7bff, 0x8200, 0x3c00];

/** 12 blocks: a formula's bytes, and usual, negative, subnormal and largest scales in turn. */
function patternOf(type: WeightType): Uint8Array {
  const { bytes } = blockSize(type);
  const data = Uint8Array.from(
    { length: 12 * bytes },
    (_, i) => (i * i * 7 + i * 13 + (i >> 8) * 3 + 5) >> 2,
  );
  const view = new DataView(data.buffer);
  let count = 0;
  for (let block = 0; block < 12; block++) {
    for (const at of scalesOf(type)) {
      const index = block % 2 ? count % 6 : (count * 5 + 1) % 6;
      view.setUint16(block * bytes + at, PATTERN_SCALES[index], true);
      count++;
    }
  }
  return data;
}

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
    Q4_1: { weights: 32, bytes: 20 },
    Q5_0: { weights: 32, bytes: 22 },
    Q5_1: { weights: 32, bytes: 24 },
    Q4_K: { weights: 256, bytes: 144 },
    Q5_K: { weights: 256, bytes: 176 },
    Q6_K: { weights: 256, bytes: 210 },
    IQ4_NL: { weights: 32, bytes: 18 },
  });
  for (const type of WEIGHT_TYPES) {
    const listed = [...TENSOR_TYPES.values()].find(({ name }) => name === type);
    expect(listed).toMatchObject({ weights: blockSize(type).weights, bytes: blockSize(type).bytes });
  }
});

test("bytesPerRow() counts whole blocks and refuses parts of one", () => {
  const bytes = Object.fromEntries(WEIGHT_TYPES.map((type) => [type, bytesPerRow(type, 768)]));
  expect(bytes).toEqual({
    ...{ F32: 3072, F16: 1536, BF16: 1536, Q8_0: 816, Q4_0: 432, Q4_1: 480, Q5_0: 528, Q5_1: 576 },
    ...{ Q4_K: 432, Q5_K: 528, Q6_K: 630, IQ4_NL: 432 },
  });
  expect(() => bytesPerRow("Q6_K", 576)).toThrow('"cols" must be a multiple of 256 for Q6_K, got 576');
  expect(() => bytesPerRow("Q8_0", 100)).toThrow('"cols" must be a multiple of 32 for Q8_0, got 100');
  expect(() => bytesPerRow("Q4_0", -32)).toThrow(RangeError);
});

test("a type that cannot run is an UnsupportedError", () => {
  expect(isWeightType("Q2_K")).toBe(false);
  expect(isWeightType("toString")).toBe(false);
  expect(() => bytesPerRow("Q2_K", 256)).toThrow(UnsupportedError);
  expect(() => decodeWeights("Q2_K", new Uint8Array(84))).toThrow(/got "Q2_K"/);
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

  // SHA-256 of what dequantize_row_* of llama.cpp's libggml-base makes of `patternOf`, as f32 in memory.
  test.each([
    ["Q8_0", "af92d0d5d69654827c7272aca42d1634"],
    ["Q4_0", "d72fde648a72fa51aec2078187782454"],
    ["Q4_1", "87b9f4059ffbf8e6114c6bee9106ae97"],
    ["Q5_0", "1193e799a19650a0c7c0f96b9fdcc36b"],
    ["Q5_1", "dc64ae43acd99892a312fcdd239b8139"],
    ["Q4_K", "178d9950565d1624b6d49041b2174334"],
    ["Q5_K", "b877d9dae235ae64d3021f4a59737457"],
    ["Q6_K", "9430076e8db6be6d694eaf2bd9f0f175"],
    ["IQ4_NL", "ceeb2a2288473d67c653a4b61de08d54"],
  ] as const)("%s equals ggml's dequantisation bit for bit", (type, expected) => {
    const weights = decodeWeights(type, patternOf(type));
    const hash = createHash("sha256").update(new Uint8Array(weights.buffer)).digest("hex");
    expect(hash.slice(0, 32)).toBe(expected);
  });

  const quantised = WEIGHT_TYPES.filter((type) => blockSize(type).weights > 1);
  test.each(quantised)("%s of random bytes is the exact value, rounded to f32 once", (type) => {
    const { weights, bytes } = blockSize(type);
    const random = createRandom(weights + bytes);
    const blocks = 60;
    const data = Uint8Array.from({ length: blocks * bytes }, () => random.below(256));
    const view = new DataView(data.buffer);
    for (let block = 0; block < blocks; block++) {
      for (const at of scalesOf(type)) {
        view.setUint16(block * bytes + at, random.below(0x7c00) | (random.below(2) << 15), true);
      }
    }
    const decoded = decodeWeights(type, data);
    for (let block = 0; block < blocks; block++) {
      const part = data.subarray(block * bytes, (block + 1) * bytes);
      for (let j = 0; j < weights; j++) {
        const expected = exactWeight(type, part, j);
        // Zeros of either sign are equal here; their signs are in the hashes above.
        if (decoded[block * weights + j] !== expected) {
          expect([block, j, decoded[block * weights + j]]).toEqual([block, j, expected]);
        }
      }
    }
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

  test.each(ENCODABLE)("%s keeps every weight within half a step", (type) => {
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

  test.each(ENCODABLE)("%s gives zeros for zeros", (type) => {
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

  test("refuses types that it cannot write", () => {
    expect(isEncodableType("Q4_K")).toBe(false);
    expect(() => encodeWeights("Q4_K", new Float32Array(256))).toThrow(UnsupportedError);
    expect(() => encodeWeights("Q4_K", new Float32Array(256))).toThrow(
      'Weight type to encode must be one of F32, F16, BF16, Q8_0, Q4_0, got "Q4_K"',
    );
  });

  test("refuses parts of a block and too short an output", () => {
    expect(() => encodeWeights("Q4_0", new Float32Array(31))).toThrow(RangeError);
    expect(() => encodeWeights("F16", new Float32Array(2), new Uint8Array(3))).toThrow(/room for 4, got 3/);
  });
});
