/**
 * sum-error: how far sums of weights exp(−a), a = (largest − logit) / T, may be off in f32, relative.
 *
 * A weight is off by WEIGHT_ERROR + ARGUMENT_ERROR · a, and the mean a of n tokens with the mass m is at most ln(n / m): equal
 * weights have it. A sum over a row is off by as many roundings as its longest chain of additions has.
 */
import { log } from "../../math.ts";
import { THREADS } from "./wgsl/task.ts";

/** Of exp, and of sums and products along a list. */
const WEIGHT_ERROR = 1.3e-6;
/** A difference, the inverse of a temperature, and their product: half an ulp each. */
const ARGUMENT_ERROR = 1.8e-7;
/** Above, weights are 0. */
const MOST_ARGUMENT = 88;
/** Half an ulp, and the additions of a part, of joining threads, and of finding a window. */
export const ROUNDING_OF_SUM = 6e-8;
export const LEAST_ADDITIONS = 60;

/** Tokens of a row for each addition of a thread's parts. */
export const TOKENS_PER_ADDITION = 32 * THREADS;

/**
 * Of the two sides of top-p, where they are equal: the tail's mass is (1 − p) / p of the head's then, which is 1 or more.
 *
 * @param p Below 1.
 */
export function massError(p: number, vocab: number): number {
  return weightError(log(vocab) - log(1 - p));
}

/** Of the mass of tokens that are not listed. */
export function restError(rest: number, vocab: number): number {
  const additions = LEAST_ADDITIONS + vocab / TOKENS_PER_ADDITION;
  return ROUNDING_OF_SUM * additions + weightError(log(vocab) - log(rest));
}

function weightError(argument: number): number {
  return WEIGHT_ERROR + ARGUMENT_ERROR * Math.min(MOST_ARGUMENT, argument);
}
