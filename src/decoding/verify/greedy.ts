import { follow } from "./follow.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

/**
 * Temperature 0: the target's best token after each place, while the draft agrees. Rows may also be logits.
 *
 * Every lossless verifier does the same with one-hot target rows; this one needs no probabilities.
 */
export const greedy: Verifier = {
  lossless: true,
  reproducible: true,
  laws: ALL_LAWS,
  shape: "tree",
  siblings: "any",
  decide: (round) =>
    follow(round, (node) => {
      const best = round.math.argmax(round.row(node));
      if (best < 0) throw new RangeError(`Row ${node + 1} of "rows" must have a number above −∞, has none`);
      return best;
    }),
};
