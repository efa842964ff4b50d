import { probability } from "../../backend/row-math.ts";
import { expectNumber } from "../../errors.ts";
import type { Round } from "./round.ts";
import { ROOT } from "./tree.ts";
import type { Verdict } from "./types.ts";
import type { Verifier } from "./verifier.ts";

/**
 * For trees of chosen tokens, such as the drafter's best few after each place: draws from the target, with one coin
 * per place, and follows the draw for as long as it lies in the tree.
 *
 *     accept the first child with coin < Σ p of it and its elder siblings;   none: draw from p without the children
 *
 * Accepts Σ p(children). Needs no q.
 *
 * Source: Li et al. 2024, EAGLE-2, arXiv:2406.16858.
 */
export const targetOnly: Verifier = {
  lossless: true,
  reproducible: false,
  laws: ["one-hot"],
  shape: "tree",
  siblings: "any",
  decide: (round) => verifyTree(round, 1, 1),
};

export interface TargetOnlyThresholdOptions {
  /** Scales the coin: 1 is exact, less accepts more. From 0 to 1. */
  readonly acceptThreshold: number;
  /** A child at least this likely is accepted at once; 1 is exact. From 0 to 1. */
  readonly singleThreshold: number;
}

/** Lossy: `targetOnly` that favours the draft, as SGLang's acceptance thresholds do. */
export const targetOnlyThreshold: Verifier<TargetOnlyThresholdOptions> = {
  ...targetOnly,
  lossless: false,
  decide(round, { acceptThreshold, singleThreshold }) {
    expectNumber("policy.acceptThreshold", acceptThreshold, 0, 1);
    expectNumber("policy.singleThreshold", singleThreshold, 0, 1);
    return verifyTree(round, acceptThreshold, singleThreshold);
  },
};

function verifyTree(round: Round, acceptThreshold: number, singleThreshold: number): Verdict {
  const { math, tree } = round;
  const path: number[] = [];
  for (let node = ROOT; ; ) {
    const p = round.target(node);
    // One coin for all children, so their probabilities add up; a sibling twice must not count twice.
    const coin = round.coin(node);
    const tried: number[] = [];
    let sum = 0;
    let survivor: number | null = null;
    for (const child of tree.children(node)) {
      const x = tree.tokens[child];
      const pOfToken = probability(p, x);
      if (pOfToken === 0 || tried.includes(x)) continue;
      sum += pOfToken;
      if (pOfToken >= singleThreshold || acceptsScaled(round, coin, sum, acceptThreshold)) {
        survivor = child;
        break;
      }
      tried.push(x);
    }
    if (survivor === null) {
      const rest = math.without(p, tried);
      return round.draw(path, rest.mass > 0 ? rest : p);
    }
    path.push(survivor);
    node = survivor;
  }
}

/** coin · threshold < sum */
function acceptsScaled(round: Round, coin: number, sum: number, threshold: number): boolean {
  return threshold === 0 || round.math.accepts(coin, sum, threshold);
}
