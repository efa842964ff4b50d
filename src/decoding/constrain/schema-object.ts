import { alt, call, EMPTY, type Expr, literal, maybe, NEVER, oneOf, type Rule, repeat, seq } from "./expr.ts";
import { COLON, COMMA, enclosed, KEY_CONTENT, list, quoted } from "./json-text.ts";
import { without } from "./product.ts";
import {
  arrayOf,
  countOf,
  isObject,
  type Located,
  objectOf,
  type SchemaContext,
  unsupported,
} from "./schema-context.ts";
import { stringExpr } from "./schema-string.ts";

interface Property {
  readonly pair: Expr;
  readonly isRequired: boolean;
}

const MOST_PROPERTIES = 2000;

/** An object: its properties in the order of the schema, then others where `additionalProperties` is given. */
export function objectExpr(place: Located, context: SchemaContext): Expr {
  const { path } = place;
  const min = countOf(place, "minProperties", 0);
  const max = countOf(place, "maxProperties", Infinity);
  const properties = propertiesOf(place, context);
  const required = properties.filter(({ isRequired }) => isRequired).length;
  const others = othersOf(place, context);
  if (max < min || required > max) return NEVER;
  if (min > Math.max(1, required)) {
    unsupported(
      `${path}.minProperties`,
      `must be at most 1 or the ${required} that are required, got ${min}`,
    );
  }
  if (properties.length === 0) {
    if (others === null) return enclosed("{", min > 0 ? NEVER : EMPTY, "}");
    return enclosed("{", list(others, min, max), "}");
  }
  if (max < properties.length) {
    unsupported(`${path}.maxProperties`, `must be at least the ${properties.length} properties, got ${max}`);
  }
  const room = max - properties.length;
  const rest = others === null ? EMPTY : repeat(seq(COMMA, others), 0, room);
  const alone = others === null || room === 0 ? NEVER : list(others, 1, room);
  return enclosed("{", inOrder(properties, rest, min > 0 ? alone : maybe(alone)), "}");
}

/**
 * Each of the required ones, and any of the others.
 *
 * @param rest What may follow them. @param alone What may stand there if none of them does.
 */
function inOrder(properties: readonly Property[], rest: Expr, alone: Expr): Expr {
  /** Behind the first that is there, and where none was there yet. */
  let behind: Rule = { expr: rest };
  let first = alone;
  for (const { pair, isRequired } of [...properties].reverse()) {
    const here = seq(pair, call(behind));
    first = isRequired ? here : alt(here, first);
    const following = seq(COMMA, pair);
    behind = { expr: seq(isRequired ? following : maybe(following), call(behind)) };
  }
  return first;
}

function propertiesOf(place: Located, context: SchemaContext): Property[] {
  const { schema, path } = place;
  const properties = objectOf(place, "properties");
  const required = arrayOf(place, "required") ?? [];
  for (const name of required) {
    if (typeof name !== "string") throw new TypeError(`"${path}.required" must be an array of texts`);
  }
  const names = namesOf(place, context);
  const others = schema.additionalProperties ?? true;
  const all = new Set([...Object.keys(properties), ...(required as string[]), ...(names ?? [])]);
  if (all.size > MOST_PROPERTIES) {
    throw new RangeError(`"${path}.properties" must be at most ${MOST_PROPERTIES}, got ${all.size}`);
  }
  const list: Property[] = [];
  for (const name of all) {
    const isOwn = Object.hasOwn(properties, name);
    const isForbidden = names !== null && !names.includes(name);
    const allowed = isForbidden ? false : isOwn ? properties[name] : others;
    const where = isOwn ? `${path}.properties.${name.slice(0, 40)}` : `${path}.additionalProperties`;
    const value = allowed === false ? NEVER : context.value(allowed, where);
    const isRequired = required.includes(name);
    if (value === NEVER && !isRequired) continue;
    list.push({ pair: seq(literal(JSON.stringify(name)), COLON, value), isRequired });
  }
  return list;
}

/** The names that `propertyNames` lists; null if it lists none. */
function namesOf({ schema, path }: Located, context: SchemaContext): string[] | null {
  if (schema.propertyNames === undefined) return null;
  const names = context.resolve(schema.propertyNames, `${path}.propertyNames`);
  if (!isObject(names)) return names === false ? [] : null;
  const listed = names.enum ?? (names.const === undefined ? undefined : [names.const]);
  if (!Array.isArray(listed)) return null;
  return listed.filter((name): name is string => typeof name === "string");
}

/** A property that has no schema of its own, with its name; null if there must be none. */
function othersOf(place: Located, context: SchemaContext): Expr | null {
  const { schema, path } = place;
  const own = Object.keys(objectOf(place, "properties"));
  const names = [...new Set([...own, ...((schema.required ?? []) as string[])])];
  const others = schema.additionalProperties;
  if (others === false || namesOf(place, context) !== null) return null;
  // Objects without a word about them may hold anything; beside properties that were named it would only be chance.
  if (others === undefined && names.length > 0) return null;
  const rule = context.resolve(schema.propertyNames ?? true, `${path}.propertyNames`);
  const isPlain = !isObject(rule) || Object.keys(rule).every((keyword) => keyword === "type");
  const value = context.value(others ?? true, `${path}.additionalProperties`);
  if (!isPlain) {
    if (names.length > 0) unsupported(`${path}.propertyNames`, "is not supported beside properties");
    return seq(stringExpr({ schema: rule, path: `${path}.propertyNames` }, context), COLON, value);
  }
  const spend = (work: number) => context.spend(path, work);
  const key = names.length > 0 ? without(KEY_CONTENT, oneOf(names.map(contentOf)), path, spend) : KEY_CONTENT;
  return seq(quoted(key), COLON, value);
}

function contentOf(name: string): string {
  return JSON.stringify(name).slice(1, -1);
}
