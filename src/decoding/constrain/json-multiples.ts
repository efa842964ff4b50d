/** Multiples of a number among texts of digits, exactly: the remainder is the state of an automaton. */
import type { Graph } from "./expr.ts";

/** Of an automaton before it is made small. */
const MOST_STATES = 5000n;
const [MINUS, POINT, ZERO] = [0x2d, 0x2e, 0x30];

/** A decimal number as digits / 10^decimals, without trailing zeros. */
export interface Decimal {
  readonly digits: bigint;
  readonly decimals: number;
}

export function decimalOf(value: number): Decimal {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(
    String(value),
  )!;
  const digits = BigInt(sign + whole + fraction);
  const decimals = fraction.length - Number(exponent);
  return decimals >= 0 ? { digits, decimals } : { digits: digits * tenTo(-decimals), decimals: 0 };
}

/** What the digits of numbers with `decimals` decimals must be a multiple of, so that the numbers are one of `factor`. */
export function divisorOf({ digits, decimals: own }: Decimal, decimals: number): bigint {
  const divisor = digits * tenTo(decimals);
  return divisor / gcd(divisor, tenTo(own));
}

export function isMultiple(value: Decimal, factor: Decimal): boolean {
  return value.digits % divisorOf(factor, value.decimals) === 0n;
}

/** Numbers whose digits, read without sign and point, are a multiple of `divisor`; null if it is too large. */
export function multiplesOf(divisor: bigint): Graph | null {
  let zeros = 0;
  let rest = divisor;
  for (; rest % 10n === 0n; rest /= 10n) zeros++;
  if (rest * BigInt(zeros + 1) > MOST_STATES) return null;
  const size = Number(rest);
  const width = zeros + 1;
  // A state is the remainder of the digits without the zeros at their end, and how many more of these are needed.
  const next = (state: number, digit: number) => {
    const [remainder, needed] = [Math.floor(state / width), state % width];
    if (digit === 0) return needed > 0 ? state - 1 : ((remainder * 10) % size) * width;
    let shifted = remainder;
    for (let i = needed; i <= zeros; i++) shifted = (shifted * 10) % size;
    return ((shifted + digit) % size) * width + zeros;
  };
  return smallest(size * width, next);
}

/** Moore 1956: states stay together as long as no digit tells them apart. It begins in state 0, and only ends there. */
function smallest(states: number, next: (state: number, digit: number) => number): Graph {
  const table = Int32Array.from({ length: 10 * states }, (_, i) => next(Math.floor(i / 10), i % 10));
  let classes = Int32Array.from({ length: states }, (_, state) => (state === 0 ? 0 : 1));
  for (let count = 0; ; ) {
    const ids = new Map<string, number>();
    const finer = classes.map((own, state) => {
      let key = `${own}`;
      for (let digit = 0; digit < 10; digit++) key += ` ${classes[table[10 * state + digit]]}`;
      const id = ids.get(key) ?? ids.size;
      ids.set(key, id);
      return id;
    });
    classes = finer;
    if (ids.size === count) break;
    count = ids.size;
  }
  const edges: [number, number, number, number][] = [];
  const made = new Set<number>();
  for (const [state, from] of classes.entries()) {
    if (made.has(from)) continue;
    made.add(from);
    edges.push([from, MINUS, POINT, from]);
    for (let digit = 0; digit < 10; digit++) {
      edges.push([from, ZERO + digit, ZERO + digit, classes[table[10 * state + digit]]]);
    }
  }
  return { states: made.size, edges, finals: [0] };
}

export function tenTo(power: number): bigint {
  return BigInt(`1${"0".repeat(power)}`);
}

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}
