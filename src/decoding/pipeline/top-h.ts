/**
 * Top-H: keeps the most likely tokens for as long as their part of the entropy stays within a share of it.
 *
 *     keep x₁ … x_j, most likely first:  −Σ q ln q  ≤  h · H(q)        q = p among the 100 most likely
 *
 * Sources: Baghaei Potraghloo et al. 2025, arXiv:2509.02510; the limit of 100 is that of Hugging Face.
 */
import { bestFirst, kBest } from "./select.ts";
import type { StepKind } from "./step.ts";

export interface TopHStep {
  step: "top-h";
  /** h, 0 … 1; 0 keeps the best token. */
  h: number;
}

const MOST = 100;

export const topH: StepKind<TopHStep> = {
  read: (fields) => ({ step: "top-h", h: fields.number("h", 0, 1) }),
  apply(candidates, { h }) {
    candidates.pick(kBest(candidates.logits, candidates.count, MOST).sort());
    const weights = candidates.weights();
    const total = candidates.total();
    const surprise = candidates.surprise();
    const best = bestFirst(candidates.logits, candidates.count, MOST);
    let sum = 0;
    const sums = Array.from(best, (index) => {
      sum += (weights[index] / total) * surprise(index);
      return sum;
    });
    const kept = best.filter((_, rank) => rank === 0 || sums[rank] <= h * sum);
    candidates.pick(kept.sort());
  },
};
