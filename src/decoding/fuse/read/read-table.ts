/** Tables: the constant data of a plan. */
import { expectInteger, expectNumber } from "../../../errors.ts";
import { Fields, kindOf } from "../../pipeline/fields.ts";
import { LIMITS, type SparseRows, TABLE_KINDS, type Table, type TableKind } from "../plan.ts";
import type { Reader } from "./reader.ts";

const KINDS = [...TABLE_KINDS, "given"] as const;
const MAX_VALUE = 1e6;

export function readTable(reader: Reader, path: string, json: unknown): Table {
  const fields = new Fields(path, json);
  const kind = fields.choice("kind", KINDS);
  const table =
    kind === "given"
      ? readGiven(fields)
      : readData(fields, kind, (array, count) => reader.countTableNumbers(array, count));
  const vocabulary = readVocabulary(fields, "vocabulary");
  fields.done();
  return Object.freeze({ ...table, ...(vocabulary !== "" && { vocabulary }) }) as Table;
}

function readGiven(fields: Fields): Table {
  const like = fields.choice("like", TABLE_KINDS);
  return { kind: "given", like, ...(like !== "factors" && target(fields)) };
}

/** The same checks for what comes with a step in place of a given table. */
export function readGivenTable(path: string, json: unknown, like: TableKind): Table {
  const fields = new Fields(path, json);
  const table = readData(fields, fields.choice("kind", [like]), (array, count) => {
    expectInteger(`${array}.length`, count, 0, LIMITS.tableNumbers);
  });
  readVocabulary(fields, "vocabulary");
  target(fields);
  fields.done();
  return table;
}

type Count = (path: string, count: number) => void;

function readData(fields: Fields, kind: TableKind, count: Count): Table {
  switch (kind) {
    case "dense":
      return { kind, values: numbers(fields, "values", -MAX_VALUE, MAX_VALUE, count) };
    case "sparse": {
      const ids = integers(fields, "ids", 0, LIMITS.vocab - 1, count);
      return { kind, ids, values: sameLength(fields, ids.length, -MAX_VALUE, count) };
    }
    case "graph":
      return { kind, ...sparseRows(fields, LIMITS.vocab, -MAX_VALUE, count) };
    case "projection": {
      const vocab = fields.integer("vocab", 1, LIMITS.vocab);
      return { kind, vocab, ...sparseRows(fields, vocab, 0, count), ...target(fields) };
    }
    case "factors":
      return { kind, values: numbers(fields, "values", 0, MAX_VALUE, count) };
    case "gather":
      return { kind, ids: integers(fields, "ids", -1, LIMITS.vocab - 1, count), ...target(fields) };
  }
}

function sparseRows(fields: Fields, vocab: number, least: number, count: Count): SparseRows {
  const ids = integers(fields, "ids", 0, vocab - 1, count);
  const values = sameLength(fields, ids.length, least, count);
  const offsets = integers(fields, "offsets", 0, ids.length, count);
  const path = fields.path("offsets");
  if (offsets.length === 0 || offsets[0] !== 0 || offsets[offsets.length - 1] !== ids.length) {
    throw new RangeError(`"${path}" must begin with 0 and end with ${ids.length}, the number of ids`);
  }
  for (let row = 1; row < offsets.length; row++) {
    if (offsets[row] < offsets[row - 1]) {
      throw new RangeError(`"${path}[${row}]" must be at least ${offsets[row - 1]}, got ${offsets[row]}`);
    }
  }
  return { offsets, ids, values };
}

function sameLength(fields: Fields, length: number, least: number, count: Count): readonly number[] {
  const values = numbers(fields, "values", least, MAX_VALUE, count);
  if (values.length === length) return values;
  throw new RangeError(
    `"${fields.path("values")}" must have ${length} numbers, one per id, got ${values.length}`,
  );
}

function integers(fields: Fields, name: string, min: number, max: number, count: Count): readonly number[] {
  const path = fields.path(name);
  return list(fields, name, count, (value, index) => expectInteger(`${path}[${index}]`, value, min, max));
}

function numbers(fields: Fields, name: string, min: number, max: number, count: Count): readonly number[] {
  const path = fields.path(name);
  return list(fields, name, count, (value, index) => expectNumber(`${path}[${index}]`, value, min, max));
}

/** A copy, as a frozen plain array: what JSON has, whether an array or a typed array came. */
function list(
  fields: Fields,
  name: string,
  count: Count,
  read: (value: unknown, index: number) => number,
): readonly number[] {
  const path = fields.path(name);
  const json = fields.raw(name);
  if (!Array.isArray(json) && !(ArrayBuffer.isView(json) && "length" in json)) {
    throw new TypeError(`"${path}" must be an array of numbers, got ${kindOf(json)}`);
  }
  const values = json as ArrayLike<unknown>;
  count(path, values.length);
  return Object.freeze(Array.from(values, read));
}

function target(fields: Fields): { to?: string } {
  const to = readVocabulary(fields, "to");
  return to === "" ? {} : { to };
}

/** "" is the vocabulary of all that names none. */
export function readVocabulary(fields: Fields, name: string): string {
  const value = fields.raw(name) ?? "";
  if (typeof value !== "string") {
    throw new TypeError(`"${fields.path(name)}" must be a name, got ${kindOf(value)}`);
  }
  if (value.length > 64) throw new RangeError(`"${fields.path(name)}" must have at most 64 characters`);
  return value;
}
