/**
 * schema: a JSON schema (2020-12, and draft 7 where they differ) as an expression.
 *
 * The texts are a part of what is valid, chosen so that none of them leads to a dead end: properties come in the order of
 * the schema, further ones only where it says so, and a keyword that asserts something of a type asks for that type.
 */
import { quoted } from "../../format/quote.ts";
import { alt, call, type Expr, NEVER, oneOf, type Rule } from "./expr.ts";
import { ANY, FIRST_BLANK } from "./json-text.ts";
import { arrayExpr } from "./schema-array.ts";
import { branchesOf } from "./schema-branches.ts";
import {
  type Branch,
  type Found,
  type Located,
  type SchemaContext,
  schemasOf,
  unsupported,
} from "./schema-context.ts";
import { areDisjoint } from "./schema-disjoint.ts";
import { beside, isObject, KNOWN, type SchemaObject } from "./schema-keywords.ts";
import { numberExpr } from "./schema-number.ts";
import { objectExpr } from "./schema-object.ts";
import { stringExpr } from "./schema-string.ts";
import { described, isSettled, simpleValues, typesOf, valuesOf } from "./schema-values.ts";

/** Work on one schema: so much for each that is compiled or put together, and what strings take. */
const MOST_WORK = 1_000_000;
const SCHEMA_WORK = 50;
/** References to references. */
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
  readonly #waiting: { rule: Rule; schemas: readonly Found[] }[] = [];
  #work = 0;

  constructor(root: unknown, name: string) {
    this.#root = root;
    this.#name = name;
  }

  whole(): Expr {
    if (isDeeper(this.#root, MOST_DEPTH))
      unsupported(this.#name, `must be at most ${MOST_DEPTH} levels deep`);
    const value = this.value([{ schema: this.#root, path: this.#name }]);
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      next.rule.expr = this.#exprOf(next.schemas);
    }
    return { kind: "seq", parts: [FIRST_BLANK, value] };
  }

  value(given: readonly Found[]): Expr {
    const schemas = given.filter(({ schema }) => schema !== true);
    if (schemas.length === 0) return ANY;
    if (schemas.some(({ schema }) => schema === false)) return NEVER;
    // Equal schemas are one rule, wherever they stand.
    const key = JSON.stringify(schemas.map(({ schema }) => schema));
    let rule = this.#rules.get(key);
    if (rule === undefined) {
      rule = { expr: NEVER };
      this.spend(schemas[0].path, SCHEMA_WORK);
      this.#rules.set(key, rule);
      this.#waiting.push({ rule, schemas });
    }
    return call(rule);
  }

  branches(schemas: readonly Found[]): Branch[] {
    return branchesOf(schemas, this);
  }

  #exprOf(schemas: readonly Found[]): Expr {
    this.spend(schemas[0].path, SCHEMA_WORK);
    const shared = schemas.length === 1 ? this.#sharedExpr(schemas[0]) : null;
    return shared ?? alt(...this.branches(schemas).map((branch) => this.#branchExpr(branch)));
  }

  /** A schema that only says which others must hold, so that its rule can be made of theirs; null if it says more. */
  #sharedExpr(found: Found): Expr | null {
    const place = this.expectSchema(found);
    if (typeof place === "boolean") return place ? ANY : NEVER;
    const { schema, path } = place;
    const [keyword, ...others] = Object.keys(beside(schema) ?? {});
    if (others.length > 0) return null;
    if (keyword === "$ref") return this.value([{ schema: this.resolve(schema, path), path }]);
    if (keyword !== "anyOf" && !(keyword === "oneOf" && this.#areDisjoint(place))) return null;
    return alt(...schemasOf(place, keyword).map((way) => this.value([way])));
  }

  /** Whether no value fits two branches of `oneOf`, which then is an `anyOf`. */
  #areDisjoint(place: Located): boolean {
    const ways = schemasOf(place, "oneOf");
    const resolve = (schema: unknown) => this.resolve(schema, place.path);
    return ways.every((one, i) => {
      this.spend(place.path, SCHEMA_WORK);
      return ways.slice(0, i).every((other) => areDisjoint(one.schema, other.schema, resolve));
    });
  }

  #branchExpr(branch: Branch): Expr {
    const values = valuesOf(branch, this);
    if (values !== null) return this.#listedExpr(values, branch);
    const types = typesOf(branch);
    if (types === null) return ANY;
    return alt(...types.map((type) => this.#typed(type, branch)));
  }

  #listedExpr(values: readonly unknown[], branch: Branch): Expr {
    const settled = values.filter((value) => isSettled(value, branch));
    const open = values.filter((value) => !isSettled(value, branch));
    const others = branch.parts.flatMap(({ schema, path }) => ({
      schema: beside(schema, "enum", "const") ?? true,
      path,
    }));
    return alt(
      oneOf(settled.map((value) => JSON.stringify(value))),
      ...open.map((value) => this.value([{ schema: described(value), path: branch.path }, ...others])),
    );
  }

  #typed(type: string, branch: Branch): Expr {
    switch (type) {
      case "object":
        return objectExpr(branch, this);
      case "array":
        return arrayExpr(branch, this);
      case "string":
        return stringExpr(branch, this);
      case "boolean":
      case "null":
        return oneOf(simpleValues(type, branch, this).map((value) => JSON.stringify(value)));
      default:
        return numberExpr(branch, type === "integer", this);
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

  expectSchema({ schema, path }: Found): Located | boolean {
    if (typeof schema === "boolean") return schema;
    if (!isObject(schema)) {
      throw new TypeError(
        `"${path}" must be a JSON schema, got ${quoted(JSON.stringify(schema) ?? "nothing")}`,
      );
    }
    const unknown = Object.keys(schema).find((keyword) => !KNOWN.has(keyword));
    if (unknown !== undefined) unsupported(`${path}.${unknown.slice(0, 40)}`);
    return { schema, path };
  }

  spend(path: string, work: number): void {
    this.#work += work;
    if (this.#work > MOST_WORK) unsupported(path, "is part of a schema that is too large");
  }
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
