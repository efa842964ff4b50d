/**
 * One weight of a quantised block, derived from the description of the formats alone: every field is taken bit by bit from
 * a string of bits, the value is exact in whole multiples of 2^-24 (which every f16 is), and rounded to f32 at the end.
 */
import type { WeightType } from "../../src/format/blocks.ts";

type Block = Uint8Array;

const TABLE = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

export function exactWeight(type: WeightType, block: Block, j: number): number {
  // Multiples of 2^-24 below 2^53: exact as a number, so rounded once.
  return Math.fround(Number(unitsOf(type, block, j)) * 2 ** -24);
}

function unitsOf(type: WeightType, block: Block, j: number): bigint {
  const half = j >> 4;
  const nibble = (first: number) => bits(block, first * 8 + (j & 15) * 8 + half * 4, 4);
  const product = (scale: bigint, code: number) => scale * BigInt(code);
  switch (type) {
    case "Q8_0":
      return product(halfAt(block, 0), signed(bits(block, 16 + 8 * j, 8)));
    case "Q4_0":
      return product(halfAt(block, 0), nibble(2) - 8);
    case "IQ4_NL":
      return product(halfAt(block, 0), TABLE[nibble(2)]);
    case "Q4_1":
      return product(halfAt(block, 0), nibble(4)) + halfAt(block, 2);
    case "Q5_0":
      return product(halfAt(block, 0), nibble(6) + 16 * bits(block, 16 + j, 1) - 16);
    case "Q5_1":
      return product(halfAt(block, 0), nibble(8) + 16 * bits(block, 32 + j, 1)) + halfAt(block, 2);
    case "Q4_K":
      return withMinimum(block, j, pairOf(block, 16, j));
    case "Q5_K":
      return withMinimum(
        block,
        j,
        pairOf(block, 48, j) + 16 * bits(block, (16 + (j % 32)) * 8 + (j >> 5), 1),
      );
    case "Q6_K": {
      const [upper, within] = [Math.floor(j / 128), j % 128];
      const low = bits(block, (64 * upper + (within % 64)) * 8 + 4 * Math.floor(within / 64), 4);
      const high = bits(block, (128 + 32 * upper + (within % 32)) * 8 + 2 * Math.floor(within / 32), 2);
      const inner = signed(bits(block, (192 + Math.floor(j / 16)) * 8, 8));
      return halfAt(block, 208) * BigInt(inner) * BigInt(low + 16 * high - 32);
    }
    default:
      throw new RangeError(`"type" must be quantised, got ${type}`);
  }
}

/** Nibble of weight j where 32 bytes hold 64 weights, the first 32 in the low halves. */
function pairOf(block: Block, first: number, j: number): number {
  return bits(block, (first + 32 * Math.floor(j / 64) + (j % 32)) * 8 + (j % 64 < 32 ? 0 : 4), 4);
}

function withMinimum(block: Block, j: number, code: number): bigint {
  const part = j >> 5;
  const at = (byte: number, first: number, count: number) => bits(block, (4 + byte) * 8 + first, count);
  const scale = part < 4 ? at(part, 0, 6) : at(4 + part, 0, 4) + 16 * at(part - 4, 6, 2);
  const minimum = part < 4 ? at(4 + part, 0, 6) : at(4 + part, 4, 4) + 16 * at(part, 6, 2);
  return halfAt(block, 0) * BigInt(scale * code) - halfAt(block, 2) * BigInt(minimum);
}

/** `count` bits from bit `first` on; bit 0 is the lowest of byte 0. */
function bits(block: Block, first: number, count: number): number {
  let value = 0;
  for (let i = 0; i < count; i++) {
    const bit = first + i;
    if (block[bit >> 3] & (1 << (bit & 7))) value += 2 ** i;
  }
  return value;
}

function signed(byte: number): number {
  return byte < 128 ? byte : byte - 256;
}

/** A finite f16 in units of 2^-24. */
function halfAt(block: Block, byte: number): bigint {
  const exponent = bits(block, byte * 8 + 10, 5);
  const fraction = BigInt(bits(block, byte * 8, 10));
  const magnitude = exponent === 0 ? fraction : (fraction + 1024n) << BigInt(exponent - 1);
  return bits(block, byte * 8 + 15, 1) ? -magnitude : magnitude;
}
