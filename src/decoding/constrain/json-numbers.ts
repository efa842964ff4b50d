/** Numbers within bounds, as JSON writes them: decimal digits compared one by one, exactly. */
import { alt, bytes, type Expr, literal, NEVER, repeat, seq } from "./expr.ts";
import { decimalOf, tenTo } from "./json-multiples.ts";
import { INTEGER, MOST_DIGITS } from "./json-text.ts";

export interface Bounds {
  /** Default: none. */
  readonly min?: number;
  readonly max?: number;
  readonly isMinExcluded?: boolean;
  readonly isMaxExcluded?: boolean;
}

/** Least and most digits behind the point of a number with bounds: two more than they have themselves. */
const DECIMALS = [6, MOST_DIGITS];
const LARGEST = tenTo(MOST_DIGITS) - 1n;

/** Any integers. */
export function integersWithin(bounds: Bounds): Expr {
  const [low, high] = rangeOf(bounds, 0);
  if (low === -LARGEST && high === LARGEST) return INTEGER;
  return digitsWithin(bounds, 0);
}

/** Digits behind the point that are enough for numbers within bounds. */
export function decimalsWithin({ min = 0, max = 0 }: Bounds): number {
  const most = Math.max(decimalOf(min).decimals, decimalOf(max).decimals) + 2;
  return Math.min(Math.max(most, DECIMALS[0]), DECIMALS[1]);
}

/** Numbers with exactly so many digits behind the point. */
export function digitsWithin(bounds: Bounds, decimals: number): Expr {
  return between(...rangeOf(bounds, decimals), decimals);
}

/** The least and the largest integer that, divided by 10^scale, is within the bounds. */
export function rangeOf(
  { min, max, isMinExcluded, isMaxExcluded }: Bounds,
  scale: number,
): [low: bigint, high: bigint] {
  let low = -LARGEST;
  let high = LARGEST;
  if (min !== undefined) {
    const { floor, isExact } = scaledNumber(min, scale);
    const least = isExact && !isMinExcluded ? floor : floor + 1n;
    if (least > low) low = least;
  }
  if (max !== undefined) {
    const { floor, isExact } = scaledNumber(max, scale);
    const most = isExact && isMaxExcluded ? floor - 1n : floor;
    if (most < high) high = most;
  }
  return [low, high];
}

/** value · 10^scale, rounded down. */
function scaledNumber(value: number, scale: number): { floor: bigint; isExact: boolean } {
  const { digits, decimals } = decimalOf(value);
  if (scale >= decimals) return { floor: digits * tenTo(scale - decimals), isExact: true };
  const divisor = tenTo(decimals - scale);
  const rest = ((digits % divisor) + divisor) % divisor;
  return { floor: (digits - rest) / divisor, isExact: rest === 0n };
}

/** low … high, each with the point before its last `decimals` digits. */
function between(low: bigint, high: bigint, decimals: number): Expr {
  if (low > high) return NEVER;
  const negative = low < 0n ? magnitudes(high < 0n ? -high : 1n, -low, decimals) : NEVER;
  const positive = high >= 0n ? magnitudes(low > 0n ? low : 0n, high, decimals) : NEVER;
  return alt(negative === NEVER ? NEVER : seq(literal("-"), negative), positive);
}

function magnitudes(low: bigint, high: bigint, decimals: number): Expr {
  const parts: Expr[] = [];
  for (let length = decimals + 1; ; length++) {
    const least = length === decimals + 1 ? 0n : tenTo(length - 1);
    if (least > high) return alt(...parts);
    const most = tenTo(length) - 1n;
    const from = low > least ? low : least;
    const to = high < most ? high : most;
    if (from > to) continue;
    const [a, b] = [from, to].map((end) => String(end).padStart(length, "0"));
    parts.push(digitsBetween(a, b, length - decimals));
  }
}

/** All texts of as many digits from `a` to `b`, with the point before digit `point`. */
function digitsBetween(a: string, b: string, point: number): Expr {
  if (a === "") return seq();
  const dot = point === 0 ? literal(".") : seq();
  const [rest, otherRest] = [a.slice(1), b.slice(1)];
  const nines = "9".repeat(rest.length);
  const zeros = "0".repeat(rest.length);
  const [first, last] = [a.charCodeAt(0), b.charCodeAt(0)];
  const digit = (from: number, to: number) => bytes(from, to);
  if (first === last) return seq(dot, digit(first, first), digitsBetween(rest, otherRest, point - 1));
  const from = rest === zeros ? first : first + 1;
  const to = otherRest === nines ? last : last - 1;
  const parts: Expr[] = [];
  if (from > first) parts.push(seq(digit(first, first), digitsBetween(rest, nines, point - 1)));
  if (from <= to) parts.push(seq(digit(from, to), anyDigits(rest.length, point - 1)));
  if (to < last) parts.push(seq(digit(last, last), digitsBetween(zeros, otherRest, point - 1)));
  return seq(dot, alt(...parts));
}

function anyDigits(count: number, point: number): Expr {
  const digit = bytes(48, 57);
  if (point < 0 || point >= count) return repeat(digit, count, count);
  return seq(repeat(digit, point, point), literal("."), repeat(digit, count - point, count - point));
}
