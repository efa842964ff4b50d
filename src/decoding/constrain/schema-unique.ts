import { alt, call, EMPTY, type Expr, literal, NEVER, type Rule, seq } from "./expr.ts";
import { BLANKS, COMMA, enclosed } from "./json-text.ts";
import type { Items } from "./schema-array.ts";
import { type Located, type SchemaContext, unsupported } from "./schema-context.ts";
import { finiteValues } from "./schema-values.ts";

/** Up to so many values come in any order; more of them in the order of the schema. */
export const MOST_IN_ANY_ORDER = 8;
const MOST_VALUES = 500;
const CELL_WORK = 20;

/** An array without two equal items: each of the values that an item may have, or not. */
export function arrayWithoutTwins(
  { min, max, own, at }: Items,
  contains: readonly Located[],
  place: string,
  context: SchemaContext,
): Expr {
  const path = `${place}.uniqueItems`;
  if (own > 0 || contains.length > 0)
    unsupported(path, 'is not supported beside "prefixItems" or "contains"');
  const values = finiteValues(at(0)!, context);
  if (values === null || values.length > MOST_VALUES) {
    unsupported(
      path,
      `is not supported but for items of at most ${MOST_VALUES} values, such as those of an "enum"`,
    );
  }
  if (values.length < min) return NEVER;
  const most = Math.min(max, values.length);
  const items = values.map((value) => call({ expr: literal(JSON.stringify(value)) }));
  const spend = () => context.spend(path, CELL_WORK);
  const content = items.length > MOST_IN_ANY_ORDER ? ordered : inAnyOrder;
  return enclosed("[", content(items, min, most, spend), "]");
}

/** A rule for each set of values that are there. */
function inAnyOrder(items: readonly Expr[], min: number, max: number, spend: () => void): Expr {
  const rules: Rule[] = [];
  const behind = (taken: number, count: number): Expr => {
    if (rules[taken] === undefined) {
      spend();
      rules[taken] = { expr: NEVER };
      const comma = count > 0 ? [COMMA] : [];
      const next = items.map((item, i) =>
        count < max && (taken & (1 << i)) === 0
          ? seq(...comma, item, behind(taken | (1 << i), count + 1))
          : NEVER,
      );
      rules[taken].expr = alt(count >= min ? (count > 0 ? BLANKS : EMPTY) : NEVER, ...next);
    }
    return call(rules[taken]);
  };
  return behind(0, 0);
}

/** A rule for each value that may be next, with how many are there. */
function ordered(items: readonly Expr[], min: number, max: number, spend: () => void): Expr {
  const highest = max < items.length ? max : Math.max(1, min);
  const rules = new Map<number, Rule>();
  const from = (index: number, count: number): Expr => {
    const end = count >= min ? (count > 0 ? BLANKS : EMPTY) : NEVER;
    if (index === items.length || count === max) return end;
    const key = index * (highest + 1) + count;
    let rule = rules.get(key);
    if (rule === undefined) {
      spend();
      rule = { expr: NEVER };
      rules.set(key, rule);
      const comma = count > 0 ? [COMMA] : [];
      const taken = seq(...comma, items[index], from(index + 1, Math.min(count + 1, highest)));
      rule.expr = alt(taken, from(index + 1, count));
    }
    return call(rule);
  };
  return from(0, 0);
}
