/** The words of a JSON schema that are known, and what each of them speaks of. */
export type SchemaObject = Readonly<Record<string, unknown>>;

/** Say nothing about what is valid. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  ...["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"],
  ...["$schema", "$id", "$comment", "$defs", "definitions"],
  ...["contentEncoding", "contentMediaType", "contentSchema"],
]);

/** Say what is valid by other schemas for the same value, or by what depends on the value. */
export const APPLICATORS: ReadonlySet<string> = new Set([
  ...["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"],
  ...["dependentRequired", "dependentSchemas", "dependencies"],
]);

/** What asserts something of values of a type, and of no others. */
export const ASSERTIONS: Readonly<Record<string, readonly string[]>> = {
  object: [
    ...["properties", "patternProperties", "additionalProperties", "propertyNames"],
    ...["required", "minProperties", "maxProperties"],
  ],
  array: [
    ...["items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"],
    ...["contains", "minContains", "maxContains"],
  ],
  string: ["minLength", "maxLength", "pattern"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
};

export const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];

export const KNOWN: ReadonlySet<string> = new Set([
  ...ANNOTATIONS,
  ...APPLICATORS,
  ...Object.values(ASSERTIONS).flat(),
  ...["type", "enum", "const", "format"],
]);

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What `schema` says with its other keywords; annotations say nothing. null: nothing. */
export function beside(schema: SchemaObject, ...keywords: string[]): SchemaObject | null {
  const rest = Object.entries(schema).filter(([key]) => !keywords.includes(key) && !ANNOTATIONS.has(key));
  return rest.length === 0 ? null : Object.fromEntries(rest);
}

/** The same text for equal JSON values: the order of keys does not matter. */
export function keyOf(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    isObject(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : part,
  );
}
