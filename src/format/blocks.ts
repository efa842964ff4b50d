/**
 * The weight formats that can run: their bytes, and plain encoders and decoders.
 *
 * These are the definition of the formats: the reference backend and the tests decode with them, and kernels are
 * held against them. A row is a whole number of blocks, blocks are contiguous and unaligned, all little-endian.
 *
 *     F32    4 bytes, 1 weight        | f32 |
 *     F16    2 bytes, 1 weight        | f16 |
 *     BF16   2 bytes, 1 weight        | bf16 |
 *
 *     Q8_0   34 bytes, 32 weights, 8.5 bits per weight            w[j] = scale · quants[j]
 *       0        2                                     34
 *       | scale  | quants[0] quants[1] …  quants[31]   |
 *       | f16    | i8 each, -128 … 127                 |
 *
 *     Q4_0   18 bytes, 32 weights, 4.5 bits per weight            w[j] = scale · (quants[j] - 8)
 *     IQ4_NL 18 bytes, the same                                   w[j] = scale · table[quants[j]]
 *       0        2                                     18
 *       | scale  | byte 0    byte 1    …  byte 15      |
 *       | f16    | byte j: low nibble quants[j], high nibble quants[j + 16], 0 … 15 each
 *
 *     Q4_1   20 bytes, 32 weights, 5 bits per weight              w[j] = scale · quants[j] + minimum
 *       0        2          4                          20
 *       | scale  | minimum  | nibbles as in Q4_0       |
 *
 *     Q5_0   22 bytes, 32 weights, 5.5 bits per weight            w[j] = scale · (quants[j] - 16)
 *       0        2                6                    22
 *       | scale  | fifth bits     | nibbles            |
 *       | f16    | u32, bit j belongs to quants[j]     |
 *
 *     Q5_1   24 bytes, 32 weights, 6 bits per weight              w[j] = scale · quants[j] + minimum
 *       0        2          4             8            24
 *       | scale  | minimum  | fifth bits  | nibbles    |
 *
 *     Q4_K   144 bytes, 256 weights, 4.5 bits per weight          w = scale · inner · quant - minimum · innerMinimum
 *     Q5_K   176 bytes, 5.5 bits per weight                       8 sub-blocks of 32 have an inner scale and minimum each
 *       0        2          4                 16            16 / 48                144 / 176
 *       | scale  | minimum  | 8 + 8 of 6 bits | fifth bits  | nibbles              |
 *       | f16    | f16      |                 | Q5_K only   | 32 bytes for two sub-blocks, the first in the low nibbles
 *       fifth bits: 32 bytes, bit i of byte j belongs to weight j of sub-block i
 *       6 bits: bytes 0 … 3 end in scales 0 … 3 and bytes 4 … 7 in minima 0 … 3, byte 8 + i has the low nibbles of scale and
 *       minimum 4 + i, whose 2 high bits are those of bytes i and 4 + i
 *
 *     Q6_K   210 bytes, 256 weights, 6.5625 bits per weight       w = scale · inner · (quant - 32), inner for 16 weights
 *       0               128            192            208      210
 *       | nibbles       | high 2 bits  | inner scales | scale  |
 *       | 2 times 64    | 2 times 32   | 16 of i8     | f16    |
 *       of each 128 weights, quarter q = 0 … 3, weight j: nibble q >> 1 of byte 32·(q & 1) + j, bits 2q of byte j
 *
 * Source: the block structs of ggml-common.h, and quantize_row_*_ref of ggml-quants.c.
 */
import { expectInteger, grouped, UnsupportedError } from "../errors.ts";
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from "./half.ts";
import {
  type DecodeBlock,
  decodeIQ4_NL,
  decodeQ4_0,
  decodeQ4_1,
  decodeQ4_K,
  decodeQ5_0,
  decodeQ5_1,
  decodeQ5_K,
  decodeQ6_K,
  decodeQ8_0,
} from "./quants.ts";

/** Types that weights can also be stored in. */
export type EncodableType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";

export type WeightType = EncodableType | "Q4_1" | "Q5_0" | "Q5_1" | "Q4_K" | "Q5_K" | "Q6_K" | "IQ4_NL";

const QUANT_BLOCK = 32;
const SCALE_BYTES = 2;

/** Writes values[first], … to the block at byte `at`. */
type EncodeBlock = (values: Float32Array, first: number, bytes: DataView, at: number) => void;

interface BlockFormat {
  readonly weights: number;
  readonly bytes: number;
  readonly decode: DecodeBlock;
}

const FORMATS: Readonly<Record<WeightType, BlockFormat>> = {
  F32: {
    weights: 1,
    bytes: 4,
    decode: (bytes, at, out, first) => {
      out[first] = bytes.getFloat32(at, true);
    },
  },
  F16: {
    weights: 1,
    bytes: 2,
    decode: (bytes, at, out, first) => {
      out[first] = f16ToNumber(bytes.getUint16(at, true));
    },
  },
  BF16: {
    weights: 1,
    bytes: 2,
    decode: (bytes, at, out, first) => {
      out[first] = bf16ToNumber(bytes.getUint16(at, true));
    },
  },
  Q8_0: { weights: 32, bytes: 34, decode: decodeQ8_0 },
  Q4_0: { weights: 32, bytes: 18, decode: decodeQ4_0 },
  Q4_1: { weights: 32, bytes: 20, decode: decodeQ4_1 },
  Q5_0: { weights: 32, bytes: 22, decode: decodeQ5_0 },
  Q5_1: { weights: 32, bytes: 24, decode: decodeQ5_1 },
  Q4_K: { weights: 256, bytes: 144, decode: decodeQ4_K },
  Q5_K: { weights: 256, bytes: 176, decode: decodeQ5_K },
  Q6_K: { weights: 256, bytes: 210, decode: decodeQ6_K },
  IQ4_NL: { weights: 32, bytes: 18, decode: decodeIQ4_NL },
};

const ENCODERS: Readonly<Record<EncodableType, EncodeBlock>> = {
  F32: (values, first, bytes, at) => bytes.setFloat32(at, values[first], true),
  F16: (values, first, bytes, at) => bytes.setUint16(at, numberToF16(values[first]), true),
  BF16: (values, first, bytes, at) => bytes.setUint16(at, numberToBf16(values[first]), true),
  Q8_0: encodeQ8_0,
  Q4_0: encodeQ4_0,
};

export const WEIGHT_TYPES = Object.keys(FORMATS) as readonly WeightType[];

export function isWeightType(type: string): type is WeightType {
  return Object.hasOwn(FORMATS, type);
}

/** Weights and bytes of one block. @throws {UnsupportedError} If `type` cannot run. */
export function blockSize(type: string): { readonly weights: number; readonly bytes: number } {
  return formatOf(type);
}

/**
 * Bytes of one row of `cols` weights.
 *
 * @throws {UnsupportedError} If `type` cannot run.
 * @throws {RangeError} If `cols` is not a whole number of blocks.
 */
export function bytesPerRow(type: string, cols: number): number {
  const { weights, bytes } = formatOf(type);
  expectInteger("cols", cols, 0, Math.floor(Number.MAX_SAFE_INTEGER / bytes));
  expectWhole("cols", cols, weights, type);
  return (cols / weights) * bytes;
}

/** Whether `encodeWeights` can write `type`. */
export function isEncodableType(type: string): type is EncodableType {
  return Object.hasOwn(ENCODERS, type);
}

/**
 * The weights that `bytes` stand for, exactly; where scale · quant and a minimum are added, the sum rounded to f32.
 *
 * @param bytes Any number of whole blocks.
 * @param out   Where to write, from index 0; at least as long as the weights. Default: a new array of their count.
 *
 * @example
 * ```ts
 * decodeWeights("F16", Uint8Array.of(0x00, 0x3c, 0x00, 0xc0)); // Float32Array [1, -2]
 * ```
 */
export function decodeWeights(type: string, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const format = formatOf(type);
  expectWhole("bytes", bytes.length, format.bytes, type);
  const blocks = bytes.length / format.bytes;
  const weights = out ?? new Float32Array(blocks * format.weights);
  expectRoom("out", weights.length, blocks * format.weights);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    format.decode(view, block * format.bytes, weights, block * format.weights);
  }
  return weights;
}

/**
 * Stores weights in a format, rounding as ggml's reference quantisers do: halves to nearest even, quants half away
 * from zero (Q8_0) or half up (Q4_0).
 *
 * @param values A whole number of blocks of weights. Finite ones, for the types with a scale.
 * @param out    Where to write, from index 0. Default: a new array of the bytes needed.
 * @throws {UnsupportedError} If `type` is not an `EncodableType`.
 * @throws {RangeError} If a block's scale is not finite or overflows F16.
 */
export function encodeWeights(type: string, values: Float32Array, out?: Uint8Array): Uint8Array {
  if (!isEncodableType(type)) {
    const types = Object.keys(ENCODERS).join(", ");
    throw new UnsupportedError(`Weight type to encode must be one of ${types}, got "${type}"`);
  }
  const format = FORMATS[type];
  const encode = ENCODERS[type];
  expectWhole("values", values.length, format.weights, type);
  const blocks = values.length / format.weights;
  const bytes = out ?? new Uint8Array(blocks * format.bytes);
  expectRoom("out", bytes.length, blocks * format.bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    encode(values, block * format.weights, view, block * format.bytes);
  }
  return bytes;
}

/** scale = max |w| / 127, quants = w / scale; with f32 operations, and the scale not yet rounded to F16. */
function encodeQ8_0(values: Float32Array, first: number, bytes: DataView, at: number): void {
  let largest = 0;
  for (let j = 0; j < QUANT_BLOCK; j++) largest = Math.max(largest, Math.abs(values[first + j]));
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  bytes.setUint16(at, expectScale(scale, first), true);
  for (let j = 0; j < QUANT_BLOCK; j++) {
    const scaled = Math.fround(values[first + j] * inverse);
    const magnitude = Math.floor(Math.abs(scaled) + 0.5);
    bytes.setInt8(at + SCALE_BYTES + j, scaled < 0 ? -magnitude : magnitude);
  }
}

/** scale = m / -8 for the m of largest magnitude, its sign kept: m gets the quant 0, whose range reaches furthest. */
function encodeQ4_0(values: Float32Array, first: number, bytes: DataView, at: number): void {
  let extreme = 0;
  for (let j = 0; j < QUANT_BLOCK; j++) {
    const value = values[first + j];
    // A NaN is kept, for the check of the scale: nothing compares as larger.
    if (Math.abs(value) > Math.abs(extreme) || Number.isNaN(value)) extreme = value;
  }
  const scale = extreme / -8;
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  bytes.setUint16(at, expectScale(scale, first), true);
  const quant = (value: number): number =>
    Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)));
  for (let j = 0; j < QUANT_BLOCK / 2; j++) {
    const low = quant(values[first + j]);
    const high = quant(values[first + j + QUANT_BLOCK / 2]);
    bytes.setUint8(at + SCALE_BYTES + j, low | (high << 4));
  }
}

function expectScale(scale: number, first: number): number {
  const half = numberToF16(scale);
  if ((half & 0x7fff) >= 0x7c00) {
    throw new RangeError(
      `Cannot encode weights ${first} … ${first + QUANT_BLOCK - 1}: scale must be finite in F16, got ${scale}`,
    );
  }
  return half;
}

function formatOf(type: string): BlockFormat {
  if (!isWeightType(type)) {
    throw new UnsupportedError(`Weight type must be one of ${WEIGHT_TYPES.join(", ")}, got "${type}"`);
  }
  return FORMATS[type];
}

function expectWhole(name: string, count: number, unit: number, type: string): void {
  if (count % unit !== 0) {
    throw new RangeError(`"${name}" must be a multiple of ${unit} for ${type}, got ${grouped(count)}`);
  }
}

function expectRoom(name: string, length: number, needed: number): void {
  if (length < needed) {
    throw new RangeError(`"${name}" must have room for ${grouped(needed)}, got ${grouped(length)}`);
  }
}
