import { probability } from "../../backend/row-math.ts";
import { residualOf } from "./round.ts";
import { token } from "./token.ts";
import { chainOf, ROOT } from "./tree.ts";
import type { Verifier } from "./verifier.ts";

/**
 * Block verification: decides on the draft as a whole, and so accepts more than token by token.
 *
 *     w₀ = 1,  wᵢ = min(1, wᵢ₋₁ · p(xᵢ)/q(xᵢ))                what of the target's mass reached place i
 *     mᵢ = Σ (wᵢ·p − q)+ of the rows after xᵢ
 *     keep xᵢ with probability mᵢ / (mᵢ + 1 − wᵢ), the last one with w; the longest kept prefix wins
 *     then draw from norm((w·p − q)+) after it, or from p after a draft that was kept to the end
 *
 * A token that fails does not end the round: a longer prefix may still be kept. Of a chosen token (one-hot) nothing is
 * won over token verification, which is then used.
 *
 * Source: Sun et al. 2024, arXiv:2403.10444.
 */
export const block: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["one-hot", "rows"],
  shape: "chain",
  siblings: "any",
  decide(round, options) {
    if (round.law === "one-hot") return token.decide(round, options);
    const { math, tree } = round;
    const chain: number[] = [];
    for (const node of chainOf(tree)) {
      // Drawn from something else: the draft ends before it, as it might have of itself.
      if (round.draftProbability(node) === 0) break;
      chain.push(node);
    }
    let weight = 1;
    let kept = 0;
    let weightOfKept = 1;
    let last = ROOT;
    for (const [index, node] of chain.entries()) {
      const p = probability(round.target(last), tree.tokens[node]);
      weight = clippedRatio(weight * p, round.draftProbability(node));
      const isLast = index === chain.length - 1;
      const keep = isLast
        ? weight
        : keepProbability(math.residualMass(round.target(node), round.proposal(node), weight), weight);
      if (round.accepts(node, keep, 1)) {
        kept = index + 1;
        weightOfKept = weight;
      }
      last = node;
    }
    const path = chain.slice(0, kept);
    const end = path.at(-1) ?? ROOT;
    if (kept === chain.length) return round.draw(path, round.target(end));
    return round.draw(path, residualOf(math, round.target(end), round.proposal(end), weightOfKept));
  },
};

/** min(1, p/q) for q > 0, without overflow. */
export function clippedRatio(p: number, q: number): number {
  return p >= q ? 1 : p / q;
}

/**
 * m / (m + 1 − w), in an order that gives 1 for w = 1.
 *
 * With w = 1 and nothing left (p = q) any answer is right, as w stays 1 up to the next place where something is.
 */
export function keepProbability(mass: number, weight: number): number {
  const total = mass + (1 - weight);
  return total > 0 ? mass / total : 1;
}
