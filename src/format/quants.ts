/**
 * Decoders of the quantised weight formats: one block to f32, as ggml dequantises it.
 *
 * Sums are taken in f64 and rounded once, which is what ggml's f32 gives: all its products of scales and codes fit 24 bits,
 * so only the last addition of a minimum rounds, and a fused one rounds the same.
 *
 * Source: the block structs of ggml-common.h and dequantize_row_* of ggml-quants.c; blocks.ts draws the layouts.
 */
import { f16ToNumber } from "./half.ts";

/** Reads the block at byte `at` into out[first], … */
export type DecodeBlock = (bytes: DataView, at: number, out: Float32Array, first: number) => void;

export const decodeQ8_0: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  for (let j = 0; j < 32; j++) out[first + j] = scale * bytes.getInt8(at + 2 + j);
};

export const decodeQ4_0: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  eachNibble(bytes, at + 2, (j, nibble) => {
    out[first + j] = scale * (nibble - 8);
  });
};

export const decodeQ4_1: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  const minimum = halfAt(bytes, at + 2);
  eachNibble(bytes, at + 4, (j, nibble) => {
    out[first + j] = scale * nibble + minimum;
  });
};

export const decodeQ5_0: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  const fifth = bytes.getUint32(at + 2, true);
  eachNibble(bytes, at + 6, (j, nibble) => {
    out[first + j] = scale * ((nibble | (((fifth >>> j) & 1) << 4)) - 16);
  });
};

export const decodeQ5_1: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  const minimum = halfAt(bytes, at + 2);
  const fifth = bytes.getUint32(at + 4, true);
  eachNibble(bytes, at + 8, (j, nibble) => {
    out[first + j] = scale * (nibble | (((fifth >>> j) & 1) << 4)) + minimum;
  });
};

/** What the codes of IQ4_NL stand for. */
const NON_LINEAR = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

export const decodeIQ4_NL: DecodeBlock = (bytes, at, out, first) => {
  const scale = halfAt(bytes, at);
  eachNibble(bytes, at + 2, (j, nibble) => {
    out[first + j] = scale * NON_LINEAR[nibble];
  });
};

export const decodeQ4_K: DecodeBlock = (bytes, at, out, first) => {
  decodeMinimumK(bytes, at, out, first, (index, j) => nibbleK(bytes, at + 16, index, j));
};

export const decodeQ5_K: DecodeBlock = (bytes, at, out, first) => {
  decodeMinimumK(bytes, at, out, first, (index, j) => {
    const fifth = (bytes.getUint8(at + 16 + j) >>> index) & 1;
    return nibbleK(bytes, at + 48, index, j) | (fifth << 4);
  });
};

export const decodeQ6_K: DecodeBlock = (bytes, at, out, first) => {
  const outer = halfAt(bytes, at + 208);
  for (let i = 0; i < 256; i++) {
    const [half, quarter, j] = [i >>> 7, (i >>> 5) & 3, i & 31];
    const pair = bytes.getUint8(at + half * 64 + (quarter & 1) * 32 + j);
    const low = quarter < 2 ? pair & 15 : pair >>> 4;
    const high = (bytes.getUint8(at + 128 + half * 32 + j) >>> (quarter * 2)) & 3;
    const scale = outer * bytes.getInt8(at + 192 + (i >>> 4));
    out[first + i] = scale * ((low | (high << 4)) - 32);
  }
};

/** Q4_K and Q5_K, whose code of weight j in sub-block `index` is `code(index, j)`. */
function decodeMinimumK(
  bytes: DataView,
  at: number,
  out: Float32Array,
  first: number,
  code: (index: number, j: number) => number,
): void {
  const outer = halfAt(bytes, at);
  const outerMinimum = halfAt(bytes, at + 2);
  for (let index = 0; index < 8; index++) {
    const [inner, innerMinimum] = innerScales(bytes, at + 4, index);
    const scale = outer * inner;
    const minimum = outerMinimum * innerMinimum;
    for (let j = 0; j < 32; j++) out[first + index * 32 + j] = scale * code(index, j) - minimum;
  }
}

/** 6 bits each of scale and minimum: 0 … 3 lie whole in bytes 0 … 3 and 4 … 7, whose high bits complete 4 … 7. */
function innerScales(bytes: DataView, at: number, index: number): [scale: number, minimum: number] {
  const byte = (i: number) => bytes.getUint8(at + i);
  if (index < 4) return [byte(index) & 63, byte(index + 4) & 63];
  const low = byte(index + 4);
  return [(low & 15) | ((byte(index - 4) >>> 6) << 4), (low >>> 4) | ((byte(index) >>> 6) << 4)];
}

/** 32 bytes hold sub-blocks 2i (low nibbles) and 2i + 1. */
function nibbleK(bytes: DataView, at: number, index: number, j: number): number {
  const pair = bytes.getUint8(at + (index >>> 1) * 32 + j);
  return index & 1 ? pair >>> 4 : pair & 15;
}

/** 16 bytes: byte j holds weights j (low nibble) and j + 16. */
function eachNibble(bytes: DataView, at: number, take: (j: number, nibble: number) => void): void {
  for (let j = 0; j < 16; j++) {
    const pair = bytes.getUint8(at + j);
    take(j, pair & 15);
    take(j + 16, pair >>> 4);
  }
}

function halfAt(bytes: DataView, at: number): number {
  return f16ToNumber(bytes.getUint16(at, true));
}
