/**
 * Rows of logits in a request's body, and in an answer.
 *
 *     [1.5, null, -2]                                                        numbers; null or "-Infinity": no chance
 *     { "encoding": "int8", "vocab": 32000, "data": "AADAPw…" }              base64 of a row as format/wire has it
 *     { "encoding": "f32", "data": "AADAPw…", "shape": [3] }                 of f32 or f16, which tell how many they are
 *     { "ids": [7, 2], "logprobs": [-0.1, -3], "tail_mass": 0.01, "vocab": 32000 }     the likeliest, and the rest together
 */
import { checkRow, type TruncatedRow } from "../decoding/fuse/rows.ts";
import { MemoryError } from "../errors.ts";
import {
  decodeRow,
  type EncodedRow,
  encodeRow,
  isEncodedRow,
  rowFromJson,
  rowToJson,
  ROW_ENCODINGS as WIRE_ENCODINGS,
  type WireKernels,
} from "../format/wire/index.ts";
import { log } from "../math.ts";
import { apiError, show } from "./errors.ts";
import { checkedPaths } from "./path-errors.ts";

/** Rows of one request, and tokens of each. */
export const MAX_ROWS = 8;
export const MAX_VOCAB = 1 << 18;

/** The largest f32. */
const MOST = 3.4028234663852886e38;

export type GivenRow = Float64Array | Float32Array | TruncatedRow;

/**
 * @param param Where it is in the body, as in `rows.base`.
 * @throws {HTTPException} 400 that names the entry which is wrong.
 */
export function readRow(param: string, value: unknown): GivenRow {
  if (Array.isArray(value)) return readNumbers(param, value);
  // Of a message of rows, where row-messages.ts put it; JSON has no bytes.
  if (isEncodedRow(value) && value.data instanceof Uint8Array) return decoded(param, value);
  if (typeof value !== "object" || value === null) {
    throw wrong(param, `must be an array of numbers, an encoded row or a truncated one, got ${show(value)}`);
  }
  const fields = value as Readonly<Record<string, unknown>>;
  return Object.hasOwn(fields, "ids") ? readTruncated(param, fields) : readEncoded(param, fields);
}

/** All logits of a row, also of a truncated one. */
export function denseRow(param: string, row: GivenRow): Float64Array | Float32Array {
  if (!("ids" in row)) return row;
  const source = { name: "row", vocabulary: "", vocab: 0, extra: 0 };
  const { values } = checkedPaths(
    () => param,
    () => checkRow(source, row),
  );
  return values as Float64Array;
}

/** Of answers: codebooks are for those who have one. */
export const ROW_ENCODINGS = ["numbers", ...WIRE_ENCODINGS.filter((name) => name !== "vq")] as const;
export type RowEncoding = (typeof ROW_ENCODINGS)[number];

/** How rows of an answer are written, and by what. */
export interface RowWriting {
  readonly encoding: RowEncoding;
  readonly kernels: WireKernels;
}

/** A row for an answer; in numbers, −∞ is null. */
export function writeRow(row: ArrayLike<number>, { encoding, kernels }: RowWriting): object {
  // JSON has no infinity, and writes null.
  return encoding === "numbers" ? Array.from(row) : rowInJson(encodeAnswer(row, encoding, kernels));
}

/** @throws {HTTPException} 400 if the row cannot be had in that encoding. */
export function encodeAnswer(
  row: ArrayLike<number>,
  encoding: Exclude<RowEncoding, "numbers">,
  kernels: WireKernels,
): EncodedRow {
  try {
    return encodeRow(row, encoding, { path: "logits", kernels });
  } catch (error) {
    if (error instanceof MemoryError || !(error instanceof RangeError)) throw error;
    throw apiError(400, `"encoding" must be another: ${error.message}`, {
      param: "encoding",
      code: "invalid_value",
    });
  }
}

/** Probabilities for an answer: as they are where that is exact or close, else the row that they are the softmax of. */
export function writeProbabilities(row: Float64Array, writing: RowWriting): object {
  return writeRow(isPlain(writing.encoding) ? row : row.map(log), writing);
}

/** Whether values of any kind can stand in it, not logits alone. */
export function isPlain(encoding: RowEncoding): boolean {
  return ["numbers", "f32", "f16"].includes(encoding);
}

function rowInJson(row: EncodedRow): object {
  const { encoding, data, vocab } = rowToJson(row);
  return isPlain(row.encoding as RowEncoding)
    ? { encoding, data, shape: [vocab] }
    : { encoding, vocab, data };
}

function readNumbers(param: string, values: readonly unknown[]): Float64Array {
  expectLength(param, values.length);
  const row = new Float64Array(values.length);
  for (let i = 0; i < row.length; i++) row[i] = readLogit(param, i, values[i]);
  return row;
}

function readLogit(param: string, index: number, value: unknown): number {
  if (typeof value === "number" && Math.abs(value) <= MOST) return value;
  if (value === null || value === "-Infinity") return -Infinity;
  throw wrong(`${param}[${index}]`, `must be a number that f32 can hold, or null for −∞, got ${show(value)}`);
}

function readEncoded(param: string, fields: Readonly<Record<string, unknown>>): Float32Array {
  expectKnown(param, fields, ["encoding", "vocab", "data", "shape", "codebook"]);
  const { shape, ...json } = fields;
  const row = decoded(
    param,
    checkedPaths(
      (path) => path,
      () => rowFromJson(json, param, { maxVocab: MAX_VOCAB }),
    ),
  );
  if (shape === undefined || isShape(shape, row.length)) return row;
  throw wrong(`${param}.shape`, `must be [${row.length}], the logits in "data", got ${show(shape)}`);
}

function decoded(param: string, row: EncodedRow): Float32Array {
  return checkedPaths(
    (path) => path,
    () => decodeRow(row, { path: param }),
  );
}

function isShape(shape: unknown, length: number): boolean {
  return Array.isArray(shape) && shape.length === 1 && shape[0] === length;
}

function readTruncated(param: string, fields: Readonly<Record<string, unknown>>): TruncatedRow {
  expectKnown(param, fields, ["ids", "logprobs", "tail_mass", "vocab"]);
  const { ids, logprobs, tail_mass: tailMass, vocab } = fields;
  if (!isIntegerIn(vocab, 1, MAX_VOCAB)) {
    throw wrong(`${param}.vocab`, `must be an integer from 1 to ${MAX_VOCAB}, got ${show(vocab)}`);
  }
  if (typeof tailMass !== "number" || !(tailMass >= 0 && tailMass <= 1)) {
    throw wrong(`${param}.tail_mass`, `must be a number from 0 to 1, got ${show(tailMass)}`);
  }
  const tokens = readIds(`${param}.ids`, ids, vocab, vocab);
  const seen = new Set<number>();
  for (const [index, id] of tokens.entries()) {
    if (seen.has(id)) throw wrong(`${param}.ids[${index}]`, `must be an id of its own, got ${id} again`);
    seen.add(id);
  }
  if (!Array.isArray(logprobs) || logprobs.length !== tokens.length) {
    const expected = `must be an array of ${tokens.length} numbers, one per id`;
    const got = Array.isArray(logprobs) ? String(logprobs.length) : show(logprobs);
    throw wrong(`${param}.logprobs`, `${expected}, got ${got}`);
  }
  const logProbabilities = logprobs.map((value, index) => readLogit(`${param}.logprobs`, index, value));
  return { ids: tokens, logProbabilities, tailMass, vocab };
}

/** Token ids below `vocab`. */
export function readIds(param: string, value: unknown, most: number, vocab = 2 ** 31): readonly number[] {
  if (!Array.isArray(value) || value.length > most) {
    const got = Array.isArray(value) ? String(value.length) : show(value);
    throw wrong(param, `must be an array of at most ${most} token ids, got ${got}`);
  }
  const bad = value.findIndex((id) => !isIntegerIn(id, 0, vocab - 1));
  if (bad < 0) return value;
  throw wrong(`${param}[${bad}]`, `must be an integer from 0 to ${vocab - 1}, got ${show(value[bad])}`);
}

export function isIntegerIn(value: unknown, min: number, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
}

function expectLength(param: string, length: number): void {
  if (length === 0) throw wrong(param, "must have a logit, got none");
  if (length > MAX_VOCAB) throw wrong(param, `must have at most ${MAX_VOCAB} logits, got ${length}`);
}

function expectKnown(
  param: string,
  fields: Readonly<Record<string, unknown>>,
  known: readonly string[],
): void {
  const unknown = Object.keys(fields).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const path = `${param}.${unknown.slice(0, 40)}`;
  throw apiError(400, `"${path}" is not a field that is known; there are ${known.join(", ")}`, {
    param: path,
    code: "unknown_parameter",
  });
}

/** What is read by hand is wrong in the same words as what the schema reads. */
export function wrong(param: string, message: string) {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
