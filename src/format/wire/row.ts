/** One row: from logits to bytes and back, with every check on the way. */
import { expectInteger, expectNumber } from "../../errors.ts";
import { f16ToNumber } from "../half.ts";
import { type Codebook, codeWidth, groupsOf } from "./codebook.ts";
import { plainWireKernels } from "./definition.ts";
import { type BlockBits, blocksOf, codeBytes, type WireKernels } from "./kernels.ts";
import {
  decodeIds,
  decodeLattice,
  decodeTopK,
  encodeIds,
  encodeLattice,
  encodeTopK,
  type MeasuredRow,
} from "./sparse.ts";
import { type EncodedRow, type EncodingSpec, expectEncoding, isEncodedRow, WIRE_LIMITS } from "./types.ts";

/** Of the largest logit where logits, or the bounds of blocks, are halves: what is lower than a half can tell is far below it. */
const MAX_HALF_TOP = 60_000;

/** Where rows of models lose least: below, what is raised counts; above, steps are coarser than they need be. */
const CLIP = { int8: 12, int4: 10 } as const;

/** The largest f32. */
const MOST = 3.4028234663852886e38;

export interface WireOptions {
  /** What does the work. Default: plain TypeScript; `backend.wireKernels()` gives the same bits sooner. */
  readonly kernels?: WireKernels;
  /** What errors call the row. Default "row". */
  readonly path?: string;
}

/**
 * A row as bytes.
 *
 * @param row (vocab) logits, −∞ or finite as f32; f64 is rounded to f32.
 * @throws {TypeError | RangeError} If it is no such row, an option is out of range, or the encoding cannot hold it: 16-bit
 *   floats and blocks need a largest logit within ±60,000, a codebook logits above −∞.
 *
 * @example
 * ```ts
 * const { data } = encodeRow(Float32Array.of(1, 3, 2), { encoding: "top-k", count: 2 });
 * decodeRow({ encoding: "top-k", vocab: 3, data }); // −2.41, −0.41, −1.41: log-probabilities
 * ```
 */
export function encodeRow(
  row: ArrayLike<number>,
  spec: EncodingSpec,
  { kernels = plainWireKernels, path = "row" }: WireOptions = {},
): EncodedRow {
  const options = typeof spec === "string" ? { encoding: spec } : spec;
  const encoding = expectEncoding("encoding", options?.encoding);
  const measured = measure(path, row, kernels);
  const vocab = measured.row.length;
  const data = encode({ ...options, encoding } as Exclude<EncodingSpec, string>, measured, path);
  return "codebook" in options
    ? { encoding, vocab, data, codebook: options.codebook }
    : { encoding, vocab, data };
}

function measure(path: string, row: ArrayLike<number>, kernels: WireKernels): MeasuredRow {
  if (!Array.isArray(row) && !(ArrayBuffer.isView(row) && "length" in row)) {
    throw new TypeError(`"${path}" must be an array of logits, got ${row === null ? "null" : typeof row}`);
  }
  expectInteger(`${path}.length`, row.length, 1, WIRE_LIMITS.vocab);
  // A copy: a view of the memory of kernels would be gone as soon as that grows.
  const floats = row instanceof Float32Array ? row.slice() : Float32Array.from(row);
  const top = kernels.highest(floats);
  expectTop(path, floats, top);
  return { row: floats, top, kernels };
}

/** @param top Largest logit. @throws {RangeError} If the row has none, or one that is NaN or +∞. */
function expectTop(path: string, row: Float32Array, top: number): void {
  if (top > -Infinity && top <= MOST) return;
  if (top === -Infinity) throw new RangeError(`"${path}" must have a logit above −∞, has none`);
  const token = row.findIndex((z) => !(z <= MOST));
  throw new RangeError(`"${path}" must have logits below ∞, got ${row[token]} at token ${token}`);
}

function encode(spec: Exclude<EncodingSpec, string>, measured: MeasuredRow, path: string): Uint8Array {
  const { row, top, kernels } = measured;
  switch (spec.encoding) {
    case "f32":
      return new Uint8Array(row.buffer);
    case "f16":
      expectHalves(path, spec.encoding, top);
      return kernels.toHalves(row);
    case "int8":
    case "int4": {
      expectHalves(path, spec.encoding, top);
      const bits = bitsOf(spec.encoding);
      const clip = "clip" in spec ? spec.clip : undefined;
      return kernels.toBlocks(
        row,
        bits,
        expectNumber("clip", clip ?? CLIP[spec.encoding], 0, WIRE_LIMITS.clip),
      );
    }
    case "vq": {
      const codebook = expectCodebook("codebook", spec.codebook);
      const hole = row.indexOf(-Infinity);
      if (hole >= 0)
        throw new RangeError(`"${path}" must have logits above −∞ for "vq", got −∞ at token ${hole}`);
      const codes = kernels.toCodes(row, top, codebook);
      const data = new Uint8Array(4 + codes.length);
      new DataView(data.buffer).setFloat32(0, top, true);
      data.set(codes, 4);
      return data;
    }
    case "top-k": {
      const { precision = "f16" } = spec;
      if (precision !== "f16" && precision !== "f32") {
        throw new RangeError(`"precision" must be "f16" or "f32", got ${JSON.stringify(precision)}`);
      }
      return encodeTopK(measured, expectCount(spec.count ?? 64), precision);
    }
    case "lattice": {
      const resolution = expectInteger("resolution", spec.resolution ?? 1000, 1, WIRE_LIMITS.resolution);
      return encodeLattice(measured, resolution, expectCount(spec.count ?? WIRE_LIMITS.vocab));
    }
    case "ids":
      return encodeIds(measured, expectCount(spec.count ?? 1));
  }
}

function expectCount(count: number): number {
  return expectInteger("count", count, 1, WIRE_LIMITS.vocab);
}

function expectHalves(path: string, encoding: string, top: number): void {
  if (Math.abs(top) <= MAX_HALF_TOP) return;
  throw new RangeError(
    `"${path}" must have its largest logit within ±${MAX_HALF_TOP} for "${encoding}", got ${top}`,
  );
}

export function expectCodebook(path: string, codebook: Codebook | undefined): Codebook {
  if (typeof codebook === "object" && codebook !== null && codebook.values instanceof Float32Array)
    return codebook;
  throw new TypeError(`"${path}" must be a codebook, got ${codebook === null ? "null" : typeof codebook}`);
}

/**
 * The logits that an encoded row stands for; of "top-k" and "lattice" log-probabilities. All who read the same bytes get
 * the same bits.
 *
 * @throws {TypeError | RangeError} If it is not a row of its encoding; the message names the field, as in `"row.data"`.
 */
export function decodeRow(
  encoded: EncodedRow,
  { kernels = plainWireKernels, path = "row" }: WireOptions = {},
): Float32Array {
  if (!isEncodedRow(encoded)) throw new TypeError(`"${path}" must be an encoded row, got ${typeof encoded}`);
  const encoding = expectEncoding(`${path}.encoding`, encoded.encoding);
  const vocab = expectInteger(`${path}.vocab`, encoded.vocab, 1, WIRE_LIMITS.vocab);
  const { data, codebook } = encoded;
  if (!(data instanceof Uint8Array)) {
    throw new TypeError(`"${path}.data" must be a Uint8Array, got ${data === null ? "null" : typeof data}`);
  }
  if (encoding === "vq") expectCodebook(`${path}.codebook`, codebook);
  const bytes = rowBytes(encoding, vocab, codebook);
  if (bytes !== null && data.length !== bytes) {
    throw new RangeError(
      `"${path}.data" must have ${bytes} bytes for ${vocab} tokens in "${encoding}", got ${data.length}`,
    );
  }
  const row = decode(`${path}.data`, { encoding, vocab, data, codebook }, kernels);
  expectTop(`${path}.data`, row, kernels.highest(row));
  return row;
}

function decode(
  path: string,
  { encoding, vocab, data, codebook }: EncodedRow,
  kernels: WireKernels,
): Float32Array {
  switch (encoding) {
    case "f32":
      // Not by slice, which is no copy of a Buffer.
      return new Float32Array(new Uint8Array(data).buffer);
    case "f16":
      return kernels.fromHalves(data, vocab);
    case "int8":
    case "int4":
      expectBlocks(path, data, vocab, bitsOf(encoding));
      return kernels.fromBlocks(data, vocab, bitsOf(encoding));
    case "vq":
      return decodeCodes(path, data, vocab, codebook!, kernels);
    case "top-k":
      return decodeTopK(path, data, vocab);
    case "lattice":
      return decodeLattice(path, data, vocab);
    case "ids":
      return decodeIds(path, data, vocab);
  }
}

/** Bytes of a row; null where rows differ. */
export function rowBytes(
  encoding: EncodedRow["encoding"],
  vocab: number,
  codebook?: Codebook,
): number | null {
  switch (encoding) {
    case "f32":
      return 4 * vocab;
    case "f16":
      return 2 * vocab;
    case "int8":
    case "int4":
      return 4 * blocksOf(vocab) + codeBytes(vocab, bitsOf(encoding));
    case "vq":
      return 4 + codebook!.stages * groupsOf(vocab, codebook!) * codeWidth(codebook!);
    default:
      return null;
  }
}

/** Scales and minimums are finite; half a byte that is no token's is 0. */
function expectBlocks(path: string, data: Uint8Array, vocab: number, bits: BlockBits): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const blocks = blocksOf(vocab);
  for (let i = 0; i < 2 * blocks; i++) {
    const half = view.getUint16(2 * i, true);
    if ((half & 0x7c00) !== 0x7c00) continue;
    const name = i < blocks ? `the scale of block ${i}` : `the minimum of block ${i - blocks}`;
    throw new RangeError(`"${path}" must have finite scales and minimums, got ${f16ToNumber(half)}, ${name}`);
  }
  if (bits === 4 && vocab % 2 === 1 && data[data.length - 1] > 15) {
    throw new RangeError(`"${path}" must end in four bits of 0, as it has ${vocab} tokens`);
  }
}

function decodeCodes(
  path: string,
  data: Uint8Array,
  vocab: number,
  codebook: Codebook,
  kernels: WireKernels,
): Float32Array {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const shift = view.getFloat32(0, true);
  if (!Number.isFinite(shift)) throw new RangeError(`"${path}" must have a finite shift, got ${shift}`);
  const width = codeWidth(codebook);
  for (let at = 4; at < data.length; at += width) {
    const code = width === 1 ? data[at] : view.getUint16(at, true);
    if (code < codebook.count) continue;
    throw new RangeError(`"${path}" must have codes below ${codebook.count}, got ${code} at byte ${at}`);
  }
  return kernels.fromCodes(data.subarray(4), vocab, shift, codebook);
}

function bitsOf(encoding: "int8" | "int4"): BlockBits {
  return encoding === "int8" ? 8 : 4;
}

/** The logits of a row that may be encoded: what all that takes rows begins with. */
export function logitsOf<Row>(row: Row | EncodedRow, path = "row"): Row | Float32Array {
  return isEncodedRow(row) ? decodeRow(row, { path }) : row;
}
