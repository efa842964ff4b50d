import { expect } from "vitest";
import {
  createPipeline,
  denseProbabilities,
  type Row,
  type SamplingContext,
  type Step,
} from "../../../src/decoding/pipeline.ts";

/** Logits with these probabilities, which need not sum to 1. */
export function rowOf(...probabilities: number[]): Float64Array {
  return Float64Array.from(probabilities, Math.log);
}

export type Where = Partial<SamplingContext>;

export function context(where: Where = {}): SamplingContext {
  return { history: [], promptLength: 0, seed: 1, ...where };
}

/** (vocab) what the steps make of the row. */
export function law(row: Row, steps: readonly Step[], where: Where = {}): number[] {
  const pipeline = createPipeline(steps);
  const state = where.state ?? pipeline.start();
  return Array.from(denseProbabilities(pipeline.distribution(row, context({ ...where, state }))));
}

/** Tokens with a chance. */
export function support(row: Row, steps: readonly Step[], where: Where = {}): number[] {
  return law(row, steps, where).flatMap((p, id) => (p > 0 ? [id] : []));
}

export function expectLaw(actual: readonly number[], expected: readonly number[], tolerance = 1e-5): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((p, id) => {
    if (p === 0) expect(actual[id], `token ${id}`).toBe(0);
    else expect(Math.abs(actual[id] - p), `token ${id}: ${actual[id]} for ${p}`).toBeLessThan(tolerance);
  });
}

/** To sum 1. */
export function normalized(...weights: number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** The first of `order` whose weights together reach the goal; all, should they not. */
export function smallestSet(order: readonly number[], weights: ArrayLike<number>, goal: number): number[] {
  const kept: number[] = [];
  let mass = 0;
  for (const index of order) {
    kept.push(index);
    mass += weights[index];
    if (mass >= goal) break;
  }
  return kept;
}
