/** Random JSON schemas of every kind that is supported. Some allow no value at all. */
import type { Random } from "../../support/random.ts";

type Schema = Record<string, unknown>;

const NAMES = ["a", "b", "name", "kind", "é", 'quo"te', "__proto__x", "back\\slash", ""];
const FORMATS = ["date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "uri", "duration"];
const PATTERNS = [
  "^[a-c]+$",
  "x",
  "^\\d{3}-\\d{2}$",
  "^(ab|cd)*e?$",
  '^["\\\\]{1,2}$',
  "[é日]$",
  "^[a-z]{2}$",
];
const VALUES = [
  "x",
  'y"',
  "xz",
  "ab",
  1,
  2,
  -0.5,
  0,
  null,
  true,
  false,
  [],
  {},
  ["x", 1],
  { a: 1 },
  { a: null, b: [] },
];

/** @param depth Levels that may still come. */
export function randomSchema(random: Random, depth = 3): Schema | boolean {
  const pick = <T>(...values: T[]): T => values[random.below(values.length)];
  const maybe = (fields: Schema): Schema => (random.below(2) === 0 ? fields : {});
  const inner = () => randomSchema(random, depth - 1);
  const kind = random.below(depth > 0 ? 12 : 6);
  const low = random.below(40) - 20;
  switch (kind) {
    case 0:
      return { type: "string", ...pick({}, { minLength: random.below(4), maxLength: 3 + random.below(9) }) };
    case 1:
      return { type: "string", ...pick({ format: pick(...FORMATS) }, { pattern: pick(...PATTERNS) }) };
    case 2:
      return {
        type: "integer",
        ...maybe({ minimum: low }),
        ...maybe({ exclusiveMaximum: low + 1 + random.below(900) }),
        ...maybe({ multipleOf: pick(1, 2, 5, 7, 10, 12, 100, 250) }),
      };
    case 3:
      return {
        type: "number",
        ...maybe({ exclusiveMinimum: low / 8 }),
        ...maybe({ maximum: low / 8 + 0.001 + random.below(90) / 7 }),
        ...pick<Schema>({}, {}, { multipleOf: pick(0.5, 0.01, 0.25, 3, 1.5) }),
      };
    case 4:
      return pick<Schema>(
        { enum: VALUES.filter(() => random.below(3) === 0).concat("x") },
        { const: pick<unknown>(...VALUES) },
      );
    case 5:
      return { type: pick("boolean", "null") };
    case 6:
      return { anyOf: Array.from({ length: 1 + random.below(3) }, inner) };
    case 7: {
      const prefixItems = Array.from({ length: 1 + random.below(3) }, inner);
      return {
        type: "array",
        prefixItems,
        items: pick<unknown>(false, inner()),
        minItems: random.below(prefixItems.length + 1),
      };
    }
    case 8: {
      const minItems = random.below(3);
      return { type: "array", items: inner(), minItems, ...maybe({ maxItems: minItems + random.below(3) }) };
    }
    case 9:
      return {
        type: "object",
        additionalProperties: inner(),
        ...maybe({ propertyNames: { type: "string", maxLength: 3 } }),
        ...maybe({ maxProperties: random.below(4) }),
      };
    case 10:
      return { type: ["object", "array", "null"] };
    default:
      return objectSchema(random, inner);
  }
}

function objectSchema(random: Random, inner: () => unknown): Schema {
  const pick = <T>(...values: T[]): T => values[random.below(values.length)];
  const names = NAMES.filter(() => random.below(3) === 0);
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, inner()])),
    required: names.filter(() => random.below(2) === 0),
    ...pick<Schema>({ additionalProperties: false }, {}, { additionalProperties: { type: "integer" } }),
  };
}

/** `if`, `then` and `else`: built from pairs, as an object with a method of that name would be awaited. */
export function when(condition: Schema, yes: Schema, no?: Schema): Schema {
  const pairs: [string, Schema | undefined][] = [
    ["if", condition],
    ["then", yes],
    ["else", no],
  ];
  return Object.fromEntries(pairs.filter(([, schema]) => schema !== undefined));
}

/** Schemas whose keywords limit each other: negations, conditions, counts, patterns of names. */
export function tangledSchema(random: Random, depth = 2): Schema {
  const pick = <T>(...values: T[]): T => values[random.below(values.length)];
  const simple = (): Schema => randomSchema(random, 0) as Schema;
  const inner = (): unknown =>
    depth > 0 && random.below(2) === 0 ? tangledSchema(random, depth - 1) : simple();
  /** Of one key of an object, or of an item: what conditions are about. */
  const about = (): Schema =>
    pick<() => Schema>(
      () => ({ properties: { kind: { const: pick<unknown>("x", 1) } }, required: ["kind"] }),
      () => ({ properties: { a: simple() } }),
      () => ({ required: [pick("a", "b", "kind")] }),
      () => ({ type: pick("string", "integer", "number", "object", "array") }),
      () => ({ enum: VALUES.slice(0, 1 + random.below(VALUES.length)) }),
      () => ({ const: pick<unknown>(...VALUES) }),
      () => ({ minimum: random.below(10) - 5 }),
      () => ({ exclusiveMaximum: random.below(10) - 5, minimum: -2 }),
      () => ({ multipleOf: pick(1, 2, 0.5, 10) }),
      () => ({ pattern: pick(...PATTERNS) }),
      () => ({ minLength: 2 }),
      () => ({ maxItems: 1 }),
      () => ({ items: { type: "integer" } }),
      () => ({ contains: { type: "string" } }),
      () => ({ maxProperties: 1 }),
      () => ({ anyOf: [about(), about()] }),
      () => ({ allOf: [about(), about()] }),
      () => ({ oneOf: [about(), about()] }),
      () => ({ not: about() }),
      () => when(about(), about()),
    )();
  const base = (): Schema =>
    pick<() => Schema>(
      () => objectSchema(random, inner),
      () => objectSchema(random, inner),
      () => ({ type: "object", properties: { kind: { enum: ["x", 1, "z"] }, a: inner(), b: simple() } }),
      () => ({ type: ["string", "integer", "null", "boolean"] }),
      () => ({ type: "array", items: inner() }),
      () => simple(),
      () => ({}),
    )();
  const more = (): Schema =>
    pick<() => Schema>(
      () => ({ not: about() }),
      () => ({ not: about() }),
      () => when(about(), about(), about()),
      () => when(about(), about()),
      () => ({ oneOf: [about(), about(), about()].slice(random.below(2)) }),
      () => ({ oneOf: [objectSchema(random, simple), objectSchema(random, simple)] }),
      () => ({ anyOf: [about(), about()] }),
      () => ({ allOf: [about(), { not: about() }] }),
      () => ({ dependentRequired: { a: ["b"], kind: ["a", "name"] } }),
      () => ({ dependentSchemas: { kind: about() } }),
      () => ({ patternProperties: { "^[a-k]": inner(), e$: inner() } }),
      () => ({
        patternProperties: { "^[a-k]": inner() },
        additionalProperties: pick<unknown>(false, simple()),
      }),
      () => ({
        propertyNames: pick<unknown>({ maxLength: 3 }, { enum: ["a", "kind"] }, { not: { const: "a" } }),
      }),
      () => ({ minProperties: random.below(3), maxProperties: 2 + random.below(2) }),
      () => ({ contains: about(), minContains: random.below(3) }),
      () => ({ contains: about(), maxContains: 1 + random.below(2), minItems: random.below(3) }),
      () => ({
        type: "array",
        items: pick<unknown>({ enum: VALUES }, { type: "boolean" }),
        uniqueItems: true,
      }),
      () => ({
        type: "array",
        items: { type: "integer", minimum: 1, maximum: 5 },
        uniqueItems: true,
        minItems: 2,
      }),
      () => ({}),
    )();
  return { ...base(), ...more(), ...(random.below(3) === 0 ? more() : {}) };
}
