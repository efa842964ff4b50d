/**
 * Stores weights in every type that runs, for synthetic models: what src/format/blocks.ts does not write is rounded here by
 * the plainest rule that uses the whole range of a block, not by the searches of real quantisers.
 */
import {
  blockSize,
  type EncodableType,
  encodeWeights,
  isEncodableType,
  type WeightType,
} from "../../src/format/blocks.ts";
import { f16ToNumber, numberToF16 } from "../../src/format/half.ts";

type CodedType = Exclude<WeightType, EncodableType>;

/** Where a block has its scale and, if any, its minimum, in f16. */
const HALVES: Readonly<Record<WeightType, readonly number[]>> = {
  F32: [],
  F16: [0],
  BF16: [],
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
};

const TABLE = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

type EncodeBlock = (values: Float32Array, block: DataView) => void;

const ENCODERS: Readonly<Record<CodedType, EncodeBlock>> = {
  Q4_1: (values, block) => encodeRange(values, block, 15),
  Q5_1: (values, block) => encodeRange(values, block, 31),
  Q5_0: (values, block) => {
    const scale = setHalf(block, 0, extremeOf(values) / -16);
    const codes = values.map((value) => clamp(Math.round(value / (scale || 1)) + 16, 0, 31));
    setFifthBits(block, 2, codes);
    setNibbles(block, 6, codes);
  },
  IQ4_NL: (values, block) => {
    const scale = setHalf(block, 0, extremeOf(values) / -127);
    setNibbles(
      block,
      2,
      values.map((value) => nearest(TABLE, value / (scale || 1))),
    );
  },
  Q4_K: (values, block) => encodeMinimumK(values, block, 15),
  Q5_K: (values, block) => encodeMinimumK(values, block, 31),
  Q6_K: (values, block) => {
    const parts = Array.from({ length: 16 }, (_, i) => values.subarray(i * 16, i * 16 + 16));
    const wanted = parts.map((part) => extremeOf(part) / -32);
    const outer = setHalf(block, 208, extremeOf(Float32Array.from(wanted)) / -128);
    for (const [part, values] of parts.entries()) {
      const inner = clamp(Math.round(wanted[part] / (outer || 1)), -128, 127);
      block.setInt8(192 + part, inner);
      for (const [j, value] of values.entries()) {
        const code = clamp(Math.round(value / (outer * inner || 1)) + 32, 0, 63);
        const i = part * 16 + j;
        const [half, quarter, byte] = [i >> 7, (i >> 5) & 3, i & 31];
        orByte(block, half * 64 + (quarter & 1) * 32 + byte, (code & 15) << (quarter >> 1 ? 4 : 0));
        orByte(block, 128 + half * 32 + byte, (code >> 4) << (2 * quarter));
      }
    }
  },
};

/** Any number of whole blocks. */
export function quantize(type: WeightType, values: Float32Array): Uint8Array {
  if (isEncodableType(type)) return encodeWeights(type, values);
  const { weights, bytes } = blockSize(type);
  const all = new Uint8Array((values.length / weights) * bytes);
  for (let block = 0; block * weights < values.length; block++) {
    const view = new DataView(all.buffer, block * bytes, bytes);
    ENCODERS[type](values.subarray(block * weights, (block + 1) * weights), view);
  }
  return all;
}

/** Bytes of a block at which an f16 stands that all of its weights depend on. */
export function scalesOf(type: WeightType): readonly number[] {
  return HALVES[type];
}

/** Q4_1 and Q5_1: from the least value to the largest. */
function encodeRange(values: Float32Array, block: DataView, most: number): void {
  const least = Math.min(...values);
  const scale = setHalf(block, 0, (Math.max(...values) - least) / most);
  const minimum = setHalf(block, 2, least);
  const codes = values.map((value) => clamp(Math.round((value - minimum) / (scale || 1)), 0, most));
  if (most === 31) setFifthBits(block, 4, codes);
  setNibbles(block, most === 31 ? 8 : 4, codes);
}

/** Q4_K and Q5_K: each sub-block from its least value, or 0, to its largest, in 6 bits of the largest of eight. */
function encodeMinimumK(values: Float32Array, block: DataView, most: number): void {
  const parts = Array.from({ length: 8 }, (_, i) => values.subarray(i * 32, i * 32 + 32));
  const minima = parts.map((part) => Math.max(0, -Math.min(...part)));
  const scales = parts.map((part, i) => (Math.max(...part, 0) + minima[i]) / most);
  const outer = setHalf(block, 0, Math.max(...scales) / 63);
  const outerMinimum = setHalf(block, 2, Math.max(...minima) / 63);
  for (const [i, part] of parts.entries()) {
    const inner = clamp(Math.round(scales[i] / (outer || 1)), 0, 63);
    const innerMinimum = clamp(Math.round(minima[i] / (outerMinimum || 1)), 0, 63);
    if (i < 4) {
      orByte(block, 4 + i, inner);
      orByte(block, 8 + i, innerMinimum);
    } else {
      orByte(block, 8 + i, (inner & 15) | ((innerMinimum & 15) << 4));
      orByte(block, i, (inner >> 4) << 6);
      orByte(block, 4 + i, (innerMinimum >> 4) << 6);
    }
    for (const [j, value] of part.entries()) {
      const steps = Math.round((value + outerMinimum * innerMinimum) / (outer * inner || 1));
      const code = clamp(steps, 0, most);
      orByte(block, (most === 31 ? 48 : 16) + (i >> 1) * 32 + j, (code & 15) << (i & 1 ? 4 : 0));
      if (code > 15) orByte(block, 16 + j, 1 << i);
    }
  }
}

function setNibbles(block: DataView, at: number, codes: ArrayLike<number>): void {
  for (let j = 0; j < 16; j++) block.setUint8(at + j, (codes[j] & 15) | ((codes[j + 16] & 15) << 4));
}

function setFifthBits(block: DataView, at: number, codes: Float32Array): void {
  block.setUint32(
    at,
    codes.reduce((bits, code, j) => bits + (code > 15 ? 2 ** j : 0), 0),
    true,
  );
}

/** @returns The value as rounded. */
function setHalf(block: DataView, at: number, value: number): number {
  const half = numberToF16(value);
  block.setUint16(at, half, true);
  return f16ToNumber(half);
}

function orByte(block: DataView, at: number, bits: number): void {
  block.setUint8(at, block.getUint8(at) | bits);
}

/** The value of largest magnitude, with its sign. */
function extremeOf(values: Float32Array): number {
  return values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
}

function nearest(table: readonly number[], value: number): number {
  const distances = table.map((entry) => Math.abs(entry - value));
  return distances.indexOf(Math.min(...distances));
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
