/**
 * What is valid where a schema is not: by De Morgan's laws, one keyword at a time. A value breaks a schema if it breaks
 * one of its keywords; most keywords only speak of one type, so what breaks them is of that type.
 */
import {
  arrayOf,
  countOf,
  type Found,
  type Located,
  namesOf,
  numberOf,
  objectOf,
  type SchemaContext,
  schemasOf,
  unsupported,
} from "./schema-context.ts";
import { ANNOTATIONS, TYPES } from "./schema-keywords.ts";
import { nameMatcher, namesMatcher } from "./schema-names.ts";
import { described, hasParts } from "./schema-values.ts";

/** Some property to which `applies` must not be valid under `rule`. Which there are is known once all else is. */
export interface Late {
  readonly applies: (name: string) => boolean;
  readonly rule: unknown;
  /** Of `additionalProperties: false`: the names beside which there must be another. */
  readonly own?: readonly string[];
  readonly path: string;
}

export interface WaysAround {
  /** Of each, all must hold. */
  readonly choices: Found[][];
  readonly late: Late[];
}

/** Types that the negation of a keyword alone is about; null: any. */
const ATOMS: Readonly<Record<string, string | null>> = {
  pattern: "string",
  multipleOf: "number",
  enum: null,
};

/** A schema whose negation automata can tell by themselves; null if it is more. */
export function atomOf({ schema, path }: Located): { type: string | null; not: Located } | null {
  const keys = Object.keys(schema).filter((key) => !ANNOTATIONS.has(key));
  if (keys.length !== 1 || !Object.hasOwn(ATOMS, keys[0])) return null;
  const [keyword] = keys;
  const value = schema[keyword];
  if (keyword === "enum" && !(Array.isArray(value) && value.every((one) => !hasParts(one)))) return null;
  return { type: ATOMS[keyword], not: { schema: { [keyword]: value }, path } };
}

/** @throws {RangeError} If it has keywords whose negation is not supported. */
export function waysAround(place: Located, context: SchemaContext): WaysAround {
  const choices: Found[][] = [];
  const late: Late[] = [];
  for (const keyword of Object.keys(place.schema)) {
    if (ANNOTATIONS.has(keyword)) continue;
    const path = `${place.path}.${keyword}`;
    if (OBJECTS.includes(keyword)) late.push(...lateWays(place, keyword, path, context));
    else {
      for (const way of waysOf(place, keyword, path, context)) {
        choices.push([way].flat().map((schema) => ({ schema, path })));
      }
    }
  }
  return { choices, late };
}

const DENIED = 'is not supported under "not" or "if", or where it tells branches of "oneOf" apart';

/** Whatever they say is about properties that only all schemas together name. */
const OBJECTS = ["additionalProperties", "patternProperties", "propertyNames"];

function lateWays(place: Located, keyword: string, path: string, context: SchemaContext): Late[] {
  const { schema } = place;
  if (keyword === "propertyNames") {
    const allows = namesMatcher([{ schema: schema.propertyNames, path }], context);
    return [{ applies: (name) => !allows(name), rule: false, path }];
  }
  const patterns = Object.entries(objectOf(place, "patternProperties")).map(
    ([pattern, rule]) => [nameMatcher(pattern, path, context), rule] as const,
  );
  if (keyword === "patternProperties") return patterns.map(([applies, rule]) => ({ applies, rule, path }));
  if (schema.additionalProperties === true) return [];
  const own = objectOf(place, "properties");
  const applies = (name: string) => !Object.hasOwn(own, name) && !patterns.some(([matches]) => matches(name));
  const isClosed = schema.additionalProperties === false && patterns.length === 0;
  return [{ applies, rule: schema.additionalProperties, path, ...(isClosed && { own: Object.keys(own) }) }];
}

/** What breaks one keyword: any of these schemas, or of these lists of schemas that hold together. */
function waysOf(
  place: Located,
  keyword: string,
  path: string,
  context: SchemaContext,
): (unknown | unknown[])[] {
  const { schema } = place;
  const given = schema[keyword];
  const not = (other: unknown) => ({ not: other });
  const all = () => schemasOf(place, keyword).map((found) => found.schema);
  const one = (name: string, value: unknown) => Object.fromEntries([[name, value]]);
  switch (keyword) {
    case "$ref":
      return [not(context.resolve({ $ref: given }, path))];
    case "type":
      return otherTypes([given].flat());
    case "const":
      return [otherThan([given])];
    case "enum":
      return [otherThan(arrayOf(place, keyword) ?? [])];
    case "allOf":
      return all().map(not);
    case "anyOf":
      return [all().map(not)];
    case "oneOf": {
      const ways = all();
      const pairs = ways.flatMap((way, i) => ways.slice(i + 1).map((other) => [way, other]));
      return [ways.map(not), ...pairs];
    }
    case "not":
      return [given];
    case "if":
      return [
        [given, not(schema.then ?? true)],
        [not(given), not(schema.else ?? true)],
      ];
    case "then":
    case "else":
    case "minContains":
    case "maxContains":
      // With "if" and "contains".
      return [];
    case "dependentRequired":
    case "dependentSchemas":
    case "dependencies":
      return Object.entries(objectOf(place, keyword)).map(([name, more]) => [
        { type: "object", required: [name] },
        not(Array.isArray(more) ? { required: more } : more),
      ]);
    case "properties":
      return Object.entries(objectOf(place, keyword))
        .filter(([, rule]) => rule !== true)
        .map(([name, rule]) => ({ type: "object", required: [name], properties: one(name, not(rule)) }));
    case "required":
      return namesOf(place, keyword).map((name) => ({ type: "object", properties: one(name, false) }));
    case "minProperties":
    case "minItems":
    case "minLength":
      return fewer(place, keyword);
    case "maxProperties":
    case "maxItems":
    case "maxLength":
      return [{ type: typeOf(keyword), [`min${keyword.slice(3)}`]: countOf(place, keyword)! + 1 }];
    case "minimum":
      return [{ type: "number", exclusiveMaximum: numberOf(place, keyword) }];
    case "maximum":
      return [{ type: "number", exclusiveMinimum: numberOf(place, keyword) }];
    case "exclusiveMinimum":
      return [{ type: "number", maximum: numberOf(place, keyword) }];
    case "exclusiveMaximum":
      return [{ type: "number", minimum: numberOf(place, keyword) }];
    case "pattern":
    case "multipleOf":
      return [not({ [keyword]: given })];
    case "items":
    case "prefixItems":
      return otherItems(place, keyword, path);
    case "contains": {
      const least = countOf(place, "minContains") ?? 1;
      const most = countOf(place, "maxContains");
      const found = { type: "array", contains: given };
      return [
        ...(least > 0 ? [{ ...found, minContains: 0, maxContains: least - 1 }] : []),
        ...(most === undefined ? [] : [{ ...found, minContains: most + 1 }]),
      ];
    }
    case "uniqueItems":
      if (given === false) return [];
      return unsupported(path, DENIED);
    default:
      return unsupported(path, DENIED);
  }
}

function otherTypes(types: readonly unknown[]): unknown[] {
  const others = TYPES.filter(
    (type) =>
      type !== "integer" && !types.includes(type) && !(type === "number" && types.includes("integer")),
  );
  const isIntegral = types.includes("integer") && !types.includes("number");
  return [
    ...(others.length > 0 ? [{ type: others }] : []),
    ...(isIntegral ? [{ type: "number", not: { multipleOf: 1 } }] : []),
  ];
}

/** None of some values: those with parts are told from others by a part. */
function otherThan(values: readonly unknown[]): unknown[] {
  const plain = values.filter((value) => !hasParts(value));
  return [
    ...(plain.length > 0 ? [{ not: { enum: plain } }] : []),
    ...values.filter(hasParts).map((value) => ({ not: described(value) })),
  ];
}

function fewer(place: Located, keyword: string): unknown[] {
  const least = countOf(place, keyword)!;
  return least === 0 ? [] : [{ type: typeOf(keyword), [`max${keyword.slice(3)}`]: least - 1 }];
}

function typeOf(keyword: string): string {
  return keyword.endsWith("Properties") ? "object" : keyword.endsWith("Items") ? "array" : "string";
}

function otherItems(place: Located, keyword: string, path: string): unknown[] {
  const { schema } = place;
  if (keyword === "prefixItems" || Array.isArray(schema.items)) {
    const own = arrayOf(place, keyword) ?? [];
    return own.map((item, i) => ({
      type: "array",
      minItems: i + 1,
      prefixItems: [...own.slice(0, i).map(() => true), { not: item }],
    }));
  }
  const own = schema.prefixItems === undefined ? 0 : (arrayOf(place, "prefixItems") ?? []).length;
  if (schema.items === true) return [];
  if (schema.items === false) return [{ type: "array", minItems: own + 1 }];
  if (own > 0) unsupported(path, DENIED);
  return [{ type: "array", contains: { not: schema.items } }];
}
