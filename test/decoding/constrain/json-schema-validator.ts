/**
 * Whether a value is valid under a JSON schema, as the standard says it keyword by keyword (2020-12, and draft 7 where
 * they differ): a second derivation for tests, which knows nothing of grammars.
 *
 * Source: JSON Schema Core and Validation, draft 2020-12, sections 10 and 11, 6 and 7.
 */
import * as z from "zod";

type Schema = Readonly<Record<string, unknown>>;

export function isValid(value: unknown, schema: unknown, root: unknown = schema): boolean {
  if (typeof schema === "boolean") return schema;
  const rules = schema as Schema;
  return Object.keys(rules).every(
    (keyword) => CHECKS[keyword]?.(value, rules[keyword] as never, rules, root) ?? true,
  );
}

type Check = (value: unknown, given: never, rules: Schema, root: unknown) => boolean;
/** A keyword that is about one kind of value, and lets others be. */
const about =
  <T, G>(
    is: (value: unknown) => value is T,
    check: (value: T, given: G, rules: Schema, root: unknown) => boolean,
  ) =>
  (value: unknown, given: never, rules: Schema, root: unknown) =>
    !is(value) || check(value, given as G, rules, root);
const isText = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => typeof value === "number";
const isList = (value: unknown): value is unknown[] => Array.isArray(value);
const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !isList(value);
const length = (text: string) => [...text].length;

const CHECKS: Readonly<Record<string, Check>> = {
  type: (value, given: string | string[]) => [given].flat().some((type) => TYPES[type](value)),
  enum: (value, given: unknown[]) => given.some((other) => equal(value, other)),
  const: (value, given: unknown) => equal(value, given),
  $ref: (value, given: string, _, root) => isValid(value, target(given, root), root),
  allOf: (value, given: unknown[], _, root) => given.every((one) => isValid(value, one, root)),
  anyOf: (value, given: unknown[], _, root) => given.some((one) => isValid(value, one, root)),
  oneOf: (value, given: unknown[], _, root) => given.filter((one) => isValid(value, one, root)).length === 1,
  not: (value, given: unknown, _, root) => !isValid(value, given, root),
  if: (value, given: unknown, rules, root) =>
    isValid(value, (isValid(value, given, root) ? rules.then : rules.else) ?? true, root),
  minLength: about(isText, (text, least: number) => length(text) >= least),
  maxLength: about(isText, (text, most: number) => length(text) <= most),
  pattern: about(isText, (text, pattern: string) => new RegExp(pattern, "u").test(text)),
  format: about(isText, (text, format: string) => FORMATS[format]?.(text) ?? true),
  minimum: about(isNumber, (number, least: number) => number >= least),
  maximum: about(isNumber, (number, most: number) => number <= most),
  exclusiveMinimum: about(isNumber, (number, least: number) => number > least),
  exclusiveMaximum: about(isNumber, (number, most: number) => number < most),
  multipleOf: about(isNumber, (number, factor: number) => {
    const [a, b] = [number, factor].map((one) => BigInt(one.toFixed(9).replace(".", "")));
    return a % b === 0n;
  }),
  required: about(isObject, (object, names: string[]) => names.every((name) => Object.hasOwn(object, name))),
  minProperties: about(isObject, (object, least: number) => Object.keys(object).length >= least),
  maxProperties: about(isObject, (object, most: number) => Object.keys(object).length <= most),
  propertyNames: about(isObject, (object, rule: unknown, _, root) =>
    Object.keys(object).every((name) => isValid(name, rule, root)),
  ),
  properties: about(isObject, (object, given: Schema, _, root) =>
    Object.keys(object).every(
      (name) => !Object.hasOwn(given, name) || isValid(object[name], given[name], root),
    ),
  ),
  patternProperties: about(isObject, (object, given: Schema, _, root) =>
    Object.keys(given).every((pattern) =>
      Object.keys(object).every(
        (name) => !new RegExp(pattern, "u").test(name) || isValid(object[name], given[pattern], root),
      ),
    ),
  ),
  additionalProperties: about(isObject, (object, given: unknown, rules, root) => {
    const patterns = Object.keys((rules.patternProperties ?? {}) as Schema);
    const isNamed = (name: string) =>
      Object.hasOwn((rules.properties ?? {}) as Schema, name) ||
      patterns.some((pattern) => new RegExp(pattern, "u").test(name));
    return Object.keys(object).every((name) => isNamed(name) || isValid(object[name], given, root));
  }),
  dependentRequired: about(isObject, (object, given: Record<string, string[]>) =>
    Object.keys(given).every(
      (name) => !Object.hasOwn(object, name) || given[name].every((other) => Object.hasOwn(object, other)),
    ),
  ),
  dependentSchemas: about(isObject, (object, given: Schema, _, root) =>
    Object.keys(given).every((name) => !Object.hasOwn(object, name) || isValid(object, given[name], root)),
  ),
  dependencies: about(isObject, (object, given: Schema, _, root) =>
    Object.keys(given).every((name) => {
      const more = isList(given[name]) ? { required: given[name] } : given[name];
      return !Object.hasOwn(object, name) || isValid(object, more, root);
    }),
  ),
  minItems: about(isList, (list, least: number) => list.length >= least),
  maxItems: about(isList, (list, most: number) => list.length <= most),
  uniqueItems: about(
    isList,
    (list, isAsked: boolean) =>
      !isAsked || list.every((item, i) => list.slice(0, i).every((other) => !equal(item, other))),
  ),
  prefixItems: about(isList, (list, given: unknown[], _, root) =>
    list.every((item, i) => i >= given.length || isValid(item, given[i], root)),
  ),
  items: about(isList, (list, given: unknown, rules, root) => {
    const own = isList(rules.prefixItems) ? rules.prefixItems.length : 0;
    if (isList(given)) return list.every((item, i) => i >= given.length || isValid(item, given[i], root));
    return list.slice(own).every((item) => isValid(item, given, root));
  }),
  contains: about(isList, (list, given: unknown, rules, root) => {
    const found = list.filter((item) => isValid(item, given, root)).length;
    return (
      found >= ((rules.minContains as number) ?? 1) && found <= ((rules.maxContains as number) ?? Infinity)
    );
  }),
};

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: isList,
  string: isText,
  number: isNumber,
  integer: Number.isInteger,
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
};

const byZod = (schema: z.ZodType) => (text: string) => schema.safeParse(text).success;
const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  date: byZod(z.iso.date()),
  "date-time": byZod(z.iso.datetime({ offset: true })),
  email: byZod(z.email()),
  uuid: byZod(z.uuid()),
  ipv4: byZod(z.ipv4()),
  ipv6: byZod(z.ipv6()),
  duration: byZod(z.iso.duration()),
  hostname: byZod(z.hostname()),
  uri: (text) => URL.canParse(text) && byZod(z.url())(text),
};

function target(reference: string, root: unknown): unknown {
  return reference
    .split("/")
    .slice(1)
    .reduce((at, key) => (at as Schema)[key], root);
}

function equal(a: unknown, b: unknown): boolean {
  if (isList(a) && isList(b)) return a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (!isObject(a) || !isObject(b)) return a === b;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]))
  );
}
