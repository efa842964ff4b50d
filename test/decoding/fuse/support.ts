import { expect } from "vitest";
import {
  type LateRowKernels,
  PENDING,
  type Pending,
  type RowKernels,
  type StepKernels,
} from "../../../src/backend/fuse-kernels.ts";
import {
  compilePlan,
  evaluatePlan,
  type FuseContext,
  type Fused,
  type FusePresetName,
  type Plan,
  type Program,
  type RowsByName,
  Step,
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

/** Those that answer at once, or of a device. */
export type AnyKernels = RowKernels<object> | LateRowKernels<object>;

/** An answer, waited for if need be. */
export async function answered<T>(kernels: AnyKernels, question: () => T | Pending): Promise<T> {
  for (;;) {
    const answer = question();
    if (answer !== PENDING) return answer;
    await settle(kernels);
  }
}

/** As `evaluatePlan`, by any kernels. */
export async function evaluateBy(
  kernels: AnyKernels,
  plan: Plan | Program,
  rows: RowsByName,
  context?: FuseContext,
): Promise<Fused> {
  const program = "instructions" in plan ? plan : compilePlan(plan);
  const step = new Step(program, kernels as StepKernels<object>, context);
  try {
    for (;;) {
      step.provide(rows);
      // Says which row is missing.
      if (step.needs.length > 0) return step.finish();
      const fused = step.poll();
      if (fused !== PENDING) return fused;
      if (step.needs.length === 0) await settle(kernels);
    }
  } finally {
    step.close();
  }
}

async function settle(kernels: AnyKernels): Promise<void> {
  if (!("settle" in kernels)) throw new TypeError("Kernels of this process must answer at once");
  await kernels.settle();
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
