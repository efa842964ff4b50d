/**
 * schema: a JSON schema (2020-12, and draft 7 where they differ) as an expression.
 *
 * The texts are a part of what is valid, chosen so that none of them leads to a dead end: properties come in the order of
 * the schema, further ones only where it says so, and a keyword that asserts something of a type asks for that type.
 */
import { quoted } from "../../format/quote.ts";
import { alt, call, type Expr, NEVER, oneOf, type Rule } from "./expr.ts";
import { ANY, BLANKS, BOOLEAN, NULL } from "./json-text.ts";
import { arrayExpr } from "./schema-array.ts";
import { arrayOf, isObject, type Located, type SchemaContext, unsupported } from "./schema-context.ts";
import { areDisjoint } from "./schema-disjoint.ts";
import { ANNOTATIONS, beside, merge, type Schema, type SchemaObject } from "./schema-merge.ts";
import { numberExpr } from "./schema-number.ts";
import { objectExpr } from "./schema-object.ts";
import { stringExpr } from "./schema-string.ts";

/** What asserts something of values of a type, and of no others. */
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  object: [
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
  ],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"],
  string: ["minLength", "maxLength", "pattern"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
};
const KNOWN: ReadonlySet<string> = new Set([
  ...ANNOTATIONS,
  ...Object.values(KEYWORDS).flat(),
  ...["type", "enum", "const", "format", "$ref", "allOf", "anyOf", "oneOf"],
]);
const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];
/** Work on one schema: so much for each that is compiled or put together, and what strings take. */
const MOST_WORK = 1_000_000;
const SCHEMA_WORK = 50;
/** References to references, and schemas in each other that are put together. */
const MOST_STEPS = 100;
const MOST_DEPTH = 200;

/**
 * @param name What the schema is called in errors; they say where in it.
 * @throws {TypeError | RangeError} If it is no schema, or has what is not supported.
 */
export function compileSchema(schema: unknown, name: string): Expr {
  return new Compiler(schema, name).whole();
}

class Compiler implements SchemaContext {
  readonly #root: unknown;
  readonly #name: string;
  readonly #rules = new Map<string, Rule>();
  readonly #waiting: { rule: Rule; schema: unknown; path: string }[] = [];
  #work = 0;

  constructor(root: unknown, name: string) {
    this.#root = root;
    this.#name = name;
  }

  whole(): Expr {
    if (isDeeper(this.#root, MOST_DEPTH))
      unsupported(this.#name, `must be at most ${MOST_DEPTH} levels deep`);
    const value = this.value(this.#root, this.#name);
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      next.rule.expr = this.#exprOf(next.schema, next.path, 0);
    }
    return { kind: "seq", parts: [BLANKS, value] };
  }

  value(schema: unknown, path: string): Expr {
    if (schema === true) return ANY;
    if (schema === false) return NEVER;
    // Equal schemas are one rule, wherever they stand.
    const key = JSON.stringify(schema);
    let rule = this.#rules.get(key);
    if (rule === undefined) {
      rule = { expr: NEVER };
      this.spend(path, SCHEMA_WORK);
      this.#rules.set(key, rule);
      this.#waiting.push({ rule, schema, path });
    }
    return call(rule);
  }

  #exprOf(given: unknown, path: string, step: number): Expr {
    this.spend(path, SCHEMA_WORK);
    if (given === true) return ANY;
    if (given === false) return NEVER;
    const schema = this.#expectSchema(given, path);
    if (step > MOST_STEPS) unsupported(path, "must not be put together of so many schemas");
    const joined = (all: readonly unknown[]) =>
      all.reduce<Schema>(
        (one, other, i) =>
          merge(one, this.#expectSchemaOrBoolean(other, `${path}.allOf[${i}]`), (keyword) =>
            unsupported(`${path}.${keyword}`, "is not supported where schemas are put together"),
          ),
        true,
      );
    if (schema.$ref !== undefined) {
      const target = this.resolve({ $ref: schema.$ref }, path);
      const rest = beside(schema, "$ref");
      return rest === null ? this.value(target, path) : this.#exprOf(joined([rest, target]), path, step + 1);
    }
    const all = arrayOf({ schema, path }, "allOf", 1);
    if (all !== undefined)
      return this.#exprOf(joined([beside(schema, "allOf") ?? true, ...all]), path, step + 1);
    for (const keyword of ["anyOf", "oneOf"]) {
      const branches = arrayOf({ schema, path }, keyword, 1);
      if (branches === undefined) continue;
      if (keyword === "oneOf") this.#expectDisjoint(branches, `${path}.oneOf`);
      const rest = beside(schema, keyword);
      return alt(
        ...branches.map((branch, i) =>
          rest === null
            ? this.value(branch, `${path}.${keyword}[${i}]`)
            : this.#exprOf(joined([rest, branch]), `${path}.${keyword}[${i}]`, step + 1),
        ),
      );
    }
    return this.#plain({ schema, path });
  }

  /** A schema without others beside it. */
  #plain(place: Located): Expr {
    const { schema } = place;
    const types = typesOf(place);
    if (schema.const !== undefined || schema.enum !== undefined) return valuesExpr(place, types);
    if (types === null) return ANY;
    return alt(...types.map((type) => this.#typed(type, place)));
  }

  #typed(type: string, place: Located): Expr {
    switch (type) {
      case "object":
        return objectExpr(place, this);
      case "array":
        return arrayExpr(place, this);
      case "string":
        return stringExpr(place, this);
      case "boolean":
        return BOOLEAN;
      case "null":
        return NULL;
      default:
        return numberExpr(place, type === "integer");
    }
  }

  resolve(schema: unknown, path: string): unknown {
    let current = schema;
    for (let step = 0; isObject(current) && current.$ref !== undefined; step++) {
      if (beside(current, "$ref") !== null) return current;
      if (step > MOST_STEPS) unsupported(`${path}.$ref`, "must not refer to itself with nothing between");
      current = this.#target(current.$ref, `${path}.$ref`);
    }
    return current;
  }

  #target(reference: unknown, path: string): unknown {
    if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
      unsupported(path, `must be within the schema, as in "#/$defs/name", got ${quoted(String(reference))}`);
    }
    let current = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const key = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof current !== "object" || current === null || !Object.hasOwn(current, key)) {
        unsupported(path, `must name what is there, got ${quoted(reference)}`);
      }
      current = (current as SchemaObject)[key];
    }
    return current;
  }

  #expectDisjoint(branches: readonly unknown[], path: string): void {
    for (const [i, one] of branches.entries()) {
      this.spend(path, SCHEMA_WORK);
      for (const other of branches.slice(0, i)) {
        if (areDisjoint(one, other, (schema) => this.resolve(schema, path))) continue;
        unsupported(
          path,
          "must have branches of which no value fits two: of other types, or told apart by a const",
        );
      }
    }
  }

  #expectSchemaOrBoolean(value: unknown, path: string): Schema {
    return typeof value === "boolean" ? value : this.#expectSchema(value, path);
  }

  #expectSchema(value: unknown, path: string): SchemaObject {
    if (!isObject(value)) {
      throw new TypeError(
        `"${path}" must be a JSON schema, got ${quoted(JSON.stringify(value) ?? "nothing")}`,
      );
    }
    const unknown = Object.keys(value).find((keyword) => !KNOWN.has(keyword));
    if (unknown !== undefined) unsupported(`${path}.${unknown.slice(0, 40)}`);
    return value;
  }

  spend(path: string, work: number): void {
    this.#work += work;
    if (this.#work > MOST_WORK) unsupported(path, "is part of a schema that is too large");
  }
}

/** The types that values may have; null: any. */
function typesOf({ schema, path }: Located): string[] | null {
  if (schema.type !== undefined) {
    const types = [schema.type].flat();
    for (const type of types) {
      if (!TYPES.includes(type as string)) {
        throw new TypeError(`"${path}.type" must be one of ${TYPES.join(", ")}, got ${quoted(String(type))}`);
      }
    }
    // An integer is a number.
    return (types as string[]).filter((type) => type !== "integer" || !types.includes("number"));
  }
  const asserted = Object.keys(KEYWORDS).filter((type) =>
    KEYWORDS[type].some((keyword) => schema[keyword] !== undefined),
  );
  if (schema.format !== undefined && asserted.length === 0) return ["string"];
  return asserted.length === 0 ? null : asserted;
}

/** `const` and `enum`: their values as `JSON.stringify` writes them. */
function valuesExpr(place: Located, types: string[] | null): Expr {
  const { schema, path } = place;
  const listed = arrayOf(place, "enum") ?? [schema.const];
  const other = beside(schema, "type", "enum", "const");
  if (other !== null)
    unsupported(`${path}.${Object.keys(other)[0]}`, 'is not supported beside "enum" or "const"');
  const values = listed
    .map((value) => JSON.stringify(value))
    .filter(
      (json) =>
        schema.enum === undefined || schema.const === undefined || json === JSON.stringify(schema.const),
    );
  const fits = (json: string) => types === null || types.some((type) => hasType(JSON.parse(json), type));
  return oneOf(values.filter(fits));
}

function hasType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? isObject(value) : typeof value === type;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((part) => isDeeper(part, levels - 1));
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
