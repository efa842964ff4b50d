/**
 * expected-length: what a draft is worth, from acceptance rates and costs.
 *
 *     E[emitted]  =  1 + α + α² + … + α^γ  =  (1 − α^(γ+1)) / (1 − α)       α: chance that a tested token is accepted
 *     speed-up    =  E[emitted] · c(1) / (c(γ + 1) + d(γ))                  c(n): target call of n tokens, d(γ): draft
 *
 * Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192, theorem
 * 3.8, with a target call whose cost grows with its tokens.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { MAX_GAMMA } from "./drafter.ts";

/** Costs in any one unit. */
export interface Costs {
  /** Cost of a target call of n tokens, n ≥ 1. */
  target(n: number): number;
  /** Cost of drafting gamma tokens. */
  draft(gamma: number): number;
}

/**
 * Tokens a round emits on average, the correction or bonus token included: 1 … gamma + 1.
 *
 * @example
 * ```ts
 * expectedTokens(0.5, 2); // 1.75
 * ```
 */
export function expectedTokens(acceptance: number, gamma: number): number {
  expectNumber("acceptance", acceptance, 0, 1);
  expectInteger("gamma", gamma, 0, MAX_GAMMA);
  let reached = 1;
  let sum = 1;
  for (let i = 0; i < gamma; i++) {
    reached *= acceptance;
    sum += reached;
  }
  return sum;
}

/** How many times faster than plain decoding, below 1 where it is slower. */
export function expectedSpeedup(acceptance: number, gamma: number, costs: Costs): number {
  if (gamma === 0) return 1;
  return (
    (expectedTokens(acceptance, gamma) * costs.target(1)) / (costs.target(gamma + 1) + costs.draft(gamma))
  );
}

/** The draft length from 0 to `cap` with the largest expected speed-up; of equal ones the shortest. */
export function bestDraftLength(acceptance: number, costs: Costs, cap: number): number {
  expectInteger("cap", cap, 0, MAX_GAMMA);
  let best = 0;
  let most = 1;
  for (let gamma = 1; gamma <= cap; gamma++) {
    const speedup = expectedSpeedup(acceptance, gamma, costs);
    if (speedup > most) {
      best = gamma;
      most = speedup;
    }
  }
  return best;
}
