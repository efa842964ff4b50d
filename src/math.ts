/**
 * exp, log, sin and cos of f64 that give the same bits in every engine.
 *
 * Math.exp and its kin may differ in the last bit from one engine, or one version of it, to the next; what reaches a
 * row or a token must not. These use + − * / alone, which IEEE 754 fixes, and Math.round, which is exact.
 *
 *     exp(x)  =  2^n · (1 + r + r²/2! + …)              n = round(x / ln 2),  r = x − n·ln 2
 *     log(x)  =  e·ln 2 + 2·(s + s³/3 + s⁵/5 + …)       x = 2^e · m,  s = (m − 1)/(m + 1)
 *     sin(x)  =  ±sin r or ±cos r, by n mod 4           n = round(x / (π/2)),  r = x − n·π/2 in [−π/4, π/4]
 *
 * Accuracy  below 1 ulp, subnormal results included. The constants that are multiplied by n come in parts, each with
 *           so few bits that its products are exact (Cody and Waite); the series end where terms fall below 2^-60.
 * Cost      some tens of nanoseconds.
 */
import { expectNumber } from "./errors.ts";

/** ln 2: the first 32 bits, and the rest. */
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/** From here on exp overflows, and below that it is nearer to 0 than to the least subnormal. */
const EXP_OVERFLOW = 709.782712893384;
const EXP_UNDERFLOW = -745.1332191019412;

/** 2^-1022, and what lifts anything below it into the normal range. */
const LEAST_NORMAL = 2.2250738585072014e-308;
const TWO_TO_54 = 18014398509481984;

/** 1/13!, 1/12!, …, 1/2!; as names, which `expReduced` reads quicker than elements. */
const [E13, E12, E11, E10, E9, E8, E7, E6, E5, E4, E3, E2] = inverseFactorials(13, 2, 1);
/** 2/21, 2/19, …, 2/3 */
const LOG_TERMS = Array.from({ length: 10 }, (_, i) => 2 / (21 - 2 * i));
/** 1/17!, −1/15!, …, −1/3! and 1/16!, −1/14!, …, 1/4! with the signs of the series. */
const SIN_TERMS = inverseFactorials(17, 3, 2).map((term, i) => (i % 2 === 0 ? term : -term));
const COS_TERMS = inverseFactorials(16, 4, 2).map((term, i) => (i % 2 === 0 ? term : -term));

const TWO_OVER_PI = 0.6366197723675814;
/** π/2 in three parts of 27 bits and a rest: 134 bits. */
const HALF_PI = [1.570796325802803, 9.920935739593517e-10, 5.721188709663575e-18, 1.6446256936324258e-26];
/** As far as n has at most 26 bits. */
const TRIG_LIMIT = 1e8;

const word = new DataView(new ArrayBuffer(8));

/** e^x. NaN gives NaN. */
export function exp(x: number): number {
  if (x > EXP_OVERFLOW) return Infinity;
  if (x < EXP_UNDERFLOW) return 0;
  if (Number.isNaN(x)) return x;
  const n = Math.round(x * Math.LOG2E);
  const fraction = expReduced(x, n);
  // In two steps, as neither 2^1024 nor 2^-1075 is a number; the first is exact, so that the second alone rounds.
  const half = n >> 1;
  return fraction * powerOfTwo(half) * powerOfTwo(n - half);
}

/** exp(x) / 2^n */
function expReduced(x: number, n: number): number {
  const high = x - n * LN2_HIGH;
  const low = n * LN2_LOW;
  const r = high - low;
  const lost = high - r - low;
  const upper = ((((((E13 * r + E12) * r + E11) * r + E10) * r + E9) * r + E8) * r + E7) * r + E6;
  const tail = (((upper * r + E5) * r + E4) * r + E3) * r + E2;
  return 1 + (r + (r * r * tail + lost));
}

/** Natural logarithm: −∞ of 0, NaN below and of NaN. */
export function log(x: number): number {
  if (!(x > 0)) return x === 0 ? -Infinity : NaN;
  if (x === Infinity) return x;
  const subnormal = x < LEAST_NORMAL;
  word.setFloat64(0, subnormal ? x * TWO_TO_54 : x);
  const upper = word.getUint32(0);
  let exponent = (upper >>> 20) - 1023 - (subnormal ? 54 : 0);
  word.setUint32(0, (upper & 0xfffff) | 0x3ff00000);
  let m = word.getFloat64(0);
  if (m > Math.SQRT2) {
    m *= 0.5;
    exponent += 1;
  }
  // 2s = f − s·f, and s·f = f²/2 − s·f²/2: the largest summand is f itself, which is exact.
  const f = m - 1;
  const s = f / (m + 1);
  const square = s * s;
  const halfSquare = 0.5 * f * f;
  const tail = s * (halfSquare + square * horner(LOG_TERMS, square)) + exponent * LN2_LOW;
  return exponent * LN2_HIGH - (halfSquare - tail - f);
}

/** @throws {RangeError} If |x| is not at most 1e8. */
export function sin(x: number): number {
  return sinOfQuadrant(x, 0);
}

/** @throws {RangeError} If |x| is not at most 1e8. */
export function cos(x: number): number {
  return sinOfQuadrant(x, 1);
}

/** sin(x + quadrant · π/2) */
function sinOfQuadrant(x: number, quadrant: number): number {
  expectNumber("x", x, -TRIG_LIMIT, TRIG_LIMIT);
  const n = Math.round(x * TWO_OVER_PI);
  // r + lost = x − n·π/2: near multiples of π/2 most of x cancels, so each step keeps what its rounding lost.
  let r = x;
  let lost = 0;
  for (const part of HALF_PI) {
    const product = n * part;
    const next = r - product;
    const taken = r - next;
    lost += r - (next + taken) + (taken - product);
    r = next;
  }
  const high = r + lost;
  const low = r - high + lost;
  const turn = (n + quadrant) & 3;
  const value = turn & 1 ? cosOfSum(high, low) : sinOfSum(high, low);
  return turn & 2 ? -value : value;
}

/** sin(high + low), to first order in low. */
function sinOfSum(high: number, low: number): number {
  const square = high * high;
  return high + (high * square * horner(SIN_TERMS, square) + low * (1 - 0.5 * square));
}

/** cos(high + low), to first order in low. */
function cosOfSum(high: number, low: number): number {
  const square = high * high;
  const halfSquare = 0.5 * square;
  const first = 1 - halfSquare;
  return first + (1 - first - halfSquare + (square * square * horner(COS_TERMS, square) - high * low));
}

/** Σ terms[i] · x^(terms.length − 1 − i) */
function horner(terms: readonly number[], x: number): number {
  let sum = terms[0];
  for (let i = 1; i < terms.length; i++) sum = sum * x + terms[i];
  return sum;
}

/** 1/first!, 1/(first − step)!, …, 1/last! The factorials are exact, up to 18!. */
function inverseFactorials(first: number, last: number, step: number): number[] {
  const terms: number[] = [];
  for (let n = first; n >= last; n -= step) {
    let factorial = 1;
    for (let k = 2; k <= n; k++) factorial *= k;
    terms.push(1 / factorial);
  }
  return terms;
}

/** 2^n for −1022 ≤ n ≤ 1023. */
function powerOfTwo(n: number): number {
  word.setUint32(0, (n + 1023) << 20);
  word.setUint32(4, 0);
  return word.getFloat64(0);
}
