import { alt, call, type Expr, maybe, NEVER, type Rule, repeat, seq } from "./expr.ts";
import { ANY_ARRAY, BLANKS, COMMA, enclosed, list } from "./json-text.ts";
import { arrayWith } from "./schema-contains.ts";
import {
  arrayOf,
  type Branch,
  type Found,
  type Located,
  leastOf,
  mostOf,
  type SchemaContext,
} from "./schema-context.ts";
import { arrayWithoutTwins } from "./schema-unique.ts";

/** What is asked of the items of an array. */
export interface Items {
  readonly min: number;
  readonly max: number;
  /** Items that are asked for by their place. */
  readonly own: number;
  /** What an item must be valid under; null: there must be none. */
  at(index: number): Found[] | null;
}

/** An array: items of their own first, then those that are alike. */
export function arrayExpr({ parts }: Branch, context: SchemaContext): Expr {
  const items = itemsOf(parts);
  const { min, own, at } = items;
  let { max } = items;
  for (let i = 0; i <= Math.min(own, max); i++) if (at(i) === null) max = i;
  if (max < min) return NEVER;
  const contains = parts.filter(({ schema }) => schema.contains !== undefined);
  const unique = parts.find(({ schema }) => schema.uniqueItems === true);
  if (unique !== undefined && max > 1)
    return arrayWithoutTwins({ ...items, max }, contains, unique.path, context);
  if (contains.length > 0) return arrayWith({ ...items, max }, contains, context);
  const rest = max > own ? at(own)! : [];
  if (own === 0 && rest.length === 0 && min === 0 && max === Infinity) return ANY_ARRAY;
  const item = context.value(rest);
  if (own === 0) return enclosed("[", item === NEVER && min > 0 ? NEVER : list(item, min, max), "]");

  const left = Math.max(0, min - own);
  let tail = max > own ? seq(repeat(seq(COMMA, item), left, max - own), BLANKS) : BLANKS;
  for (let i = Math.min(own, max) - 1; i >= 0; i--) {
    const behind: Rule = { expr: tail };
    const here = seq(...(i > 0 ? [COMMA] : []), context.value(at(i)!), call(behind));
    tail = i < min ? here : i > 0 ? alt(here, BLANKS) : maybe(here);
  }
  return enclosed("[", tail, "]");
}

/** Of all parts together. What is not said may be anything, and is left out behind items of their own unless there must be more. */
function itemsOf(parts: readonly Located[]): Items {
  const min = leastOf(parts, "minItems");
  const max = mostOf(parts, "maxItems");
  const groups = parts.map((part) => {
    // Draft 7 calls them so.
    const isTuple = Array.isArray(part.schema.items);
    const [ownName, restName] = isTuple ? ["items", "additionalItems"] : ["prefixItems", "items"];
    const own = (arrayOf(part, ownName) ?? []).map((schema, i) => ({
      schema,
      path: `${part.path}.${ownName}[${i}]`,
    }));
    const rest = part.schema[restName];
    return { own, rest: rest === undefined ? [] : [{ schema: rest, path: `${part.path}.${restName}` }] };
  });
  const own = Math.max(0, ...groups.map((group) => group.own.length));
  const hasMore = min > own || parts.some(({ schema }) => schema.contains !== undefined);
  const isSaid = own === 0 || hasMore || groups.some(({ rest }) => rest.length > 0);
  const at = (index: number) => {
    if (index >= own && !isSaid) return null;
    const found = groups.flatMap((group) => group.own[index] ?? group.rest);
    return found.some(({ schema }) => schema === false) ? null : found;
  };
  return { min, max, own, at };
}
