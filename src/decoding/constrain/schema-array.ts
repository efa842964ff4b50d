import { call, EMPTY, type Expr, maybe, NEVER, type Rule, repeat, seq } from "./expr.ts";
import { ANY_ARRAY, COMMA, enclosed, list } from "./json-text.ts";
import { arrayOf, countOf, type Located, type SchemaContext, unsupported } from "./schema-context.ts";

/** An array: items of their own first, then those that are alike. */
export function arrayExpr(place: Located, context: SchemaContext): Expr {
  const { schema, path } = place;
  const min = countOf(place, "minItems", 0);
  const max = countOf(place, "maxItems", Infinity);
  if (max < min) return NEVER;
  if (schema.uniqueItems === true && max > 1) unsupported(`${path}.uniqueItems`);
  // Draft 7 calls them so.
  const isTuple = Array.isArray(schema.items);
  const prefixName = isTuple ? "items" : "prefixItems";
  const restName = isTuple ? "additionalItems" : "items";
  const prefix = (arrayOf(place, prefixName) ?? []).slice(0, max);
  const rest = schema[restName];
  if (prefix.length === 0 && rest === undefined && min === 0 && max === Infinity) return ANY_ARRAY;
  // What is not said may be anything, and is left out behind items of their own unless there must be more.
  const hasRest = rest !== undefined ? rest !== false : prefix.length === 0 || min > prefix.length;
  const item = hasRest ? context.value(rest ?? true, `${path}.${restName}`) : NEVER;
  const left = Math.max(0, min - prefix.length);
  if (prefix.length === 0)
    return enclosed("[", hasRest ? list(item, left, max) : left > 0 ? NEVER : EMPTY, "]");

  let tail = hasRest ? repeat(seq(COMMA, item), left, max - prefix.length) : left > 0 ? NEVER : EMPTY;
  for (let i = prefix.length - 1; i >= 0; i--) {
    const own = context.value(prefix[i], `${path}.${prefixName}[${i}]`);
    const behind: Rule = { expr: tail };
    const here = seq(...(i > 0 ? [COMMA] : []), own, call(behind));
    tail = i < min ? here : maybe(here);
  }
  return enclosed("[", tail, "]");
}
