/**
 * A GGUF reader for the oracle. It shares no line with `src/format`, so that one bug cannot hide in both, and it
 * trusts the file: use it on models you made or know.
 *
 * Source: the GGUF specification in the ggml repository, docs/gguf.md; block layouts from ggml-common.h.
 */

export interface TensorInfo {
  readonly name: string;
  /** Fastest dimension first, as stored: a matrix (out, in) is [in, out]. */
  readonly shape: readonly number[];
  readonly type: number;
  /** Byte where the data starts, from the start of the file. */
  readonly offset: number;
}

export interface GgufFile {
  readonly bytes: Uint8Array;
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly alignment: number;
  /** Byte where the tensor descriptions start: all before it is header and metadata. */
  readonly descriptionsOffset: number;
}

/** Tensor types the oracle dequantises: id, elements and bytes of a block, and how to read one. */
interface BlockType {
  readonly name: string;
  readonly elements: number;
  readonly bytes: number;
  read(view: DataView, offset: number, out: Float32Array, at: number): void;
}

export const F32 = 0;

const BLOCK_TYPES: Readonly<Record<number, BlockType>> = {
  0: {
    name: "F32",
    elements: 1,
    bytes: 4,
    read: (view, offset, out, at) => {
      out[at] = view.getFloat32(offset, true);
    },
  },
  1: {
    name: "F16",
    elements: 1,
    bytes: 2,
    read: (view, offset, out, at) => {
      out[at] = halfToNumber(view.getUint16(offset, true));
    },
  },
  2: {
    name: "Q4_0",
    elements: 32,
    bytes: 18,
    read: (view, offset, out, at) => {
      const scale = halfToNumber(view.getUint16(offset, true));
      for (let i = 0; i < 16; i++) {
        const pair = view.getUint8(offset + 2 + i);
        out[at + i] = scale * ((pair & 15) - 8);
        out[at + i + 16] = scale * ((pair >> 4) - 8);
      }
    },
  },
  8: {
    name: "Q8_0",
    elements: 32,
    bytes: 34,
    read: (view, offset, out, at) => {
      const scale = halfToNumber(view.getUint16(offset, true));
      for (let i = 0; i < 32; i++) out[at + i] = scale * view.getInt8(offset + 2 + i);
    },
  },
  3: {
    name: "Q4_1",
    elements: 32,
    bytes: 20,
    read: (view, offset, out, at) => readAffine(view, offset, out, at, false),
  },
  6: {
    name: "Q5_0",
    elements: 32,
    bytes: 22,
    read: (view, offset, out, at) => {
      const scale = halfToNumber(view.getUint16(offset, true));
      const codes = fiveBits(view, offset + 2);
      for (let i = 0; i < 32; i++) out[at + i] = scale * (codes[i] - 16);
    },
  },
  7: {
    name: "Q5_1",
    elements: 32,
    bytes: 24,
    read: (view, offset, out, at) => readAffine(view, offset, out, at, true),
  },
  12: { name: "Q4_K", elements: 256, bytes: 144, read: readQ4K },
  13: { name: "Q5_K", elements: 256, bytes: 176, read: readQ5K },
  14: { name: "Q6_K", elements: 256, bytes: 210, read: readQ6K },
  20: {
    name: "IQ4_NL",
    elements: 32,
    bytes: 18,
    read: (view, offset, out, at) => {
      const scale = halfToNumber(view.getUint16(offset, true));
      for (let i = 0; i < 16; i++) {
        const pair = view.getUint8(offset + 2 + i);
        out[at + i] = scale * LEVELS[pair & 15];
        out[at + i + 16] = scale * LEVELS[pair >> 4];
      }
    },
  },
  30: {
    name: "BF16",
    elements: 1,
    bytes: 2,
    read: (view, offset, out, at) => {
      FLOAT_BITS[0] = view.getUint16(offset, true) << 16;
      out[at] = FLOAT[0];
    },
  },
};

const FLOAT = new Float32Array(1);
const FLOAT_BITS = new Uint32Array(FLOAT.buffer);

function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Of IQ4_NL. */
const LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** Q4_1 and Q5_1: scale, minimum, then codes. */
function readAffine(view: DataView, offset: number, out: Float32Array, at: number, five: boolean): void {
  const scale = halfToNumber(view.getUint16(offset, true));
  const minimum = halfToNumber(view.getUint16(offset + 2, true));
  const high = five ? fiveBits(view, offset + 4) : undefined;
  for (let i = 0; i < 32; i++) {
    const pair = view.getUint8(offset + 4 + (i & 15));
    const code = high ? high[i] : i < 16 ? pair & 15 : pair >> 4;
    out[at + i] = scale * code + minimum;
  }
}

/** 4 bytes of fifth bits, then 16 of nibbles. */
function fiveBits(view: DataView, offset: number): number[] {
  const high = view.getUint32(offset, true);
  return Array.from({ length: 32 }, (_, i) => {
    const pair = view.getUint8(offset + 4 + (i % 16));
    return (i < 16 ? pair & 15 : pair >> 4) + (Math.floor(high / 2 ** i) % 2) * 16;
  });
}

/** Scales and minima of the eight parts of a Q4_K or Q5_K block: two halves, then 12 bytes of 6-bit numbers. */
function partsOf(view: DataView, offset: number): { scale: number; minimum: number }[] {
  const scale = halfToNumber(view.getUint16(offset, true));
  const minimum = halfToNumber(view.getUint16(offset + 2, true));
  const [a, b, c] = [4, 8, 12].map((word) => view.getUint32(offset + word, true));
  // The words of the sixteen numbers, a byte each: low six bits of a and b, nibbles of c under the top bits of both.
  const scales = [a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (((a >>> 6) & 0x03030303) << 4)];
  const minima = [b & 0x3f3f3f3f, ((c >>> 4) & 0x0f0f0f0f) | (((b >>> 6) & 0x03030303) << 4)];
  const byte = (words: number[], part: number) => (words[part >> 2] >>> (8 * (part & 3))) & 255;
  return Array.from({ length: 8 }, (_, part) => ({
    scale: scale * byte(scales, part),
    minimum: minimum * byte(minima, part),
  }));
}

function readQ4K(view: DataView, offset: number, out: Float32Array, at: number): void {
  for (const [part, { scale, minimum }] of partsOf(view, offset).entries()) {
    for (let i = 0; i < 32; i++) {
      const pair = view.getUint8(offset + 16 + 32 * (part >> 1) + i);
      out[at + 32 * part + i] = scale * (part % 2 ? pair >> 4 : pair & 15) - minimum;
    }
  }
}

function readQ5K(view: DataView, offset: number, out: Float32Array, at: number): void {
  for (const [part, { scale, minimum }] of partsOf(view, offset).entries()) {
    for (let i = 0; i < 32; i++) {
      const pair = view.getUint8(offset + 48 + 32 * (part >> 1) + i);
      const fifth = view.getUint8(offset + 16 + i) & (1 << part) ? 16 : 0;
      out[at + 32 * part + i] = scale * ((part % 2 ? pair >> 4 : pair & 15) + fifth) - minimum;
    }
  }
}

function readQ6K(view: DataView, offset: number, out: Float32Array, at: number): void {
  const scale = halfToNumber(view.getUint16(offset + 208, true));
  let [low, high, inner, to] = [offset, offset + 128, offset + 192, at];
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < 32; i++) {
      const bits = view.getUint8(high + i);
      const [first, second] = [view.getUint8(low + i), view.getUint8(low + 32 + i)];
      const codes = [first & 15, second & 15, first >> 4, second >> 4];
      codes.forEach((code, quarter) => {
        const value = code + 16 * ((bits >> (2 * quarter)) & 3) - 32;
        out[to + 32 * quarter + i] = scale * view.getInt8(inner + 2 * quarter + (i >> 4)) * value;
      });
    }
    low += 64;
    high += 32;
    inner += 8;
    to += 128;
  }
}

/** Weights of one tensor as f32, as ggml dequantises them: only the minima that some formats add can make it round. */
export function dequantize(file: GgufFile, name: string): Float32Array {
  const tensor = file.tensors.get(name);
  if (tensor === undefined) throw new RangeError(`Tensor "${name}" is not in the file`);
  const type = BLOCK_TYPES[tensor.type];
  if (type === undefined)
    throw new RangeError(`Tensor "${name}" has type ${tensor.type}, the oracle does not know it`);
  const count = tensor.shape.reduce((product, extent) => product * extent, 1);
  const view = new DataView(file.bytes.buffer, file.bytes.byteOffset, file.bytes.byteLength);
  const out = new Float32Array(count);
  for (let at = 0, offset = tensor.offset; at < count; at += type.elements, offset += type.bytes) {
    type.read(view, offset, out, at);
  }
  return out;
}

/** Reads header, metadata and tensor descriptions of a little-endian GGUF v2 or v3. */
export function parseGguf(bytes: Uint8Array): GgufFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (count: number) => {
    at += count;
    return at - count;
  };
  const u32 = () => view.getUint32(take(4), true);
  const u64 = () => Number(view.getBigUint64(take(8), true));
  const string = () => {
    const length = u64();
    return new TextDecoder().decode(bytes.subarray(take(length), at));
  };
  const readers: (() => unknown)[] = [
    () => view.getUint8(take(1)),
    () => view.getInt8(take(1)),
    () => view.getUint16(take(2), true),
    () => view.getInt16(take(2), true),
    u32,
    () => view.getInt32(take(4), true),
    () => view.getFloat32(take(4), true),
    () => view.getUint8(take(1)) !== 0,
    string,
    () => {
      const read = readers[u32()];
      return Array.from({ length: u64() }, () => read());
    },
    u64,
    () => Number(view.getBigInt64(take(8), true)),
    () => view.getFloat64(take(8), true),
  ];

  if (u32() !== 0x46554747) throw new TypeError("File must start with GGUF");
  const version = u32();
  if (version < 2 || version > 3) throw new RangeError(`GGUF version must be 2 or 3, got ${version}`);
  const tensorCount = u64();
  const metadataCount = u64();
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < metadataCount; i++) metadata.set(string(), readers[u32()]());

  const descriptionsOffset = at;
  const described: TensorInfo[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = string();
    const shape = Array.from({ length: u32() }, u64);
    described.push({ name, shape, type: u32(), offset: u64() });
  }
  const alignment = (metadata.get("general.alignment") as number | undefined) ?? 32;
  const dataOffset = Math.ceil(at / alignment) * alignment;
  const tensors = new Map(
    described.map((tensor) => [tensor.name, { ...tensor, offset: dataOffset + tensor.offset }]),
  );
  return { bytes, metadata, tensors, alignment, descriptionsOffset };
}
