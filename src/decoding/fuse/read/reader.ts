/** What all parts of a plan are read against: the names that were declared, and how much was read so far. */
import { type Fields, kindOf } from "../../pipeline/fields.ts";
import { LIMITS, type SourceSpec, type Table } from "../plan.ts";

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;

export class Reader {
  readonly sources = new Map<string, SourceSpec>();
  readonly inputs = new Map<string, number>();
  readonly tables = new Map<string, Table>();
  /** Names of values, and of rows beside the sources. */
  values: readonly string[] = [];
  rows: readonly string[] = [];
  #nodes = 0;
  #tableNumbers = 0;

  /** Sources and named rows: what a statistic can be of. */
  get rowNames(): string[] {
    return [...this.sources.keys(), ...this.rows];
  }

  /** Counts one row or value, before it is read. */
  enter(path: string, depth: number): void {
    if (depth > LIMITS.depth) {
      throw new RangeError(`"${path}" must be nested at most ${LIMITS.depth} deep, got ${depth}`);
    }
    if (++this.#nodes > LIMITS.nodes) {
      throw new RangeError(`"plan" must have at most ${LIMITS.nodes} rows and values, got more at "${path}"`);
    }
  }

  countTableNumbers(path: string, count: number): void {
    this.#tableNumbers += count;
    if (this.#tableNumbers > LIMITS.tableNumbers) {
      throw new RangeError(
        `"plan.tables" must have at most ${LIMITS.tableNumbers} numbers, got more at "${path}"`,
      );
    }
  }

  rowName(fields: Fields, field: string): string {
    return expectName(fields.path(field), fields.raw(field), this.rowNames);
  }
}

/** One of the names that were declared. */
export function expectName(path: string, value: unknown, names: readonly string[]): string {
  if (typeof value !== "string") throw new TypeError(`"${path}" must be a name, got ${kindOf(value)}`);
  if (names.includes(value)) return value;
  const known =
    names.length === 0 ? "a declared name, of which there are none" : `one of ${names.join(", ")}`;
  throw new RangeError(`"${path}" must be ${known}, got "${value.slice(0, 64)}"`);
}

/** A name that declares something. */
export function expectNewName(path: string, value: unknown, taken: readonly string[]): string {
  if (typeof value !== "string") throw new TypeError(`"${path}" must be a name, got ${kindOf(value)}`);
  if (!NAME.test(value)) {
    throw new RangeError(
      `"${path}" must be a letter and up to 63 letters, digits, "_", "." or "-", got "${value.slice(0, 64)}"`,
    );
  }
  if (taken.includes(value))
    throw new RangeError(`"${path}" must be a name of its own, got "${value}" again`);
  return value;
}

/** The names and values of an optional object, sorted by name; what one of them is, `read` finds out. */
export function readRecord<T>(
  fields: Fields,
  field: string,
  most: number,
  taken: readonly string[],
  read: (path: string, json: unknown, name: string) => T,
): Map<string, T> {
  return new Map(
    recordNames(fields, field, most, taken).map((name) => [
      name,
      read(`${fields.path(field)}.${name}`, recordOf(fields, field)[name], name),
    ]),
  );
}

/** The names of an optional object, sorted. */
export function recordNames(fields: Fields, field: string, most: number, taken: readonly string[]): string[] {
  if (!fields.has(field)) return [];
  const path = fields.path(field);
  const record = recordOf(fields, field);
  const names = Object.keys(record);
  if (names.length > most) {
    throw new RangeError(`"${path}" must have at most ${most} names, got ${names.length}`);
  }
  return names.map((name) => expectNewName(`${path}.${name.slice(0, 64)}`, name, taken)).sort();
}

function recordOf(fields: Fields, field: string): Record<string, unknown> {
  const value = fields.raw(field);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`"${fields.path(field)}" must be an object, got ${kindOf(value)}`);
  }
  return value as Record<string, unknown>;
}
