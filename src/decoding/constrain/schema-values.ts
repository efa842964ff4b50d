/** `type`, `enum` and `const`: which values, and of which types, a branch is about. */
import { quoted } from "../../format/quote.ts";
import { matcherOf } from "./product.ts";
import {
  arrayOf,
  assertionOf,
  type Branch,
  type Found,
  type Located,
  type SchemaContext,
} from "./schema-context.ts";
import { ASSERTIONS, isObject, keyOf, type SchemaObject, TYPES } from "./schema-keywords.ts";
import { integersOf, numberFits } from "./schema-number.ts";
import { stringContent } from "./schema-string.ts";

/** The types that values may have; null: any. What asserts something of a type, and names none, is about that type. */
export function typesOf(branch: Branch): readonly string[] | null {
  const { parts, nots } = branch;
  const given = givenTypes(branch);
  if (given !== null) return given;
  const asserted = Object.keys(ASSERTIONS).filter((type) =>
    parts.some(({ schema }) => ASSERTIONS[type].some((keyword) => schema[keyword] !== undefined)),
  );
  if (asserted.length > 0) return asserted;
  if (parts.some(({ schema }) => schema.format !== undefined)) return ["string"];
  return nots.length > 0 ? TYPES.filter((type) => type !== "integer") : null;
}

/** The types that `type` allows; null: any. */
export function givenTypes({ parts }: Pick<Branch, "parts">): readonly string[] | null {
  const given = parts.filter(({ schema }) => schema.type !== undefined).map(listedTypes);
  if (given.length === 0) return null;
  const types = given.reduce(commonTypes);
  // An integer is a number.
  return types.filter((type) => type !== "integer" || !types.includes("number"));
}

function listedTypes({ schema, path }: Located): readonly string[] {
  const types = [schema.type].flat();
  for (const type of types) {
    if (!TYPES.includes(type as string)) {
      throw new TypeError(`"${path}.type" must be one of ${TYPES.join(", ")}, got ${quoted(String(type))}`);
    }
  }
  return types as string[];
}

function commonTypes(one: readonly string[], other: readonly string[]): readonly string[] {
  const has = (types: readonly string[], type: string) =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  return TYPES.filter((type) => has(one, type) && has(other, type));
}

/**
 * The values that are listed and are as all else asks; null: none are listed. Those with parts are only looked at as far
 * as their type: see `isSettled`.
 */
export function valuesOf(branch: Branch, context: SchemaContext): unknown[] | null {
  const listed = branch.parts.flatMap((part) => {
    const values = arrayOf(part, "enum");
    return [
      ...(values === undefined ? [] : [values]),
      ...(part.schema.const === undefined ? [] : [[part.schema.const]]),
    ];
  });
  if (listed.length === 0) return null;
  const [first, ...others] = listed;
  const keys = others.map((values) => new Set(values.map(keyOf)));
  const common = distinct(first).filter((value) => keys.every((some) => some.has(keyOf(value))));
  return fitting(common, branch, context);
}

/** All values that are valid under some schemas; null if they are more than a list, or of types that are not listed. */
export function finiteValues(schemas: readonly Found[], context: SchemaContext): unknown[] | null {
  const values: unknown[] = [];
  for (const branch of context.branches(schemas)) {
    const some = valuesOf(branch, context) ?? valuesOfTypes(branch, context);
    if (some === null || !some.every((value) => isSettled(value, branch))) return null;
    values.push(...some);
  }
  return distinct(values);
}

function valuesOfTypes(branch: Branch, context: SchemaContext): unknown[] | null {
  const types = typesOf(branch);
  if (types === null) return null;
  const values: unknown[] = [];
  for (const type of types) {
    if (type === "boolean" || type === "null") values.push(...simpleValues(type, branch, context));
    else {
      const integers = type === "integer" ? integersOf(branch) : null;
      if (integers === null) return null;
      values.push(...integers);
    }
  }
  return fitting(values, branch, context);
}

/** `boolean` or `null`. */
export function simpleValues(type: string, branch: Branch, context: SchemaContext): unknown[] {
  return fitting(type === "null" ? [null] : [true, false], branch, context);
}

/** Whether nothing is asked of the parts of a value, if it has any. */
export function isSettled(value: unknown, branch: Branch): boolean {
  return !hasParts(value) || assertionOf(branch, Array.isArray(value) ? "array" : "object") === null;
}

/** A schema that only one value is valid under: an array, or an object, by its parts. */
export function described(value: unknown): SchemaObject {
  if (Array.isArray(value)) {
    const items = value.map((item) => ({ const: item }));
    const size = { minItems: items.length, maxItems: items.length };
    return { type: "array", ...(items.length > 0 && { prefixItems: items }), ...size };
  }
  const parts = Object.entries(value as object).map(([name, part]) => [name, { const: part }]);
  const properties = Object.fromEntries(parts);
  return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
}

export function hasParts(value: unknown): boolean {
  return Array.isArray(value) || isObject(value);
}

/** Those of the values that are as a branch asks. */
function fitting(values: readonly unknown[], branch: Branch, context: SchemaContext): unknown[] {
  const types = givenTypes(branch);
  const excluded = new Set(
    branch.nots.flatMap(({ schema }) => ((schema.enum ?? []) as unknown[]).map(keyOf)),
  );
  const isText = values.some((value) => typeof value === "string");
  const content = isText && assertionOf(branch, "string") !== null ? stringContent(branch, context) : null;
  const matches = content === null ? () => true : matcherOf(content, branch.path);
  return values.filter((value) => {
    if (excluded.has(keyOf(value))) return false;
    if (types !== null && !types.some((type) => hasType(value, type))) return false;
    if (typeof value === "string") return matches(JSON.stringify(value).slice(1, -1));
    if (typeof value === "number") return numberFits(value, branch);
    return true;
  });
}

function distinct(values: readonly unknown[]): unknown[] {
  return [...new Map(values.map((value) => [keyOf(value), value])).values()];
}

function hasType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? isObject(value) : typeof value === type;
}
