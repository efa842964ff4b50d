/**
 * Functions of one number that scores are made of, where the plain formula would overflow or lose its digits.
 *
 *     log1p(x)     ln(1 + x)              log(u)·x/(u − 1), u = 1 + x       Kahan; HP-15C handbook, 1982
 *     expm1(x)     e^x − 1                (u − 1)·x/log(u), u = e^x          the same
 *     softplus(x)  ln(1 + e^x)            max(x, 0) + log1p(e^−|x|)
 *     logCosh(x)   ln cosh x              |x| + log1p(e^−2|x|) − ln 2
 */
import { exp, log } from "../../math.ts";

/** @param x At least −1. */
export function log1p(x: number): number {
  const u = 1 + x;
  if (u === 1) return x;
  if (u === Infinity) return u;
  return log(u) * (x / (u - 1));
}

export function expm1(x: number): number {
  const u = exp(x);
  if (u === 1) return x;
  if (u === 0 || u === Infinity) return u - 1;
  return (u - 1) * (x / log(u));
}

/** −ln σ(−x); 0 of −∞. */
export function softplus(x: number): number {
  return Math.max(x, 0) + log1p(exp(-Math.abs(x)));
}

/** 1 / (1 + e^−x) */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + exp(-x));
  const e = exp(x);
  return e / (1 + e);
}

/** Never below 0. */
export function logCosh(x: number): number {
  const size = Math.abs(x);
  return Math.max(0, size + log1p(exp(-2 * size)) - Math.LN2);
}

/** base^exponent for base ≥ 0, exact for exponents 0 and 1; 0^0 = 1. */
export function power(base: number, exponent: number): number {
  if (exponent === 0) return 1;
  if (exponent === 1) return base;
  return exp(exponent * log(base));
}
