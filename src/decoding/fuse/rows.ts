/** Rows as they come: their shape is checked, and truncated ones are spread over the vocabulary. */
import type { PlacedRow } from "../../backend/fuse-kernels.ts";
import { expectNumber } from "../../errors.ts";
import { type EncodedRow, logitsOf } from "../../format/wire/index.ts";
import { log } from "../../math.ts";
import { kindOf } from "../pipeline/fields.ts";
import { LIMITS } from "./plan.ts";
import type { ProgramSource } from "./program.ts";

/** The most likely tokens of a row, and the probability of all others together. */
export interface TruncatedRow {
  /** Token ids, each once. */
  readonly ids: ArrayLike<number>;
  readonly logProbabilities: ArrayLike<number>;
  /** Shared equally by the tokens that are not among `ids`; 0: they are impossible. */
  readonly tailMass: number;
  /** Tokens of the vocabulary. */
  readonly vocab: number;
}

/** (vocab) logits, or what is known of them; encoded ones may be longer than the vocabulary, as plain ones may. */
export type SourceRow = ArrayLike<number> | TruncatedRow | EncodedRow;

export interface CheckedRow<Values = ArrayLike<number>> {
  /** (vocab) or more, which whoever reads them has yet to find to be logits. */
  readonly values: Values;
  readonly vocab: number;
  /** Columns behind the vocabulary. */
  readonly extra: readonly number[];
}

/**
 * @throws {TypeError | RangeError} If the row is none, or has not the length that the source says.
 */
export function checkRow({ name, vocab: used, extra }: ProgramSource, given: SourceRow): CheckedRow {
  const path = `rows.${name}`;
  const row = logitsOf(given, path);
  const what = `"${path}"`;
  if (typeof row === "object" && row !== null && "ids" in row) {
    if (extra > 0)
      throw new RangeError(`${what} must not be truncated, as ${extra} extra columns are read from it`);
    const values = spread(path, row);
    if (used > 0 && used !== values.length) throw wrongLength(what, `${used} values`, values.length);
    return { values, vocab: values.length, extra: [] };
  }
  expectArrayLike(path, row);
  const vocab = used > 0 ? used : row.length - extra;
  if (!(vocab > 0) || vocab > LIMITS.vocab || row.length < vocab + extra) {
    const expected =
      used > 0 ? `at least ${used + extra} values` : `from ${extra + 1} to ${LIMITS.vocab} values`;
    throw wrongLength(what, expected, row.length);
  }
  return { values: row, vocab, extra: Array.from({ length: extra }, (_, i) => row[vocab + i]) };
}

/** @throws {RangeError} As `checkRow`, of a row where a device made it. */
export function checkPlacedRow(
  { name, vocab: used, extra }: ProgramSource,
  row: PlacedRow,
): CheckedRow<PlacedRow> {
  const what = `"rows.${name}"`;
  if (extra > 0) throw new RangeError(`${what} must be here, as ${extra} extra columns are read from it`);
  const vocab = used > 0 ? used : row.length;
  if (row.length < vocab) throw wrongLength(what, `at least ${vocab} values`, row.length);
  return { values: row, vocab, extra: [] };
}

/** An array or a typed array; of anything else that has a length, nothing is known. */
function expectArrayLike(path: string, value: unknown): void {
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && "length" in value)) return;
  throw new TypeError(`"${path}" must be an array, got ${kindOf(value)}`);
}

function spread(path: string, row: TruncatedRow): Float64Array {
  const what = `"${path}"`;
  const { ids, logProbabilities, tailMass, vocab } = row;
  expectArrayLike(`${path}.ids`, ids);
  expectArrayLike(`${path}.logProbabilities`, logProbabilities);
  if (!Number.isInteger(vocab) || vocab < 1 || vocab > LIMITS.vocab) {
    throw new RangeError(`${what} must have a vocabulary of 1 to ${LIMITS.vocab} tokens, got ${vocab}`);
  }
  expectNumber(`${path}.tailMass`, tailMass, 0, 1);
  if (ids.length !== logProbabilities.length || ids.length > vocab) {
    throw new RangeError(
      `${what} must have as many log-probabilities as ids, got ${logProbabilities.length} and ${ids.length}`,
    );
  }
  const others = vocab - ids.length;
  const values = new Float64Array(vocab).fill(others > 0 ? log(tailMass / others) : -Infinity);
  const seen = new Uint8Array(vocab);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (!Number.isInteger(id) || id < 0 || id >= vocab || seen[id] === 1) {
      throw new RangeError(`${what} must have ids below ${vocab}, each once, got ${id}`);
    }
    seen[id] = 1;
    values[id] = logProbabilities[i];
  }
  return values;
}

function wrongLength(what: string, expected: string, length: number): RangeError {
  return new RangeError(`${what} must have ${expected}, got ${length}`);
}
