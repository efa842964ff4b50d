import { expectInteger, expectNumber } from "../../errors.ts";
import type { Expr } from "./expr.ts";
import type { SchemaObject } from "./schema-merge.ts";

/** A schema, and where it stands: `response_format.json_schema.schema.properties.age`. */
export interface Located {
  readonly schema: SchemaObject;
  readonly path: string;
}

/** What the parts of the compiler have of the whole. */
export interface SchemaContext {
  /** What a schema inside another allows. */
  value(schema: unknown, path: string): Expr;
  /** What a local reference names, as it is; other values are returned as they are. */
  resolve(schema: unknown, path: string): unknown;
  /** Counts work. @throws {RangeError} If it was too much for one schema: some hundred milliseconds. */
  spend(path: string, work: number): void;
}

/** Longest strings and arrays that are counted. What may be longer still is cut to it, which no validator minds. */
export const MOST_COUNTED = 4096;

/** A keyword that counts; `most` where it is absent. @throws {RangeError} If at least more is asked for than is counted. */
export function countOf({ schema, path }: Located, keyword: string, most: number): number {
  const value = schema[keyword];
  if (value === undefined) return most;
  const count = expectInteger(`${path}.${keyword}`, value, 0, Number.MAX_SAFE_INTEGER);
  if (count <= MOST_COUNTED) return count;
  if (keyword.startsWith("max")) return MOST_COUNTED;
  throw new RangeError(`"${path}.${keyword}" must be at most ${MOST_COUNTED}, got ${count}`);
}

export function numberOf({ schema, path }: Located, keyword: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  return expectNumber(`${path}.${keyword}`, value, -Number.MAX_VALUE, Number.MAX_VALUE);
}

export function textOf({ schema, path }: Located, keyword: string): string | undefined {
  const value = schema[keyword];
  if (value === undefined || typeof value === "string") return value;
  throw new TypeError(`"${path}.${keyword}" must be a text, got ${typeof value}`);
}

/** A keyword that is an array; undefined if it is absent. */
export function arrayOf({ schema, path }: Located, keyword: string, least = 0): unknown[] | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.length >= least) return value;
  throw new TypeError(`"${path}.${keyword}" must be an array${least > 0 ? " that is not empty" : ""}`);
}

export function objectOf({ schema, path }: Located, keyword: string): SchemaObject {
  const value = schema[keyword] ?? {};
  if (isObject(value)) return value;
  throw new TypeError(`"${path}.${keyword}" must be an object`);
}

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is valid to ask for, and not to be had here. */
export function unsupported(path: string, why = "is not supported in a schema"): never {
  throw new RangeError(`"${path}" ${why}`);
}
