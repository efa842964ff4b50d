import { probability } from "../../backend/row-math.ts";
import { expectNumber } from "../../errors.ts";
import { chainOf, ROOT } from "./tree.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

export interface ReverseOptions {
  /** Least probability in the student's eyes, from 0 to 1. */
  readonly threshold: number;
}

/**
 * Lossy: reverse speculative decoding. A teacher drafts; the student, whose rows are the target's here, keeps what it
 * finds likely enough and speaks for itself at the first token that it does not.
 *
 *     accept x if p(x) ≥ threshold;   else draw from p
 *
 * Makes training text that a small model can follow; it is not an accelerator, and has neither model's law.
 *
 * Source: Kim et al. 2025, arXiv:2509.22230.
 */
export const reverse: Verifier<ReverseOptions> = {
  lossless: false,
  reproducible: false,
  laws: ALL_LAWS,
  shape: "chain",
  siblings: "any",
  decide(round, { threshold }) {
    expectNumber("policy.threshold", threshold, 0, 1);
    const path: number[] = [];
    let last = ROOT;
    for (const node of chainOf(round.tree)) {
      const p = probability(round.target(last), round.tree.tokens[node]);
      if (p === 0 || p < threshold) break;
      path.push(node);
      last = node;
    }
    return round.draw(path, round.target(last));
  },
};
