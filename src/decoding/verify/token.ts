import { probability } from "../../backend/row-math.ts";
import type { Round } from "./round.ts";
import { chainOf, ROOT } from "./tree.ts";
import type { Verdict } from "./types.ts";
import type { Verifier } from "./verifier.ts";

/**
 * Token verification, the original rule.
 *
 *     accept x with probability min(1, p(x)/q(x));   after the first rejection draw from norm((p − q)+)
 *
 * Accepts Σ min(p, q) at each place, the most possible for one token there. A chosen token (one-hot) is accepted with
 * probability p(x), and corrected from p without x.
 *
 * Source: Leviathan et al. 2022, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318.
 */
export const token: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["one-hot", "scalars", "rows"],
  shape: "chain",
  siblings: "any",
  decide: (round) => verifyTokens(round, (node) => round.coin(node)),
};

/** Token verification with any coin: `threshold` tosses one that does not turn. */
export function verifyTokens(round: Round, coin: (node: number) => number): Verdict {
  const path: number[] = [];
  let last = ROOT;
  for (const node of chainOf(round.tree)) {
    const p = round.target(last);
    const pOfToken = probability(p, round.tree.tokens[node]);
    if (!round.math.accepts(coin(node), pOfToken, round.draftProbability(node))) {
      const correction = round.correction(node, p);
      return correction === null ? round.end(path, null) : round.draw(path, correction);
    }
    path.push(node);
    last = node;
  }
  return round.draw(path, round.target(last));
}
