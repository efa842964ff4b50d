/** From a message to rows. */

import { expectInteger, UnsupportedError } from "../../errors.ts";
import { joined } from "../joined.ts";
import { quoted } from "../quote.ts";
import { type Codebook, createCodebook, expectCodebookShape } from "./codebook.ts";
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
import { decodeRow } from "./row.ts";
import { readSafetensors, type Safetensors, type TensorView } from "./safetensors.ts";
import { type EncodedRow, isRowEncoding, WIRE_LIMITS } from "./types.ts";

export interface DecodeRowsOptions {
  /** For rows whose codebook is not in the message. */
  readonly codebooks?: readonly Codebook[];
  /** What does the work. Default: plain TypeScript. */
  readonly kernels?: WireKernels;
  /** Ceilings, below the format's own. */
  readonly maxVocab?: number;
  readonly maxRows?: number;
}

/** Rows of a message; a RowSet of logits. */
export interface DecodedRows {
  readonly count: number;
  /** 0 if there are no rows. */
  readonly vocab: number;
  readonly note: string | null;
  /** In the message, whether rows need them or not. */
  readonly codebooks: readonly Codebook[];
  /** Views of the message. */
  readonly encoded: readonly EncodedRow[];
  /**
   * (vocab) logits, decoded anew.
   *
   * @throws {RangeError} If there is no such row, or its numbers are wrong; the message names `rows[index]`.
   */
  row(index: number): Float32Array;
}

/**
 * Reads a message, but for the numbers in its rows. The bytes must stay as they are.
 *
 * @throws {RangeError} If it is not a message, or not whole, or passes a ceiling.
 * @throws {UnsupportedError} If its version is another, or a row needs a codebook that is neither in it nor given.
 */
export function decodeRows(bytes: Uint8Array, options: DecodeRowsOptions = {}): DecodedRows {
  if (!(bytes instanceof Uint8Array))
    throw new TypeError(`"bytes" must be a Uint8Array, got ${typeof bytes}`);
  const { maxVocab = WIRE_LIMITS.vocab, maxRows = WIRE_LIMITS.rows, kernels } = options;
  // A Buffer's parts would be Buffers.
  const file = readSafetensors(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const { metadata } = file;
  expectMessage(metadata);
  const vocab = readVocab(metadata.get("vocab"), maxVocab);
  const codebooks = readCodebooks(file);
  const segments = readSegments(metadata.get("segments"), vocab, maxRows);
  const known = new Map([...(options.codebooks ?? []), ...codebooks].map((one) => [one.id, one]));
  const rest = new Set(file.tensors.keys());
  for (const { id } of codebooks) rest.delete(codebookTensor(id));
  const encoded = segments.flatMap((segment, index) =>
    readSegment({ file, rest, known }, segment, index, vocab),
  );
  const [unknown] = rest;
  if (unknown !== undefined) throw cannot(`tensor ${quoted(unknown)} is of no segment`);
  return {
    count: encoded.length,
    vocab,
    note: metadata.get("note") ?? null,
    codebooks,
    encoded,
    row(index) {
      expectInteger("index", index, 0, encoded.length - 1);
      return decodeRow(encoded[index], { kernels, path: `rows[${index}]` });
    },
  };
}

function expectMessage(metadata: ReadonlyMap<string, string>): void {
  const format = metadata.get("format");
  if (format !== MESSAGE_FORMAT) {
    throw cannot(`"format" must be "${MESSAGE_FORMAT}", got ${shown(format)}`);
  }
  const version = metadata.get("version");
  if (version === MESSAGE_VERSION) return;
  throw new UnsupportedError(
    `Cannot read rows: "version" must be "${MESSAGE_VERSION}", got ${shown(version)}`,
  );
}

function readVocab(text: string | undefined, most: number): number {
  const vocab = text !== undefined && /^(0|[1-9]\d{0,9})$/.test(text) ? Number(text) : NaN;
  if (vocab <= most) return vocab;
  throw cannot(`"vocab" must be an integer from 0 to ${most}, got ${shown(text)}`);
}

function readSegments(text: string | undefined, vocab: number, maxRows: number): readonly SegmentHeader[] {
  let list: unknown;
  try {
    list = JSON.parse(text ?? "");
  } catch {
    throw cannot('"segments" must be JSON');
  }
  if (!Array.isArray(list) || list.length > WIRE_LIMITS.rows) throw cannot('"segments" must be an array');
  let total = 0;
  for (const [i, segment] of list.entries()) {
    const path = `segments[${i}]`;
    if (typeof segment !== "object" || segment === null) throw cannot(`"${path}" must be an object`);
    const { encoding, rows, codebook } = segment as Record<string, unknown>;
    if (!isRowEncoding(encoding)) {
      throw cannot(`"${path}.encoding" must be one that is known, got ${shown(encoding)}`);
    }
    if (!Number.isInteger(rows) || (rows as number) < 1) {
      throw cannot(`"${path}.rows" must be an integer from 1 on, got ${shown(rows)}`);
    }
    if ((encoding === "vq") !== (typeof codebook === "string")) {
      throw cannot(`"${path}.codebook" must be the id of a codebook, for "vq" and nothing else`);
    }
    total += rows as number;
    if (total > maxRows) throw cannot(`it must have at most ${maxRows} rows, has more`);
  }
  if (total > 0 && vocab === 0) throw cannot('"vocab" must be from 1 on where there are rows, got 0');
  return list as readonly SegmentHeader[];
}

interface Reading {
  readonly file: Safetensors;
  /** Tensors that are nobody's yet. */
  readonly rest: Set<string>;
  readonly known: ReadonlyMap<string, Codebook>;
}

function readSegment(
  reading: Reading,
  { encoding, rows: count, codebook: id }: SegmentHeader,
  index: number,
  vocab: number,
): EncodedRow[] {
  const codebook = id === undefined ? undefined : reading.known.get(id);
  if (id !== undefined && codebook === undefined) {
    throw new UnsupportedError(`Cannot read rows: codebook ${quoted(id)} is neither among them nor given`);
  }
  const take = (name: string, type: TensorType, shape: readonly number[]) =>
    takeTensor(reading, `${index}.${name}`, type, shape);
  const parts = partsOf(encoding, vocab, codebook);
  if (parts === null) {
    const ends = take("ends", "U32", [count]);
    const bytes = take("bytes", "U8", [reading.file.tensors.get(`${index}.bytes`)?.bytes.length ?? 0]);
    return rowsBetween(`${index}.ends`, ends, bytes).map((data) => ({ encoding, vocab, data }));
  }
  const tensors = parts.map(({ name, type, shape }) => take(name, type, [count, ...shape]));
  return Array.from({ length: count }, (_, row) => {
    const pieces = parts.map(({ bytes }, i) => tensors[i].subarray(row * bytes, (row + 1) * bytes));
    const data = pieces.length === 1 ? pieces[0] : joined(...pieces);
    return { encoding, vocab, data, ...(codebook !== undefined && { codebook }) };
  });
}

function takeTensor(
  { file, rest }: Reading,
  name: string,
  type: TensorType,
  shape: readonly number[],
): Uint8Array {
  const tensor = file.tensors.get(name);
  if (tensor === undefined) throw cannot(`tensor "${name}" is missing`);
  rest.delete(name);
  const bytes = shape.reduce((product, size) => product * size, TYPE_BYTES[type]);
  const expected = `${type} of ${shape.join(" x ")}`;
  if (tensor.type !== type || tensor.shape.join() !== shape.join()) {
    throw cannot(
      `tensor "${name}" must be ${expected}, got ${quoted(`${tensor.type} of ${tensor.shape.join(" x ")}`)}`,
    );
  }
  if (tensor.bytes.length !== bytes) {
    throw cannot(`tensor "${name}" must have ${bytes} bytes as ${expected}, got ${tensor.bytes.length}`);
  }
  return tensor.bytes;
}

function rowsBetween(name: string, ends: Uint8Array, bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(ends.buffer, ends.byteOffset, ends.byteLength);
  let begin = 0;
  const rows: Uint8Array[] = [];
  for (let at = 0; at < ends.length; at += 4) {
    const end = view.getUint32(at, true);
    if (end < begin || end > bytes.length) {
      throw cannot(`tensor "${name}" must ascend up to ${bytes.length}, got ${end} after ${begin}`);
    }
    rows.push(bytes.subarray(begin, end));
    begin = end;
  }
  if (begin !== bytes.length) throw cannot(`tensor "${name}" must end at ${bytes.length}, got ${begin}`);
  return rows;
}

function readCodebooks({ tensors }: Safetensors): Codebook[] {
  const prefix = codebookTensor("");
  return [...tensors.values()].filter(({ name }) => name.startsWith(prefix)).map(readCodebook);
}

function readCodebook({ name, type, shape, bytes }: TensorView): Codebook {
  const [stages, count, dim] = shape;
  if (type !== "F32" || shape.length !== 3) {
    throw cannot(`tensor ${quoted(name)} must be F32 in three dimensions`);
  }
  expectCodebookShape({ stages, count, dim }, "codebook");
  const values = stages * count * dim;
  if (bytes.length !== 4 * values) {
    throw cannot(`tensor ${quoted(name)} must have ${4 * values} bytes, got ${bytes.length}`);
  }
  const codebook = createCodebook({ stages, count, dim }, new Float32Array(new Uint8Array(bytes).buffer));
  if (codebookTensor(codebook.id) === name) return codebook;
  throw cannot(`tensor ${quoted(name)} must be named by its content, ${codebook.id}`);
}

function shown(value: unknown): string {
  return value === undefined ? "nothing" : quoted(String(value));
}

function cannot(why: string): RangeError {
  return new RangeError(`Cannot read rows: ${why}`);
}
