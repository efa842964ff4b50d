import { probability } from "../../backend/row-math.ts";
import { type Round, residualOf } from "./round.ts";
import { ROOT } from "./tree.ts";
import type { Verdict } from "./types.ts";
import type { Verifier } from "./verifier.ts";

/**
 * Multi-round rejection: siblings that were drawn independently get one chance after the other.
 *
 *     accept x with probability min(1, P(x)/q(x));   rejected: P = norm((P − q)+);   none left: draw from P
 *
 * Source: Miao et al. 2023, SpecInfer, arXiv:2305.09781, algorithm 2.
 */
export const specinfer: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["rows"],
  shape: "tree",
  siblings: "independent",
  decide: (round) => verifyRounds(round, true),
};

/**
 * The same for siblings drawn without replacement, which waste no chance on a token twice. Independent ones are as
 * right: a token that was drawn again is passed over.
 *
 *     as above, and q = norm(q without x) after each rejection
 *
 * Source: Chen et al. 2024, Sequoia, arXiv:2402.12374.
 */
export const sequoia: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["rows"],
  shape: "tree",
  siblings: "drawn",
  decide: (round) => verifyRounds(round, false),
};

function verifyRounds(round: Round, replacement: boolean): Verdict {
  const { math, tree } = round;
  const path: number[] = [];
  for (let node = ROOT; ; ) {
    let p = round.target(node);
    const children = tree.children(node);
    if (children.length === 0) return round.draw(path, p);
    let q = round.proposal(node);
    let survivor: number | null = null;
    for (const child of children) {
      const x = tree.tokens[child];
      const qOfToken = probability(q, x);
      // Drawn again, or from something else: passing it over leaves P right.
      if (qOfToken === 0) continue;
      if (round.accepts(child, probability(p, x), qOfToken)) {
        survivor = child;
        break;
      }
      p = round.replace(p, residualOf(math, p, q));
      if (!replacement) q = round.replace(q, math.without(q, [x]));
    }
    if (survivor === null) return round.draw(path, p);
    path.push(survivor);
    node = survivor;
  }
}
