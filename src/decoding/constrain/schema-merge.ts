/** One schema that asks for what several ask for together: `allOf`, and what stands beside `anyOf` or `$ref`. */
export type Schema = boolean | SchemaObject;
export type SchemaObject = Readonly<Record<string, unknown>>;

/** Say nothing about what is valid. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  ...["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"],
  ...["$schema", "$id", "$comment", "$defs", "definitions"],
  ...["contentEncoding", "contentMediaType", "contentSchema"],
]);

const LARGER = new Set(["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"]);
const SMALLER = new Set(["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"]);
/** Schemas that both hold. */
const NESTED = new Set(["items", "additionalItems", "propertyNames"]);

/** What `schema` says beside a keyword; annotations say nothing. null: nothing. */
export function beside(schema: SchemaObject, ...keywords: string[]): SchemaObject | null {
  const rest = Object.entries(schema).filter(([key]) => !keywords.includes(key) && !ANNOTATIONS.has(key));
  return rest.length === 0 ? null : Object.fromEntries(rest);
}

/** @param refuse Called with a keyword that both have in ways that cannot be joined. */
export function merge(a: Schema, b: Schema, refuse: (keyword: string) => never): Schema {
  if (a === false || b === false) return false;
  if (a === true) return b;
  if (b === true) return a;
  const merged: Record<string, unknown> = { ...beside(a), ...beside(b) };
  for (const key of Object.keys(merged)) {
    const [one, other] = [a[key], b[key]];
    if (one === undefined || other === undefined || same(one, other)) continue;
    if (LARGER.has(key)) merged[key] = Math.max(one as number, other as number);
    else if (SMALLER.has(key)) merged[key] = Math.min(one as number, other as number);
    else if (NESTED.has(key)) merged[key] = { allOf: [one, other] };
    else if (key === "required") merged[key] = [...new Set([...(one as string[]), ...(other as string[])])];
    else if (key === "enum") {
      merged[key] = (one as unknown[]).filter((value) =>
        (other as unknown[]).some((also) => same(value, also)),
      );
    } else if (key === "const") return false;
    else if (key === "type") merged[key] = commonTypes(one, other);
    else if (key !== "properties" && key !== "additionalProperties") refuse(key);
  }
  if (a.properties !== undefined || b.properties !== undefined) {
    const names = new Set([...Object.keys(a.properties ?? {}), ...Object.keys(b.properties ?? {})]);
    merged.properties = Object.fromEntries(
      [...names].map((name) => [name, together(propertyOf(a, name), propertyOf(b, name))]),
    );
  }
  if (a.additionalProperties !== undefined && b.additionalProperties !== undefined) {
    merged.additionalProperties = together(a.additionalProperties, b.additionalProperties);
  }
  return merged;
}

function together(one: unknown, other: unknown): unknown {
  if (one === false || other === false) return false;
  if (one === true || same(one, other)) return other;
  return other === true ? one : { allOf: [one, other] };
}

function propertyOf(schema: SchemaObject, name: string): unknown {
  const properties = (schema.properties ?? {}) as SchemaObject;
  return Object.hasOwn(properties, name) ? properties[name] : (schema.additionalProperties ?? true);
}

function commonTypes(one: unknown, other: unknown): unknown[] {
  const [left, right] = [[one].flat(), [other].flat()];
  const common = left.filter((type) => right.includes(type));
  const isNarrower = (a: unknown[], b: unknown[]) =>
    a.includes("integer") && b.includes("number") && !common.includes("integer");
  return isNarrower(left, right) || isNarrower(right, left) ? [...common, "integer"] : common;
}

/** Whether two JSON values are equal; the order of keys does not matter. */
export function same(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && same((a as SchemaObject)[key], (b as SchemaObject)[key]))
  );
}
