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
 *       0        2                                     18
 *       | scale  | byte 0    byte 1    …  byte 15      |
 *       | f16    | byte j: low nibble quants[j], high nibble quants[j + 16], 0 … 15 each
 *
 * Source: block_q8_0, block_q4_0 and quantize_row_*_ref of ggml (ggml-common.h, ggml-quants.c).
 */
import { expectInteger, grouped, UnsupportedError } from "../errors.ts";
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from "./half.ts";

export type WeightType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";

export const WEIGHT_TYPES: readonly WeightType[] = ["F32", "F16", "BF16", "Q8_0", "Q4_0"];

const QUANT_BLOCK = 32;
const SCALE_BYTES = 2;

interface BlockFormat {
  readonly weights: number;
  readonly bytes: number;
  /** Reads the block at byte `at` into out[first], … */
  readonly decode: (bytes: DataView, at: number, out: Float32Array, first: number) => void;
  /** Writes values[first], … to the block at byte `at`. */
  readonly encode: (values: Float32Array, first: number, bytes: DataView, at: number) => void;
}

const FORMATS: Readonly<Record<WeightType, BlockFormat>> = {
  F32: {
    weights: 1,
    bytes: 4,
    decode: (bytes, at, out, first) => {
      out[first] = bytes.getFloat32(at, true);
    },
    encode: (values, first, bytes, at) => bytes.setFloat32(at, values[first], true),
  },
  F16: {
    weights: 1,
    bytes: 2,
    decode: (bytes, at, out, first) => {
      out[first] = f16ToNumber(bytes.getUint16(at, true));
    },
    encode: (values, first, bytes, at) => bytes.setUint16(at, numberToF16(values[first]), true),
  },
  BF16: {
    weights: 1,
    bytes: 2,
    decode: (bytes, at, out, first) => {
      out[first] = bf16ToNumber(bytes.getUint16(at, true));
    },
    encode: (values, first, bytes, at) => bytes.setUint16(at, numberToBf16(values[first]), true),
  },
  Q8_0: {
    weights: QUANT_BLOCK,
    bytes: SCALE_BYTES + QUANT_BLOCK,
    decode: decodeQ8_0,
    encode: encodeQ8_0,
  },
  Q4_0: {
    weights: QUANT_BLOCK,
    bytes: SCALE_BYTES + QUANT_BLOCK / 2,
    decode: decodeQ4_0,
    encode: encodeQ4_0,
  },
};

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

/**
 * The weights that `bytes` stand for, exactly: each is one product of a scale and a small integer, or a half float.
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
 * @throws {RangeError} If a block's scale is not finite or overflows F16.
 */
export function encodeWeights(type: string, values: Float32Array, out?: Uint8Array): Uint8Array {
  const format = formatOf(type);
  expectWhole("values", values.length, format.weights, type);
  const blocks = values.length / format.weights;
  const bytes = out ?? new Uint8Array(blocks * format.bytes);
  expectRoom("out", bytes.length, blocks * format.bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    format.encode(values, block * format.weights, view, block * format.bytes);
  }
  return bytes;
}

function decodeQ8_0(bytes: DataView, at: number, out: Float32Array, first: number): void {
  const scale = f16ToNumber(bytes.getUint16(at, true));
  for (let j = 0; j < QUANT_BLOCK; j++) out[first + j] = scale * bytes.getInt8(at + SCALE_BYTES + j);
}

function decodeQ4_0(bytes: DataView, at: number, out: Float32Array, first: number): void {
  const scale = f16ToNumber(bytes.getUint16(at, true));
  for (let j = 0; j < QUANT_BLOCK / 2; j++) {
    const pair = bytes.getUint8(at + SCALE_BYTES + j);
    out[first + j] = scale * ((pair & 15) - 8);
    out[first + j + QUANT_BLOCK / 2] = scale * ((pair >>> 4) - 8);
  }
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
