/** Whether no value is valid under two schemas, as far as it is easy to see: what `oneOf` needs to be an `anyOf`. */
import { isObject, keyOf, type SchemaObject } from "./schema-keywords.ts";

/** @param resolve What a schema refers to, or the schema itself. */
export function areDisjoint(a: unknown, b: unknown, resolve: (schema: unknown) => unknown): boolean {
  const [one, other] = [resolve(a), resolve(b)];
  if (one === false || other === false) return true;
  if (!isObject(one) || !isObject(other)) return false;
  const [types, others] = [typesOf(one), typesOf(other)];
  if (
    types !== null &&
    others !== null &&
    !types.some((type) => others.some((also) => overlap(type, also)))
  ) {
    return true;
  }
  const [values, more] = [valuesOf(one), valuesOf(other)];
  if (
    values !== null &&
    more !== null &&
    !values.some((value) => more.some((also) => keyOf(value) === keyOf(also)))
  ) {
    return true;
  }
  return types?.length === 1 && types[0] === "object" && others?.length === 1 && others[0] === "object"
    ? differInProperty(one, other, resolve) || isWithout(one, other) || isWithout(other, one)
    : false;
}

/** Whether one cannot have a property that the other must have. */
function isWithout(one: SchemaObject, other: SchemaObject): boolean {
  if (!Array.isArray(other.required)) return false;
  const own = isObject(one.properties) ? one.properties : {};
  const isClosed = one.additionalProperties === false && one.patternProperties === undefined;
  return other.required.some((name) => (Object.hasOwn(own, name) ? own[name] === false : isClosed));
}

/** A property that both must have tells them apart. */
function differInProperty(a: SchemaObject, b: SchemaObject, resolve: (schema: unknown) => unknown): boolean {
  const [one, other] = [a.properties, b.properties];
  if (!isObject(one) || !isObject(other) || !Array.isArray(a.required) || !Array.isArray(b.required))
    return false;
  const also: readonly unknown[] = b.required;
  return a.required.some(
    (name) =>
      also.includes(name) &&
      Object.hasOwn(one, name) &&
      Object.hasOwn(other, name) &&
      areDisjoint(one[name], other[name], resolve),
  );
}

function typesOf(schema: SchemaObject): string[] | null {
  if (schema.type !== undefined) return [schema.type].flat() as string[];
  const values = valuesOf(schema);
  return (
    values?.map((value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value)) ?? null
  );
}

function overlap(a: string, b: string): boolean {
  const name = (type: string) => (type === "integer" ? "number" : type);
  return name(a) === name(b);
}

function valuesOf(schema: SchemaObject): readonly unknown[] | null {
  if (schema.const !== undefined) return [schema.const];
  return Array.isArray(schema.enum) ? schema.enum : null;
}
