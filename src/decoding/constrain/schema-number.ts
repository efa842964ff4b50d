import { alt, type Expr, literal, oneOf } from "./expr.ts";
import { type Decimal, decimalOf, divisorOf, isMultiple, multiplesOf } from "./json-multiples.ts";
import { type Bounds, decimalsWithin, digitsWithin, integersWithin, rangeOf } from "./json-numbers.ts";
import { NUMBER } from "./json-text.ts";
import { both, without } from "./product.ts";
import { type Branch, type Located, numberOf, type SchemaContext, unsupported } from "./schema-context.ts";

/** Integers that are listed, or written one by one. */
const MOST_LISTED = 1000;

/** Formats of numbers that say no more than their type; int32 has bounds. */
const NUMBER_FORMATS = ["int32", "int64", "float", "double"];

/** What a branch asks of a number. */
interface NumberRules {
  readonly bounds: Bounds;
  readonly factors: readonly { readonly factor: Decimal; readonly path: string }[];
  /** What it must be no multiple of. */
  readonly others: readonly { readonly factor: Decimal; readonly path: string }[];
  readonly excluded: readonly { readonly value: Decimal; readonly path: string }[];
}

/**
 * A number, or an integer, within bounds. Where more than nothing is asked for, it has no exponent, and is one of the
 * decimals exactly: 0.3 is a multiple of 0.1.
 */
export function numberExpr(branch: Branch, isInteger: boolean, context: SchemaContext): Expr {
  const rules = rulesOf(branch);
  const { bounds, factors, others, excluded } = rules;
  const isBare = factors.length + others.length + excluded.length === 0;
  if (isInteger) return isBare ? integersWithin(bounds) : scaleExpr(rules, 0, context);
  if (isBare && bounds.min === undefined && bounds.max === undefined) return NUMBER;
  const most = Math.min(decimalsWithin(bounds), ...factors.map(({ factor }) => factor.decimals));
  return alt(...Array.from({ length: most + 1 }, (_, decimals) => scaleExpr(rules, decimals, context)));
}

/** Those with as many decimals. */
function scaleExpr(rules: NumberRules, decimals: number, context: SchemaContext): Expr {
  const { bounds, factors, others, excluded } = rules;
  let digits = decimals === 0 ? integersWithin(bounds) : digitsWithin(bounds, decimals);
  for (const { factor, path } of factors) {
    const divisor = divisorOf(factor, decimals);
    if (divisor === 1n) continue;
    const graph = multiplesOf(divisor);
    const spend = (work: number) => context.spend(path, work);
    digits =
      graph === null ? listed(rules, decimals, path) : both(digits, { kind: "graph", graph }, path, spend);
    if (graph === null) break;
  }
  for (const { factor, path } of others) {
    const divisor = divisorOf(factor, decimals);
    const graph = multiplesOf(divisor);
    if (graph === null) unsupported(path, `is not supported with a divisor of ${divisor}`);
    digits = without(digits, { kind: "graph", graph }, path, (work) => context.spend(path, work));
  }
  for (const { value, path } of excluded) {
    if (value.decimals > decimals) continue;
    const text = literal(writtenWith(value, decimals));
    digits = without(digits, text, path, (work) => context.spend(path, work));
  }
  return digits;
}

/** Multiples of what is too large for an automaton are few, or too many. */
function listed(rules: NumberRules, decimals: number, path: string): Expr {
  const integers = integersWithinRules(rules);
  if (decimals > 0 || integers === null) {
    unsupported(path, `is not supported with so large a divisor, but for ${MOST_LISTED} integers at most`);
  }
  return oneOf(integers.map(String));
}

/** The integers that a branch allows; null if they are more than some. */
export function integersOf(branch: Branch): number[] | null {
  return integersWithinRules(rulesOf(branch));
}

function integersWithinRules({ bounds, factors }: NumberRules): number[] | null {
  const [low, high] = rangeOf(bounds, 0).map(Number);
  // A multiple of all is one of the largest.
  const step = factors.reduce((most, { factor }) => Math.max(most, Number(divisorOf(factor, 0))), 1);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  if (last - first >= MOST_LISTED) return null;
  const steps = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step || 0);
  return steps.filter((value) => factors.every(({ factor }) => isMultiple(decimalOf(value), factor)));
}

export function numberFits(value: number, branch: Branch): boolean {
  const { bounds, factors, others } = rulesOf(branch);
  const { min = -Infinity, max = Infinity, isMinExcluded, isMaxExcluded } = bounds;
  const exact = decimalOf(value);
  return (
    (isMinExcluded ? value > min : value >= min) &&
    (isMaxExcluded ? value < max : value <= max) &&
    factors.every(({ factor }) => isMultiple(exact, factor)) &&
    !others.some(({ factor }) => isMultiple(exact, factor))
  );
}

function rulesOf({ parts, nots }: Branch): NumberRules {
  let [min, max] = [-Infinity, Infinity];
  let [isMinExcluded, isMaxExcluded] = [false, false];
  const atLeast = (value: number | undefined, isExcluded: boolean) => {
    if (value === undefined || value < min || (value === min && isMinExcluded)) return;
    [min, isMinExcluded] = [value, isExcluded];
  };
  const atMost = (value: number | undefined, isExcluded: boolean) => {
    if (value === undefined || value > max || (value === max && isMaxExcluded)) return;
    [max, isMaxExcluded] = [value, isExcluded];
  };
  for (const part of parts) {
    const { format } = part.schema;
    if (format !== undefined && !NUMBER_FORMATS.includes(format as string))
      unsupported(`${part.path}.format`);
    atLeast(numberOf(part, "minimum"), false);
    atLeast(numberOf(part, "exclusiveMinimum"), true);
    atMost(numberOf(part, "maximum"), false);
    atMost(numberOf(part, "exclusiveMaximum"), true);
    if (format !== "int32") continue;
    atLeast(-(2 ** 31), false);
    atMost(2 ** 31 - 1, false);
  }
  return {
    bounds: {
      ...(min > -Infinity && { min, isMinExcluded }),
      ...(max < Infinity && { max, isMaxExcluded }),
    },
    factors: parts.flatMap(factorOf),
    others: nots.flatMap(factorOf),
    excluded: nots.flatMap(({ schema, path }) =>
      ((schema.enum ?? []) as unknown[])
        .filter((value) => typeof value === "number")
        .map((value) => ({ value: decimalOf(value), path })),
    ),
  };
}

function factorOf(place: Located): { factor: Decimal; path: string }[] {
  const value = numberOf(place, "multipleOf");
  if (value === undefined) return [];
  const path = `${place.path}.multipleOf`;
  if (value <= 0) throw new RangeError(`"${path}" must be above 0, got ${value}`);
  const factor = decimalOf(value);
  if (factor.decimals > 15) throw new RangeError(`"${path}" must have at most 15 decimals, got ${value}`);
  return [{ factor, path }];
}

function writtenWith({ digits, decimals: own }: Decimal, decimals: number): string {
  const sign = digits < 0n ? "-" : "";
  const text = `${digits < 0n ? -digits : digits}${"0".repeat(decimals - own)}`.padStart(decimals + 1, "0");
  const point = text.length - decimals;
  return `${sign}${text.slice(0, point)}${decimals > 0 ? `.${text.slice(point)}` : ""}`;
}
