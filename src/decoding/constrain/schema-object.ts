import { alt, call, EMPTY, type Expr, literal, NEVER, type Rule, repeat, seq } from "./expr.ts";
import { ANY_OBJECT, BLANKS, COLON, COMMA, enclosed } from "./json-text.ts";
import {
  assertionOf,
  type Branch,
  leastOf,
  mostOf,
  namesOf,
  objectOf,
  type SchemaContext,
  unsupported,
} from "./schema-context.ts";
import { listedNames } from "./schema-names.ts";
import { othersOf, propertyRules } from "./schema-properties.ts";

/** A property, or not; `pair` is its name with its value. */
interface Property {
  readonly pair: Expr;
  readonly isRequired: boolean;
}

const MOST_PROPERTIES = 2000;
const CELL_WORK = 20;

/** An object: its properties in the order of the schema, then others where it says what they are. */
export function objectExpr(branch: Branch, context: SchemaContext): Expr {
  if (assertionOf(branch, "object") === null) return ANY_OBJECT;
  const { parts, path } = branch;
  const min = leastOf(parts, "minProperties");
  const max = mostOf(parts, "maxProperties");
  const rules = parts.flatMap(({ schema, path: at }) =>
    schema.propertyNames === undefined ? [] : [{ schema: schema.propertyNames, path: `${at}.propertyNames` }],
  );
  const listed = rules.length === 0 ? null : listedNames(rules, context);
  const required = new Set(parts.flatMap((part) => namesOf(part, "required")));
  const named = new Set([
    ...parts.flatMap((part) => Object.keys(objectOf(part, "properties"))),
    ...required,
    ...(listed ?? []),
  ]);
  if (named.size > MOST_PROPERTIES) {
    throw new RangeError(`"${path}.properties" must be at most ${MOST_PROPERTIES}, got ${named.size}`);
  }
  const rulesOf = propertyRules(parts, rules, listed, context);
  const properties: Property[] = [];
  for (const name of named) {
    const found = rulesOf(name);
    const value = found === null ? NEVER : context.value(found);
    const isRequired = required.has(name);
    if (value === NEVER && isRequired) return NEVER;
    if (value === NEVER) continue;
    const pair: Rule = { expr: seq(literal(JSON.stringify(name)), COLON, value) };
    properties.push({ pair: call(pair), isRequired });
  }
  // Objects without a word about them may hold anything; beside properties that were named it would only be chance.
  const isFree = properties.length < Math.max(1, min);
  const others = listed !== null ? null : othersOf(parts, rules, [...named], isFree, path, context);
  // Names that nobody gave may be equal, so all of them count as one.
  const sure = properties.length + (others === null ? 0 : 1);
  if (min > sure && others !== null) {
    unsupported(
      `${path}.minProperties`,
      `is not supported above the ${sure} properties that are surely distinct, got ${min}`,
    );
  }
  if (min > sure) return NEVER;
  return enclosed(
    "{",
    counted(properties, others, min, max, (work) => context.spend(path, work)),
    "}",
  );
}

/** A rule for each property that may be next, with how many are there, as far as it matters. */
function counted(
  properties: readonly Property[],
  others: Expr | null,
  min: number,
  max: number,
  spend: (work: number) => void,
): Expr {
  const isLimited = max < properties.length || (others !== null && max < Infinity);
  const highest = Math.min(isLimited ? max : Math.max(1, min), properties.length);
  /** What may stand behind the named ones. */
  const behind = (count: number): Expr => {
    const least = Math.max(0, min - count);
    if (others === null || max <= count) return least > 0 ? NEVER : count > 0 ? BLANKS : EMPTY;
    if (least > 1) return NEVER;
    if (count > 0) return seq(repeat(seq(COMMA, others), least, max - count), BLANKS);
    const some = seq(others, repeat(seq(COMMA, others), 0, max - 1), BLANKS);
    return least > 0 ? some : alt(EMPTY, some);
  };
  let next = Array.from({ length: highest + 1 }, (_, count): Rule => ({ expr: behind(count) }));
  for (const { pair, isRequired } of [...properties].reverse()) {
    spend(CELL_WORK * next.length);
    const following = next;
    next = following.map((skipped, count): Rule => {
      const isFull = isLimited && count === max;
      const after = call(following[Math.min(count + 1, highest)]);
      const here = isFull ? NEVER : seq(...(count > 0 ? [COMMA] : []), pair, after);
      return { expr: isRequired ? here : alt(here, call(skipped)) };
    });
  }
  return call(next[0]);
}
