/**
 * Typed access to a GGUF's metadata. Each getter returns a value of its kind within its range, or throws an error
 * that names the key, what it must be, and what it is.
 *
 * With `default` a missing key gives that; a key that is there with a wrong value is always an error.
 *
 * @example
 * ```ts
 * metadataNumber(metadata, "llama.block_count", { integer: true, min: 1, max: 1024 });
 * metadataStrings(metadata, "tokenizer.ggml.merges", { default: null }); // string[] | null
 * ```
 */
import { grouped } from "../errors.ts";
import { quoted } from "./quote.ts";

/** Metadata values as plain JavaScript: 64-bit integers that fit are numbers, others are bigint. */
export type MetadataValue = number | bigint | boolean | string | MetadataValue[];
export type Metadata = ReadonlyMap<string, MetadataValue>;

export interface NumberExpectation {
  /** Smallest and largest allowed value, both included. */
  min: number;
  max: number;
  /** Refuse fractions. Default false. */
  integer?: boolean;
}

interface WithDefault<D> {
  default?: D;
}

interface WithLength {
  /** Exact number of elements. */
  length?: number;
}

/** @throws {TypeError} Wrong kind. @throws {RangeError} Missing, out of range, NaN, or a fraction where not allowed. */
export function metadataNumber<D = never>(
  metadata: Metadata,
  key: string,
  options: NumberExpectation & WithDefault<D>,
): number | D {
  const value = metadata.get(key);
  const expected = describeNumber(options);
  if (value === undefined) return missing(key, expected, options);
  if (typeof value !== "number" && typeof value !== "bigint") throw wrongKind(key, expected, value);
  if (!isWithin(value, options)) throw wrongValue(key, expected, value);
  return value;
}

/** @throws {TypeError} Wrong kind. @throws {RangeError} Missing. */
export function metadataString<D = never>(
  metadata: Metadata,
  key: string,
  options: WithDefault<D> = {},
): string | D {
  const value = metadata.get(key);
  if (value === undefined) return missing(key, "a string", options);
  if (typeof value !== "string") throw wrongKind(key, "a string", value);
  return value;
}

/** @throws {TypeError} Wrong kind. @throws {RangeError} Missing. */
export function metadataBoolean<D = never>(
  metadata: Metadata,
  key: string,
  options: WithDefault<D> = {},
): boolean | D {
  const value = metadata.get(key);
  if (value === undefined) return missing(key, "a boolean", options);
  if (typeof value !== "boolean") throw wrongKind(key, "a boolean", value);
  return value;
}

/** @throws {TypeError} Wrong kind. @throws {RangeError} Missing, wrong length, or an element out of range. */
export function metadataNumbers<D = never>(
  metadata: Metadata,
  key: string,
  options: NumberExpectation & WithLength & WithDefault<D>,
): readonly number[] | D {
  const expected = describeNumber(options);
  const values = arrayOf(metadata, key, `numbers, each ${expected}`, options);
  if (values === undefined) return options.default as D;
  values.forEach((value, index) => {
    const name = `${key}[${index}]`;
    if (typeof value !== "number" && typeof value !== "bigint") throw wrongKind(name, expected, value);
    if (!isWithin(value, options)) throw wrongValue(name, expected, value);
  });
  return values as number[];
}

/** @throws {TypeError} Wrong kind. @throws {RangeError} Missing, or wrong length. */
export function metadataStrings<D = never>(
  metadata: Metadata,
  key: string,
  options: WithLength & WithDefault<D> = {},
): readonly string[] | D {
  const values = arrayOf(metadata, key, "strings", options);
  if (values === undefined) return options.default as D;
  values.forEach((value, index) => {
    if (typeof value !== "string") throw wrongKind(`${key}[${index}]`, "a string", value);
  });
  return values as string[];
}

function arrayOf(
  metadata: Metadata,
  key: string,
  content: string,
  options: WithLength & WithDefault<unknown>,
): readonly MetadataValue[] | undefined {
  const { length } = options;
  const expected = `an array of ${length === undefined ? "" : `${grouped(length)} `}${content}`;
  const value = metadata.get(key);
  if (value === undefined) {
    missing(key, expected, options);
    return undefined;
  }
  if (!Array.isArray(value)) throw wrongKind(key, expected, value);
  if (length !== undefined && value.length !== length) throw wrongValue(key, expected, value);
  return value;
}

/** A bigint never is within: the reader gives one only for integers that a number cannot hold. */
function isWithin(value: number | bigint, { min, max, integer }: NumberExpectation): value is number {
  return value >= min && value <= max && typeof value === "number" && (!integer || Number.isInteger(value));
}

function describeNumber({ min, max, integer }: NumberExpectation): string {
  return `${integer ? "an integer" : "a number"} from ${min} to ${max}`;
}

function missing<D>(key: string, expected: string, options: WithDefault<D>): D {
  if ("default" in options) return options.default as D;
  throw new RangeError(`Metadata "${key}" must be ${expected}, file has no such key`);
}

function wrongKind(key: string, expected: string, value: MetadataValue): TypeError {
  return new TypeError(`Metadata "${key}" must be ${expected}, got ${describe(value)}`);
}

function wrongValue(key: string, expected: string, value: MetadataValue): RangeError {
  return new RangeError(`Metadata "${key}" must be ${expected}, got ${describe(value)}`);
}

/** Short enough for a message, whatever the value. */
function describe(value: MetadataValue): string {
  if (Array.isArray(value)) return `an array of ${grouped(value.length)}`;
  if (typeof value === "string") return `string ${quoted(value)}`;
  return typeof value === "boolean" ? `boolean ${value}` : String(value);
}
