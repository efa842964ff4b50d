/** From rows to a message. */
import { expectInteger } from "../../errors.ts";
import type { Codebook } from "./codebook.ts";
import type { WireKernels } from "./kernels.ts";
import {
  codebookTensor,
  MESSAGE_FORMAT,
  MESSAGE_VERSION,
  partsOf,
  type SegmentHeader,
  type TensorType,
  TYPE_BYTES,
} from "./parts.ts";
import { decodeRow, encodeRow } from "./row.ts";
import { type EncodedRow, type EncodingSpec, isEncodedRow, WIRE_LIMITS } from "./types.ts";

export interface EncodeRowsOptions {
  /** To go along; those of the rows do so with `withCodebooks`. */
  readonly codebooks?: readonly Codebook[];
  /** Whether codebooks of the rows go along. Default true; without, whoever reads must have them. */
  readonly withCodebooks?: boolean;
  /** Anything, up to 1 MiB. */
  readonly note?: string;
  /** What does the work. Default: plain TypeScript. */
  readonly kernels?: WireKernels;
}

interface Tensor {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  /** One after the other. */
  readonly pieces: readonly Uint8Array[];
}

const MAX_NOTE = 1 << 20;

/**
 * A message of rows of one vocabulary, in one encoding or each in its own; index.ts draws it.
 *
 * @param rows (vocab) logits each, or rows that are encoded already, which stay as they are.
 * @throws {TypeError | RangeError} As `encodeRow`, naming `rows[i]`; or if vocabularies differ.
 *
 * @example
 * ```ts
 * const bytes = encodeRows([row, next], ["f16", { encoding: "top-k", count: 64 }]);
 * decodeRows(bytes).row(1); // (vocab) log-probabilities
 * ```
 */
export function encodeRows(
  rows: readonly (ArrayLike<number> | EncodedRow)[],
  encoding: EncodingSpec | readonly EncodingSpec[] = "f32",
  { codebooks = [], withCodebooks = true, note, kernels }: EncodeRowsOptions = {},
): Uint8Array {
  expectInteger("rows.length", rows.length, 0, WIRE_LIMITS.rows);
  if (note !== undefined) expectInteger("note.length", note.length, 0, MAX_NOTE);
  const specs = Array.isArray(encoding) ? (encoding as readonly EncodingSpec[]) : null;
  if (specs !== null) expectInteger("encoding.length", specs.length, rows.length, rows.length);
  const encoded = rows.map((row, i) => {
    const options = { kernels, path: `rows[${i}]` };
    if (!isEncodedRow(row))
      return encodeRow(row, specs === null ? (encoding as EncodingSpec) : specs[i], options);
    // What is sent can be read.
    decodeRow(row, options);
    return row;
  });
  const vocab = encoded[0]?.vocab ?? 0;
  for (const [i, row] of encoded.entries()) expectInteger(`rows[${i}].vocab`, row.vocab, vocab, vocab);
  const segments = segmentsOf(encoded);
  const books = new Map(codebooks.map((codebook) => [codebook.id, codebook]));
  if (withCodebooks) {
    for (const { codebook } of encoded) if (codebook !== undefined) books.set(codebook.id, codebook);
  }
  const tensors = [...segments.flatMap(tensorsOf), ...Array.from(books.values(), codebookAsTensor)];
  // The widest first, as other writers do: then all are aligned.
  tensors.sort((a, b) => TYPE_BYTES[b.type] - TYPE_BYTES[a.type]);
  return assemble(tensors, {
    format: MESSAGE_FORMAT,
    version: MESSAGE_VERSION,
    vocab: String(vocab),
    segments: JSON.stringify(segments.map(headerOf)),
    ...(note !== undefined && { note }),
  });
}

/** Rows in a row that have the same encoding. */
function segmentsOf(rows: readonly EncodedRow[]): (readonly EncodedRow[])[] {
  const segments: EncodedRow[][] = [];
  for (const row of rows) {
    const last = segments.at(-1);
    const isSame = last?.[0].encoding === row.encoding && last[0].codebook?.id === row.codebook?.id;
    if (isSame) last!.push(row);
    else segments.push([row]);
  }
  return segments;
}

function headerOf(rows: readonly EncodedRow[]): SegmentHeader {
  const [{ encoding, codebook }] = rows;
  return { encoding, rows: rows.length, ...(codebook !== undefined && { codebook: codebook.id }) };
}

function tensorsOf(rows: readonly EncodedRow[], segment: number): Tensor[] {
  const [{ encoding, vocab, codebook }] = rows;
  const count = rows.length;
  const parts = partsOf(encoding, vocab, codebook);
  if (parts === null) {
    const ends = new DataView(new ArrayBuffer(4 * count));
    const total = rows.reduce((sum, { data }, i) => {
      ends.setUint32(4 * i, sum + data.length, true);
      return sum + data.length;
    }, 0);
    return [
      { name: `${segment}.ends`, type: "U32", shape: [count], pieces: [new Uint8Array(ends.buffer)] },
      { name: `${segment}.bytes`, type: "U8", shape: [total], pieces: rows.map(({ data }) => data) },
    ];
  }
  let from = 0;
  return parts.map(({ name, type, shape, bytes }) => {
    const start = from;
    from += bytes;
    const pieces = rows.map(({ data }) => data.subarray(start, start + bytes));
    return { name: `${segment}.${name}`, type, shape: [count, ...shape], pieces };
  });
}

function codebookAsTensor({ id, stages, count, dim, values }: Codebook): Tensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name: codebookTensor(id), type: "F32", shape: [stages, count, dim], pieces: [bytes] };
}

function assemble(tensors: readonly Tensor[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: Record<string, object> = { __metadata__: metadata };
  let end = 0;
  for (const { name, type, shape, pieces } of tensors) {
    const begin = end;
    end += pieces.reduce((sum, { length }) => sum + length, 0);
    entries[name] = { dtype: type, shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(entries));
  // Spaces up to a multiple of 8, so that tensors are aligned.
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const message = new Uint8Array(8 + headerBytes + end).fill(0x20, 8, 8 + headerBytes);
  new DataView(message.buffer).setBigUint64(0, BigInt(headerBytes), true);
  message.set(json, 8);
  let at = 8 + headerBytes;
  for (const piece of tensors.flatMap(({ pieces }) => pieces)) {
    message.set(piece, at);
    at += piece.length;
  }
  return message;
}
