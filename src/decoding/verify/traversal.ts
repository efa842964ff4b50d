import { probability } from "../../backend/row-math.ts";
import { clippedRatio, keepProbability } from "./block.ts";
import type { Round } from "./round.ts";
import { ROOT } from "./tree.ts";
import type { Verdict } from "./types.ts";
import type { Verifier } from "./verifier.ts";

/**
 * Traversal verification: block verification for trees. Leaves are tried before their parents, so a sequence is
 * accepted as a whole where that is possible. On a chain it is block verification.
 *
 *     w of a child = min(1, w·P(x)/Q(x));   try the child, with all below it
 *     rejected:  R = (w·P − Q)+,  w = ΣR/(ΣR + 1 − w),  P = norm(R),  Q = norm(Q without x);   next child
 *     no child left:  accept the path to here with probability w, and draw from P
 *
 * The root has w = 1 throughout, so it ends every round. Siblings are best drawn without replacement: a token that was
 * drawn again is passed over.
 *
 * Source: Weng et al. 2025, arXiv:2505.12398.
 */
export const traversal: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["rows"],
  shape: "tree",
  siblings: "drawn",
  // Never null: the root's weight stays 1.
  decide: (round) => traverse(round, ROOT, [], 1)!,
};

/** Tries everything below `node`, then `node`, which `weight` of the target's mass reached. Null: rejected. */
function traverse(round: Round, node: number, path: readonly number[], weight: number): Verdict | null {
  if (weight === 0) return null;
  const { math, tree } = round;
  const children = tree.children(node);
  let p = round.target(node);
  if (children.length > 0) {
    let q = round.proposal(node);
    for (const child of children) {
      const x = tree.tokens[child];
      const qOfToken = probability(q, x);
      // Drawn again, or from something else: passing it over leaves P and w right.
      if (qOfToken === 0) continue;
      const verdict = traverse(
        round,
        child,
        [...path, child],
        clippedRatio(weight * probability(p, x), qOfToken),
      );
      if (verdict !== null) return verdict;
      const rest = math.residual(p, q, weight);
      weight = keepProbability(rest.mass, weight);
      if (rest.mass > 0) p = round.replace(p, rest);
      q = round.replace(q, math.without(q, [x]));
    }
  }
  return weight === 1 || round.accepts(node, weight, 1) ? round.draw(path, p) : null;
}
