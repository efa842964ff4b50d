/**
 * One row in JSON: `{ "encoding": "int8", "vocab": 32000, "data": "<base64>" }`, with "codebook", its id, for "vq". For "f32"
 * and "f16" the data tell the vocabulary, so it may be left out.
 */
import type { Codebook } from "./codebook.ts";
import { type EncodedRow, expectEncoding, WIRE_LIMITS } from "./types.ts";

export interface RowJson {
  readonly encoding: string;
  readonly vocab: number;
  readonly data: string;
  readonly codebook?: string;
}

/** Bytes of the longest row that makes sense: f32, or more codes than that has bits. */
const MAX_BYTES = 4 * WIRE_LIMITS.vocab;

export function rowToJson({ encoding, vocab, data, codebook }: EncodedRow): RowJson {
  return { encoding, vocab, data: toBase64(data), ...(codebook !== undefined && { codebook: codebook.id }) };
}

/**
 * @param path What errors call the row.
 * @param maxVocab Ceiling of the vocabulary.
 * @throws {TypeError | RangeError} If it is not such an object; what its bytes mean is for `decodeRow` to find out.
 */
export function rowFromJson(
  json: unknown,
  path = "row",
  {
    codebooks = [],
    maxVocab = WIRE_LIMITS.vocab,
  }: { codebooks?: readonly Codebook[]; maxVocab?: number } = {},
): EncodedRow {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError(`"${path}" must be an object with encoding, vocab and data, got ${kindOf(json)}`);
  }
  const fields = json as Record<string, unknown>;
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(
      `"${path}" may have ${FIELDS.join(", ")}, got ${JSON.stringify(unknown.slice(0, 40))}`,
    );
  }
  const encoding = expectEncoding(`${path}.encoding`, fields.encoding);
  const data = fromBase64(`${path}.data`, fields.data);
  const implied = impliedVocab(encoding, data);
  if (fields.vocab === undefined && implied !== undefined && (implied === 0 || implied > maxVocab)) {
    throw new RangeError(`"${path}.data" must hold from 1 to ${maxVocab} logits, got ${implied}`);
  }
  const vocab = fields.vocab ?? implied;
  if (!Number.isInteger(vocab) || (vocab as number) < 1 || (vocab as number) > maxVocab) {
    throw new RangeError(`"${path}.vocab" must be an integer from 1 to ${maxVocab}, got ${show(vocab)}`);
  }
  const row = { encoding, vocab: vocab as number, data };
  if (encoding !== "vq") return row;
  const codebook = codebooks.find(({ id }) => id === fields.codebook);
  if (codebook !== undefined) return { ...row, codebook };
  throw new RangeError(
    `"${path}.codebook" must be the id of a codebook that is known here, got ${show(fields.codebook)}`,
  );
}

const FIELDS = ["encoding", "vocab", "data", "codebook"];

function impliedVocab(encoding: string, data: Uint8Array): number | undefined {
  if (encoding === "f32") return Math.ceil(data.length / 4);
  return encoding === "f16" ? Math.ceil(data.length / 2) : undefined;
}

function fromBase64(path: string, text: unknown): Uint8Array {
  if (typeof text !== "string") throw new TypeError(`"${path}" must be base64, got ${kindOf(text)}`);
  if (text.length > Math.ceil(MAX_BYTES / 3) * 4) {
    throw new RangeError(
      `"${path}" must have at most ${MAX_BYTES} bytes, got ${text.length} characters of base64`,
    );
  }
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw new RangeError(`"${path}" must be base64`);
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
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

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  return typeof value === "number" ? String(value) : JSON.stringify(value)?.slice(0, 40);
}
