import { expect } from "vitest";
import {
  evaluatePlan,
  type FuseContext,
  type FusePresetName,
  type Plan,
  type RowsByName,
} from "../../../src/decoding/fuse.ts";
import { createRandom, type Random } from "../../support/random.ts";

/** Logits that are logarithms; the weights need not sum to 1. */
export const ln = (...weights: number[]): Float64Array => Float64Array.from(weights, Math.log);

export function softmax(row: ArrayLike<number>): number[] {
  const values = Array.from(row);
  const top = Math.max(...values);
  const weights = values.map((z) => Math.exp(z - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Probabilities of what a plan makes of rows. */
export function lawOf(plan: Plan, rows: RowsByName, context?: FuseContext): number[] {
  return softmax(evaluatePlan(plan, rows, context).row);
}

/** Golden values are rounded to ten digits; exact ones are held to 1e-12. */
export const ROUNDED = 6e-11;
export const EXACT = 1e-12;

export function expectClose(
  actual: ArrayLike<number>,
  expected: readonly number[],
  tolerance = ROUNDED,
): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, index) => {
    const got = actual[index];
    const near = got === value || Math.abs(got - value) <= tolerance;
    expect(near, `[${index}]: ${got} for ${value}`).toBe(true);
  });
}

export const share = (...weights: number[]): number[] => {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};

/** What presets cannot do without: numbers per class, of two classes. */
export function neededOptions(name: FusePresetName): object {
  if (name === "margin" || name === "logit-adjustment") return { counts: [1, 2] };
  return name === "margin-calibration" ? { scales: [1, 2], shifts: [0, 1] } : {};
}

export function randomRow(random: Random, vocab: number, spread = 3): Float64Array {
  return Float64Array.from({ length: vocab }, () => random.normal() * spread);
}

export { createRandom };
