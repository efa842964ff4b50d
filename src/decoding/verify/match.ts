import { expectInteger } from "../../errors.ts";
import type { Row } from "../draft.ts";
import { follow } from "./follow.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

export interface MatchOptions {
  /**
   * The sampler of plain decoding: the token at `position`, after the committed text and `emitted`.
   *
   * Called once per emitted token, in order, and never for a place that is not reached, so it may keep state
   * (penalties, grammar, mirostat). `row` is what `rows` holds at `index`, logits or probabilities.
   */
  readonly sample: (row: Row, position: number, emitted: readonly number[], index: number) => number;
}

/**
 * Sample and match: the ordinary sampler speaks, the draft survives for as long as it said the same.
 *
 *     accepts x with probability p(x)
 *
 * As much as any verifier can for a token that was chosen, not drawn (lookup, suffix automaton, greedy draft model).
 * For one that was drawn from q, Σ p·q of the possible Σ min(p, q).
 */
export const match: Verifier<MatchOptions> = {
  lossless: true,
  reproducible: true,
  laws: ALL_LAWS,
  shape: "tree",
  siblings: "any",
  decide(round, { sample }) {
    if (typeof sample !== "function") {
      throw new TypeError(`"policy.sample" must be a function, got ${typeof sample}`);
    }
    return follow(round, (node, path) => {
      const emitted = path.map((accepted) => round.tree.tokens[accepted]);
      const token = sample(round.row(node), round.start + path.length, emitted, node + 1);
      return expectInteger('result of "policy.sample"', token, 0, round.vocab - 1);
    });
  },
};
