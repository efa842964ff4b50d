/**
 * Encodings that keep some tokens of a row: the likeliest with the mass of the rest, a distribution in multiples of
 * 1 / resolution, ids alone. What looks at the whole vocabulary is a kernel's; from there on it is a few tokens.
 */
import { exp, log } from "../../math.ts";
import { f16ToNumber, numberToF16 } from "../half.ts";
import { BitReader, BitWriter } from "./bits.ts";
import type { RowMass, WireKernels } from "./kernels.ts";
import { WIRE_LIMITS } from "./types.ts";

/** Bytes of a log-probability. */
const WIDTH = { f16: 2, f32: 4 } as const;
export type Precision = keyof typeof WIDTH;

/**
 * How far from 1 the sum may be. Halves of log-probabilities are off by up to |ln p| / 2048, which adds up to the entropy
 * over 2048.
 */
const TOLERANCE = { f16: 1e-2, f32: 1e-4 } as const;

const MAX_RICE = 20;

/** The largest finite f32, and half. */
const MOST = 3.4028234663852886e38;
const MOST_HALF = 65_504;

/** A row and what has been found out about it. */
export interface MeasuredRow {
  readonly row: Float32Array;
  readonly top: number;
  readonly kernels: WireKernels;
}

export function encodeTopK(
  { row, top, kernels }: MeasuredRow,
  count: number,
  precision: Precision,
): Uint8Array {
  const mass = kernels.mass(row, top);
  const ids = kernels.best(row, count);
  const logProbabilities = logProbabilitiesOf(row, ids, top, mass);
  // What is left of 1 by subtraction would be rounding, where nothing is left.
  const kept = ids.reduce((sum, id) => sum + exp(row[id] - top), 0);
  const tail = ids.length === mass.count ? 0 : Math.max(0, (mass.total - kept) / mass.total);
  const writer = new BitWriter();
  writer.byte(8 * WIDTH[precision]);
  const float = new DataView(new ArrayBuffer(4));
  const put = (bytes: number) => {
    for (let i = 0; i < bytes; i++) writer.byte(float.getUint8(i));
  };
  float.setFloat32(0, tail, true);
  put(4);
  writer.varint(ids.length);
  let next = 0;
  for (const id of ids) {
    writer.varint(id - next);
    next = id + 1;
  }
  for (const value of logProbabilities) {
    if (precision === "f32") float.setFloat32(0, Math.max(value, -MOST), true);
    else float.setUint16(0, numberToF16(Math.max(value, -MOST_HALF)), true);
    put(WIDTH[precision]);
  }
  return writer.bytes;
}

/** ln p of tokens of a row. */
function logProbabilitiesOf(
  row: Float32Array,
  ids: Uint32Array,
  top: number,
  { total }: RowMass,
): Float64Array {
  const partition = log(total);
  return Float64Array.from(ids, (id) => row[id] - top - partition);
}

/** What "top-k" has of a row. */
export interface TopRow {
  /** Ascending. */
  readonly ids: Uint32Array;
  readonly logProbabilities: Float32Array;
  /** Of all other tokens together, which share it equally. */
  readonly tailMass: number;
}

/** @throws {RangeError} Naming `path`, if the bytes are not such a row. */
export function readTopK(path: string, data: Uint8Array, vocab: number): TopRow {
  const what = `"${path}"`;
  const reader = new BitReader(data, what);
  const bits = reader.byte();
  if (bits !== 16 && bits !== 32) throw new RangeError(`${what} must begin with 16 or 32, got ${bits}`);
  const precision = bits === 16 ? "f16" : "f32";
  const tailMass = reader.expect("a tail mass", viewOf(reader.take(4)).getFloat32(0, true), 0, 1);
  const count = reader.varint("a number of tokens", 1, vocab);
  expectRoom(what, reader, count);
  const ids = new Uint32Array(count);
  let next = 0;
  for (let i = 0; i < count; i++) {
    ids[i] = next + reader.varint(`the gap before token ${i}`, 0, vocab - 1 - next);
    next = ids[i] + 1;
  }
  const logs = viewOf(reader.take(count * WIDTH[precision]));
  reader.done();
  const logProbabilities = new Float32Array(count);
  let sum = tailMass;
  for (let i = 0; i < count; i++) {
    const value =
      precision === "f32" ? logs.getFloat32(4 * i, true) : f16ToNumber(logs.getUint16(2 * i, true));
    if (!(value <= 0 && value > -Infinity)) {
      throw new RangeError(
        `${what} must have finite log-probabilities up to 0, got ${value} of token ${ids[i]}`,
      );
    }
    logProbabilities[i] = value;
    sum += exp(value);
  }
  if (Math.abs(sum - 1) > TOLERANCE[precision]) {
    throw new RangeError(`${what} must have probabilities that sum to 1, got ${sum}`);
  }
  return { ids, logProbabilities, tailMass };
}

export function decodeTopK(path: string, data: Uint8Array, vocab: number): Float32Array {
  const { ids, logProbabilities, tailMass } = readTopK(path, data, vocab);
  const others = vocab - ids.length;
  const row = new Float32Array(vocab).fill(others > 0 ? log(tailMass / others) : -Infinity);
  for (let i = 0; i < ids.length; i++) row[ids[i]] = logProbabilities[i];
  return row;
}

/**
 * The nearest distribution in multiples of 1 / resolution: probabilities are rounded, and what the sum is then off by is
 * made good where rounding went furthest the other way, lowest ids first.
 *
 * Source: Reznik 2011, "An algorithm for quantization of discrete probability distributions".
 */
export function encodeLattice(measured: MeasuredRow, resolution: number, most: number): Uint8Array {
  const { row, top, kernels } = measured;
  // More than `resolution` tokens cannot have a multiple, and it is the likeliest that have one.
  const kept = kernels.best(row, Math.min(resolution, most));
  const masses = Float64Array.from(kept, (id) => exp(row[id] - top));
  const all = most < row.length ? masses.reduce((sum, mass) => sum + mass, 0) : kernels.mass(row, top).total;
  const counts = latticePoint(masses, all, resolution);
  const ids = kept.filter((_, i) => counts[i] > 0);
  const writer = new BitWriter();
  writer.varint(resolution);
  writer.varint(ids.length);
  const gaps = ids.map((id, i) => id - (i === 0 ? 0 : ids[i - 1] + 1));
  const parameter = bestRice(gaps);
  writer.byte(parameter);
  const some = counts.filter((count) => count > 0);
  for (const [i, gap] of gaps.entries()) {
    writer.rice(gap, parameter);
    writer.gamma(some[i]);
  }
  return writer.bytes;
}

/** @param total What masses are shares of; a rest of it is that of tokens that get nothing. */
function latticePoint(masses: Float64Array, total: number, resolution: number): Uint32Array {
  const exact = masses.map((mass) => (mass / total) * resolution);
  const counts = Uint32Array.from(exact, (value) => Math.floor(value + 0.5));
  const excess = counts.reduce((sum, count) => sum + count, 0) - resolution;
  if (excess === 0) return counts;
  const sign = Math.sign(excess);
  const order = Array.from(counts.keys()).filter((i) => excess < 0 || counts[i] > 0);
  order.sort((a, b) => sign * (counts[b] - exact[b] - (counts[a] - exact[a])) || a - b);
  // Once is enough but for what rounding of the masses may do.
  for (let left = Math.abs(excess), at = 0; left > 0; at = (at + 1) % order.length) {
    if (excess > 0 && counts[order[at]] === 0) continue;
    counts[order[at]] -= sign;
    left--;
  }
  return counts;
}

function bestRice(gaps: Uint32Array): number {
  let [best, least] = [0, Infinity];
  for (let parameter = 0; parameter <= MAX_RICE; parameter++) {
    const bits = gaps.reduce((sum, gap) => sum + (gap >>> parameter) + 1 + parameter, 0);
    if (bits < least) [best, least] = [parameter, bits];
  }
  return best;
}

export interface LatticeRow {
  /** Ascending. */
  readonly ids: Uint32Array;
  /** Each at least 1; their sum is the resolution. */
  readonly counts: Uint32Array;
  readonly resolution: number;
}

/** @throws {RangeError} Naming `path`, if the bytes are not such a row. */
export function readLattice(path: string, data: Uint8Array, vocab: number): LatticeRow {
  const what = `"${path}"`;
  const reader = new BitReader(data, what);
  const resolution = reader.varint("a resolution", 1, WIRE_LIMITS.resolution);
  const count = reader.varint("a number of tokens", 1, Math.min(vocab, resolution));
  const parameter = reader.expect("a Rice parameter", reader.byte(), 0, MAX_RICE);
  // Two bits a token at least.
  expectRoom(what, reader, Math.ceil(count / 4));
  const ids = new Uint32Array(count);
  const counts = new Uint32Array(count);
  let [next, sum] = [0, 0];
  for (let i = 0; i < count; i++) {
    ids[i] = next + reader.expect(`the gap before token ${i}`, reader.rice(parameter), 0, vocab - 1 - next);
    next = ids[i] + 1;
    counts[i] = reader.expect(`the count of token ${ids[i]}`, reader.gamma(), 1, resolution - sum);
    sum += counts[i];
  }
  reader.done();
  if (sum !== resolution)
    throw new RangeError(`${what} must have counts that sum to ${resolution}, got ${sum}`);
  return { ids, counts, resolution };
}

export function decodeLattice(path: string, data: Uint8Array, vocab: number): Float32Array {
  const { ids, counts, resolution } = readLattice(path, data, vocab);
  const row = new Float32Array(vocab).fill(-Infinity);
  for (let i = 0; i < ids.length; i++) row[ids[i]] = log(counts[i] / resolution);
  return row;
}

/** Best first. */
export function encodeIds({ row, kernels }: MeasuredRow, count: number): Uint8Array {
  const ids = kernels.best(row, count);
  ids.sort((a, b) => row[b] - row[a] || a - b);
  const writer = new BitWriter();
  writer.varint(ids.length);
  for (const id of ids) writer.varint(id);
  return writer.bytes;
}

/** @throws {RangeError} Naming `path`, if the bytes are not distinct ids of the vocabulary. */
export function readIds(path: string, data: Uint8Array, vocab: number): Uint32Array {
  const what = `"${path}"`;
  const reader = new BitReader(data, what);
  const count = reader.varint("a number of tokens", 1, vocab);
  expectRoom(what, reader, count);
  const ids = Uint32Array.from({ length: count }, (_, i) => reader.varint(`token ${i}`, 0, vocab - 1));
  reader.done();
  const seen = new Set<number>();
  for (const id of ids) {
    if (seen.has(id)) throw new RangeError(`${what} must have each token once, got ${id} again`);
    seen.add(id);
  }
  return ids;
}

/** All tokens that are named are equally likely. */
export function decodeIds(path: string, data: Uint8Array, vocab: number): Float32Array {
  const row = new Float32Array(vocab).fill(-Infinity);
  for (const id of readIds(path, data, vocab)) row[id] = 0;
  return row;
}

/** A byte for each of so many things at least, so that memory is only taken for what can be there. */
function expectRoom(what: string, reader: BitReader, bytes: number): void {
  if (reader.left >= bytes) return;
  throw new RangeError(`${what} must have at least ${bytes} bytes more for its tokens, got ${reader.left}`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
