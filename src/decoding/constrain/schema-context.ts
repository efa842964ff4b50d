import { expectInteger, expectNumber } from "../../errors.ts";
import { quoted } from "../../format/quote.ts";
import type { Expr } from "./expr.ts";
import { ASSERTIONS, isObject, type SchemaObject } from "./schema-keywords.ts";

/** What stands where a schema must, and where that is: `response_format.json_schema.schema.properties.age`. */
export interface Found {
  readonly schema: unknown;
  readonly path: string;
}

/** A schema that is an object, with keywords that are known. */
export interface Located extends Found {
  readonly schema: SchemaObject;
}

/** One way to be valid: as all of `parts` say, which have no applicators, and as none of `nots` says. */
export interface Branch {
  readonly parts: readonly Located[];
  /** Each with one keyword: `pattern`, `multipleOf`, or an `enum` of what has no parts. */
  readonly nots: readonly Located[];
  /** Where what it is a way of begins. */
  readonly path: string;
}

/** What the parts of the compiler have of the whole. */
export interface SchemaContext {
  /** What is valid under all of some schemas. */
  value(schemas: readonly Found[]): Expr;
  /** The ways to be valid under all of some schemas. */
  branches(schemas: readonly Found[]): Branch[];
  /** What a local reference names, as it is; other values are returned as they are. */
  resolve(schema: unknown, path: string): unknown;
  /** @throws {TypeError | RangeError} If it is no schema but a boolean, or has keywords that are not known. */
  expectSchema(found: Found): Located | boolean;
  /** Counts work. @throws {RangeError} If it was too much for one schema: some hundred milliseconds. */
  spend(path: string, work: number): void;
}

/** Longest strings and arrays that are counted. What may be longer still is cut to it, which no validator minds. */
export const MOST_COUNTED = 4096;

/** A keyword that counts; undefined if it is absent. @throws {RangeError} If at least more is asked for than is counted. */
export function countOf({ schema, path }: Located, keyword: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  const count = expectInteger(`${path}.${keyword}`, value, 0, Number.MAX_SAFE_INTEGER);
  if (count <= MOST_COUNTED) return count;
  if (keyword.startsWith("max")) return MOST_COUNTED;
  throw new RangeError(`"${path}.${keyword}" must be at most ${MOST_COUNTED}, got ${count}`);
}

/** The largest of what the parts ask for at least; 0 if none does. */
export function leastOf(parts: readonly Located[], keyword: string): number {
  return parts.reduce((most, part) => Math.max(most, countOf(part, keyword) ?? 0), 0);
}

/** The smallest of what the parts ask for at most; Infinity if none does. */
export function mostOf(parts: readonly Located[], keyword: string): number {
  return parts.reduce((least, part) => Math.min(least, countOf(part, keyword) ?? Infinity), Infinity);
}

export function numberOf({ schema, path }: Located, keyword: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  return expectNumber(`${path}.${keyword}`, value, -Number.MAX_VALUE, Number.MAX_VALUE);
}

/** The texts that parts have under a keyword. */
export function textsOf(parts: readonly Located[], keyword: string): { text: string; path: string }[] {
  return parts.flatMap(({ schema, path: at }) => {
    const text = schema[keyword];
    const path = `${at}.${keyword}`;
    if (text === undefined) return [];
    if (typeof text === "string") return [{ text, path }];
    throw new TypeError(`"${path}" must be a text, got ${typeof text}`);
  });
}

/** A keyword that is an array; undefined if it is absent. */
export function arrayOf({ schema, path }: Located, keyword: string, least = 0): unknown[] | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.length >= least) return value;
  throw new TypeError(`"${path}.${keyword}" must be an array${least > 0 ? " that is not empty" : ""}`);
}

/** A keyword that is an array of schemas. */
export function schemasOf(place: Located, keyword: string): Found[] {
  const schemas = arrayOf(place, keyword, 1) ?? [];
  return schemas.map((schema, i) => ({ schema, path: `${place.path}.${keyword}[${i}]` }));
}

/** A keyword that is an array of texts. */
export function namesOf(place: Located, keyword: string): string[] {
  return (arrayOf(place, keyword) ?? []).map((name) => {
    if (typeof name === "string") return name;
    throw new TypeError(`"${place.path}.${keyword}" must be an array of texts`);
  });
}

export function objectOf({ schema, path }: Located, keyword: string): SchemaObject {
  const value = schema[keyword] ?? {};
  if (isObject(value)) return value;
  throw new TypeError(`"${path}.${keyword}" must be an object, got ${quoted(JSON.stringify(value))}`);
}

/** Where a keyword is that asserts something of a type; null: nowhere. */
export function assertionOf({ parts, nots }: Branch, type: string): string | null {
  const words = [...(ASSERTIONS[type] ?? []), ...(type === "string" ? ["format"] : [])];
  for (const { schema, path } of [...parts, ...nots]) {
    const keyword = words.find((word) => schema[word] !== undefined);
    if (keyword !== undefined) return `${path}.${keyword}`;
  }
  return null;
}

/** Where a property stands; long names are cut. */
export function propertyPath(path: string, keyword: string, name: string): string {
  return `${path}.${keyword}.${name.slice(0, 40)}`;
}

/** What is valid to ask for, and not to be had here. */
export function unsupported(path: string, why = "is not supported in a schema"): never {
  throw new RangeError(`"${path}" ${why}`);
}
