/**
 * Rows of logits in a request's body, and in an answer.
 *
 *     [1.5, null, -2]                                                        numbers; null or "-Infinity": no chance
 *     { "encoding": "f32", "data": "AADAPw…", "shape": [3] }                 base64 of little-endian f32 or f16
 *     { "ids": [7, 2], "logprobs": [-0.1, -3], "tail_mass": 0.01, "vocab": 32000 }     the likeliest, and the rest together
 */
import { checkRow, type TruncatedRow } from "../decoding/fuse/rows.ts";
import { f16ToNumber } from "../format/half.ts";
import { apiError, show } from "./errors.ts";
import { checkedPaths } from "./path-errors.ts";

/** Rows of one request, and tokens of each. */
export const MAX_ROWS = 8;
export const MAX_VOCAB = 1 << 18;

/** The largest f32. */
const MOST = 3.4028234663852886e38;

const BYTES = { f32: 4, f16: 2 } as const;

export type GivenRow = Float64Array | Float32Array | TruncatedRow;

/**
 * @param param Where it is in the body, as in `rows.base`.
 * @throws {HTTPException} 400 that names the entry which is wrong.
 */
export function readRow(param: string, value: unknown): GivenRow {
  if (Array.isArray(value)) return readNumbers(param, value);
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

export const ROW_ENCODINGS = ["numbers", "f32"] as const;
export type RowEncoding = (typeof ROW_ENCODINGS)[number];

/** A row for an answer; in numbers, −∞ is null. */
export function writeRow(row: ArrayLike<number>, encoding: RowEncoding): object {
  // JSON has no infinity, and writes null.
  if (encoding === "numbers") return Array.from(row);
  const view = new DataView(new ArrayBuffer(4 * row.length));
  for (let i = 0; i < row.length; i++) view.setFloat32(4 * i, row[i], true);
  return { encoding, data: toBase64(new Uint8Array(view.buffer)), shape: [row.length] };
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
  expectKnown(param, fields, ["encoding", "data", "shape"]);
  const { encoding, data, shape } = fields;
  if (encoding !== "f32" && encoding !== "f16") {
    throw wrong(`${param}.encoding`, `must be "f32" or "f16", got ${show(encoding)}`);
  }
  if (typeof data !== "string") throw wrong(`${param}.data`, `must be base64, got ${show(data)}`);
  const size = BYTES[encoding];
  if (data.length > 4 * Math.ceil((MAX_VOCAB * size) / 3)) {
    throw wrong(
      `${param}.data`,
      `must hold at most ${MAX_VOCAB} logits, got ${data.length} characters of base64`,
    );
  }
  const bytes = fromBase64(`${param}.data`, data);
  if (bytes.length === 0 || bytes.length % size !== 0) {
    throw wrong(`${param}.data`, `must hold ${size} bytes per logit, got ${bytes.length} bytes`);
  }
  const row = decodeLogits(bytes, encoding);
  expectLength(`${param}.data`, row.length);
  if (shape !== undefined && !isShape(shape, row.length)) {
    throw wrong(`${param}.shape`, `must be [${row.length}], the logits in "data", got ${show(shape)}`);
  }
  const bad = row.findIndex((z) => !(z <= MOST));
  if (bad >= 0) throw wrong(`${param}.data`, `must have logits below ∞, got ${row[bad]} at token ${bad}`);
  return row;
}

function decodeLogits(bytes: Uint8Array, encoding: keyof typeof BYTES): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const row = new Float32Array(bytes.length / BYTES[encoding]);
  for (let i = 0; i < row.length; i++) {
    row[i] = encoding === "f32" ? view.getFloat32(4 * i, true) : f16ToNumber(view.getUint16(2 * i, true));
  }
  return row;
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

function fromBase64(param: string, text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw wrong(param, "must be base64");
  }
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Characters that one call takes as arguments. */
const CHUNK = 1 << 13;

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += CHUNK) {
    binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  }
  return btoa(binary);
}
