/** Arithmetic of values: total, but for NaN, which its caller refuses. */
import { exp, log } from "../../math.ts";
import type { Operation } from "./plan.ts";

export const CALCULATIONS: Readonly<Record<Operation, (operands: readonly number[]) => number>> = {
  add: (operands) => operands.reduce((sum, operand) => sum + operand),
  mul: (operands) => operands.reduce((product, operand) => product * operand),
  min: (operands) => operands.reduce((least, operand) => Math.min(least, operand)),
  max: (operands) => operands.reduce((most, operand) => Math.max(most, operand)),
  argmax: (operands) =>
    operands.reduce((best, operand, index) => (operand > operands[best] ? index : best), 0),
  sub: ([a, b]) => a - b,
  div: ([a, b]) => a / b,
  pow: ([base, exponent]) => power(base, exponent),
  less: ([a, b]) => (a < b ? 1 : 0),
  exp: ([x]) => exp(x),
  log: ([x]) => log(x),
  sigmoid: ([x]) => sigmoid(x),
};

/** By exp and log, so the same everywhere; NaN of a base below 0. */
function power(base: number, exponent: number): number {
  if (exponent === 0) return 1;
  return exp(exponent * log(base));
}

function sigmoid(x: number): number {
  // The exponent never above 0, so nothing overflows.
  const e = exp(-Math.abs(x));
  return (x >= 0 ? 1 : e) / (1 + e);
}
