/** Names of properties: which of them a pattern or `propertyNames` is about. */
import { alt, type Expr } from "./expr.ts";
import { matcherOf } from "./product.ts";
import type { Found, SchemaContext } from "./schema-context.ts";
import { matchesOf, stringContent } from "./schema-string.ts";
import { finiteValues, typesOf } from "./schema-values.ts";

/** A name as it stands between its quotation marks. */
export function contentOf(name: string): string {
  return JSON.stringify(name).slice(1, -1);
}

export function nameMatcher(
  pattern: string,
  path: string,
  context: SchemaContext,
): (name: string) => boolean {
  const matches = matcherOf(matchesOf(pattern, path, context), path);
  return (name) => matches(contentOf(name));
}

/** The names that are valid under some schemas, as a list; null if they are told in another way. */
export function listedNames(schemas: readonly Found[], context: SchemaContext): string[] | null {
  const values = finiteValues(schemas, context);
  return values === null ? null : values.filter((name) => typeof name === "string");
}

/** The names that are valid under some schemas, as an expression; null: all. */
export function validNames(schemas: readonly Found[], context: SchemaContext): Expr | null {
  const texts = context.branches(schemas).filter((branch) => typesOf(branch)?.includes("string") ?? true);
  const contents = texts.map((branch) => stringContent(branch, context));
  return contents.includes(null) ? null : alt(...(contents as Expr[]));
}

export function namesMatcher(schemas: readonly Found[], context: SchemaContext): (name: string) => boolean {
  const listed = listedNames(schemas, context);
  if (listed !== null) return (name) => listed.includes(name);
  const valid = validNames(schemas, context);
  if (valid === null) return () => true;
  const matches = matcherOf(valid, schemas[0].path);
  return (name) => matches(contentOf(name));
}
