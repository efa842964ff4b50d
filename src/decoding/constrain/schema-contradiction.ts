/** What can be seen at once not to be: it keeps the ways to be valid few where conditions exclude each other. */
import { type Branch, objectOf } from "./schema-context.ts";
import { beside, isObject, keyOf } from "./schema-keywords.ts";
import { givenTypes } from "./schema-values.ts";

const LOOK_WORK = 10;

/**
 * Whether no value is of all types that are asked for, or a property must be there for which no value is left.
 *
 * @param spend Told of the work; may throw.
 */
export function isImpossible(branch: Pick<Branch, "parts">, spend: (work: number) => void): boolean {
  const types = givenTypes(branch);
  if (types === null) return false;
  if (types.length !== 1 || types[0] !== "object") return types.length === 0;
  const required = new Set(branch.parts.flatMap(({ schema }) => listOf(schema.required) ?? []));
  spend(LOOK_WORK * branch.parts.length * required.size);
  return [...required].some((name) => typeof name === "string" && hasNoValue(branch, name));
}

/** As far as it is seen from values that are listed, or from a schema that must hold and must not. */
function hasNoValue({ parts }: Pick<Branch, "parts">, name: string): boolean {
  let values: Set<string> | null = null;
  const excluded: string[] = [];
  const rules: unknown[] = [];
  for (const part of parts) {
    const properties = objectOf(part, "properties");
    const isOwn = Object.hasOwn(properties, name);
    const isClosed =
      part.schema.additionalProperties === false && part.schema.patternProperties === undefined;
    const rule = isOwn ? properties[name] : !isClosed;
    if (rule === false) return true;
    rules.push(rule);
    const listed = valuesOf(rule);
    if (listed !== null) values = new Set(listed.filter((value) => values?.has(value) ?? true));
    if (isObject(rule) && isList(rule.not)) excluded.push(...valuesOf(rule.not)!);
  }
  for (const value of excluded) values?.delete(value);
  if (values?.size === 0) return true;
  const held = new Set(rules.map(schemaKey));
  return rules.some((rule) => isObject(rule) && isObject(rule.not) && held.has(schemaKey(rule.not)));
}

const keys = new WeakMap<object, string>();

/** What is the same for equal schemas; each is asked for many times. */
function schemaKey(rule: unknown): string {
  if (!isObject(rule)) return String(rule);
  let key = keys.get(rule);
  if (key === undefined) {
    key = keyOf(rule);
    keys.set(rule, key);
  }
  return key;
}

/** Whether a schema lists values, and says no more. */
function isList(rule: unknown): boolean {
  return isObject(rule) && Object.keys(beside(rule) ?? {}).length === 1 && valuesOf(rule) !== null;
}

/** The values that a schema lists, as keys; null if it lists none. */
function valuesOf(rule: unknown): string[] | null {
  if (!isObject(rule)) return null;
  const listed = rule.const === undefined ? listOf(rule.enum) : [rule.const];
  return listed?.map(keyOf) ?? null;
}

function listOf(value: unknown): unknown[] | null {
  return Array.isArray(value) ? value : null;
}
