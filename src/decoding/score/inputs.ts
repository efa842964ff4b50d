/** From what a caller sends to what scores are computed from. */
import { expectInteger, expectNumber } from "../../errors.ts";
import { type EncodedRow, logitsOf } from "../../format/wire/index.ts";
import type { Row } from "../draft.ts";
import { expectArray } from "../pipeline/fields.ts";
import type { Inputs, Needs, Projection } from "./kind.ts";

/** (vocab) logits; in JSON an array of numbers, with "-Infinity" for a token without a chance. */
export type RowInput = Row | EncodedRow | readonly (number | "-Infinity")[];

export interface ScoreInput {
  /** What is judged: a student, a plan, a compressed head. Of "graph-on-logits" a list of rows, of "nan" a hidden state. */
  readonly row: RowInput | readonly RowInput[];
  /** What it is compared with: teacher, target, full head. Of "uskd" the row of the weak head. */
  readonly reference?: RowInput | readonly RowInput[];
  /** The token that was right, or drawn. */
  readonly token?: number;
  /** Of "p-kl": from tokens of `row` to tokens of `reference`. */
  readonly projection?: Projection;
  /** Of "h-kl": which token of `row` is which of `reference`; each at most once. */
  readonly common?: readonly (readonly [number, number])[];
}

const MAX_VOCAB = 1 << 20;
const MAX_POSITIONS = 4096;
const MAX_ENTRIES = 1 << 24;
const MAX_WEIGHT = 1e6;
/** So that squares and products of logits stay finite in f64; far beyond f32. */
const MAX_LOGIT = 1e100;

/**
 * @throws {TypeError | RangeError} If something is missing or wrong; names it, and the token in a row.
 */
export function readInput<Need extends Needs>(needs: Need, input: ScoreInput): Inputs[Need] {
  return READERS[needs](input) as Inputs[Need];
}

const READERS: { readonly [Need in Needs]: (input: ScoreInput) => Inputs[Need] } = {
  row: (input) => ({ row: readRow("row", input.row) }),
  "row, token"(input) {
    const row = readRow("row", input.row);
    return { row, token: readToken(input, row) };
  },
  "row, reference": readPair,
  "row, reference, token"(input) {
    const pair = readPair(input);
    return { ...pair, token: readToken(input, pair.row) };
  },
  vector: (input) => ({ row: readVector("row", input.row) }),
  positions(input) {
    const row = readPositions("row", input.row);
    const reference = readPositions("reference", input.reference);
    expectInteger("reference.length", reference.length, row.length, row.length);
    return { row, reference };
  },
  "row, reference, projection"(input) {
    const pair = readTwo(input);
    return { ...pair, projection: readProjection("projection", input.projection, pair) };
  },
  "row, reference, common"(input) {
    const pair = readTwo(input);
    return { ...pair, common: readCommon("common", input.common, pair) };
  },
};

type Pair = Inputs["row, reference"];

function readTwo(input: ScoreInput): Pair {
  return {
    row: readRow("row", input.row),
    reference: readRow("reference", input.reference),
  };
}

function readPair(input: ScoreInput): Pair {
  const pair = readTwo(input);
  if (pair.reference.length !== pair.row.length) {
    throw new RangeError(
      `"reference" must have as many logits as "row", ${pair.row.length}, got ${pair.reference.length}`,
    );
  }
  return pair;
}

function readToken({ token }: ScoreInput, row: Row): number {
  return expectInteger("token", token, 0, row.length - 1);
}

/** A typed array is taken as it is, not copied. */
function readRow(path: string, value: unknown): Row {
  const row = numbersOf(path, value);
  let possible = false;
  for (let token = 0; token < row.length; token++) {
    if (row[token] === -Infinity) continue;
    expectLogit(path, row, token);
    possible = true;
  }
  if (!possible) throw new RangeError(`"${path}" must have a logit above -Infinity, has none`);
  return row;
}

function readVector(path: string, value: unknown): Row {
  const vector = numbersOf(path, value);
  for (let i = 0; i < vector.length; i++) expectLogit(path, vector, i);
  return vector;
}

function expectLogit(path: string, row: Row, token: number): void {
  const logit = row[token];
  if (Math.abs(logit) <= MAX_LOGIT) return;
  const expectation = Number.isNaN(logit) ? "must have no NaN" : `must have logits of at most ${MAX_LOGIT}`;
  throw new RangeError(`"${path}" ${expectation}, got ${logit} at token ${token}`);
}

/** A row of JSON as a typed array; what is one already stays. */
export function numbersOf(path: string, given: unknown): Row {
  if (given === undefined) throw new TypeError(`"${path}" is needed by this score, got undefined`);
  const value = logitsOf(given, path);
  const isTyped = value instanceof Float32Array || value instanceof Float64Array;
  const row = isTyped
    ? value
    : Float64Array.from(expectArray(path, value, MAX_VOCAB), (logit, token) => {
        if (typeof logit === "number") return logit;
        if (logit === "-Infinity") return -Infinity;
        const got = logit === null ? "null" : typeof logit;
        throw new TypeError(`"${path}[${token}]" must be a number or "-Infinity", got ${got}`);
      });
  expectInteger(`${path}.length`, row.length, 1, MAX_VOCAB);
  return row;
}

export function isListOfRows(value: unknown): boolean {
  return Array.isArray(value) && typeof value[0] === "object";
}

/** One row counts as one position. */
function readPositions(path: string, value: unknown): readonly Row[] {
  if (!isListOfRows(value)) return [readRow(path, value)];
  const rows = expectArray(path, value, MAX_POSITIONS).map((row, index) => readRow(`${path}[${index}]`, row));
  const odd = rows.findIndex((row) => row.length !== rows[0].length);
  if (odd >= 0) {
    throw new RangeError(
      `"${path}[${odd}]" must have ${rows[0].length} logits as the first, got ${rows[odd].length}`,
    );
  }
  return rows;
}

function readProjection(path: string, projection: Projection | undefined, pair: Pair): Projection {
  if (typeof projection !== "object" || projection === null) {
    throw new TypeError(
      `"${path}" must be an object, got ${projection === null ? "null" : typeof projection}`,
    );
  }
  const { offsets, tokens, weights } = projection;
  for (const [name, list] of Object.entries({ offsets, tokens, weights })) {
    if (!Array.isArray(list) && !ArrayBuffer.isView(list)) {
      throw new TypeError(`"${path}.${name}" must be an array, got ${list === null ? "null" : typeof list}`);
    }
  }
  const vocab = pair.row.length;
  const entries = expectInteger(`${path}.tokens.length`, tokens.length, 0, MAX_ENTRIES);
  expectInteger(`${path}.weights.length`, weights.length, entries, entries);
  expectInteger(`${path}.offsets.length`, offsets.length, vocab + 1, vocab + 1);
  for (let i = 0; i <= vocab; i++) {
    const least = i === 0 ? 0 : offsets[i - 1];
    const isLast = i === vocab;
    const isIn = Number.isInteger(offsets[i]) && offsets[i] >= least && offsets[i] <= entries;
    // Only what is wrong is worth the text of a path.
    if (!isIn || (i === 0 && offsets[i] !== 0) || (isLast && offsets[i] !== entries)) {
      expectInteger(`${path}.offsets[${i}]`, offsets[i], isLast ? entries : least, i === 0 ? 0 : entries);
    }
  }
  const last = pair.reference.length - 1;
  for (let i = 0; i < entries; i++) {
    const isIn = Number.isInteger(tokens[i]) && tokens[i] >= 0 && tokens[i] <= last;
    if (!isIn) expectInteger(`${path}.tokens[${i}]`, tokens[i], 0, last);
    const isWeight = typeof weights[i] === "number" && weights[i] >= 0 && weights[i] <= MAX_WEIGHT;
    if (!isWeight) expectNumber(`${path}.weights[${i}]`, weights[i], 0, MAX_WEIGHT);
  }
  return projection;
}

function readCommon(path: string, value: unknown, pair: Pair): Inputs["row, reference, common"]["common"] {
  const ours = new Set<number>();
  const theirs = new Set<number>();
  return expectArray(path, value, MAX_VOCAB).map((entry, index) => {
    const at = `${path}[${index}]`;
    const tokens = expectArray(at, entry, 2);
    expectInteger(`${at}.length`, tokens.length, 2, 2);
    const first = expectInteger(`${at}[0]`, tokens[0], 0, pair.row.length - 1);
    const second = expectInteger(`${at}[1]`, tokens[1], 0, pair.reference.length - 1);
    if (ours.has(first)) throw new RangeError(`"${at}[0]" must be in no other pair, got ${first} again`);
    if (theirs.has(second)) throw new RangeError(`"${at}[1]" must be in no other pair, got ${second} again`);
    ours.add(first);
    theirs.add(second);
    return [first, second];
  });
}
