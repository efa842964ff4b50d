import { probability, type Weights } from "../../backend/row-math.ts";
import { expectNumber } from "../../errors.ts";
import { exp, log } from "../../math.ts";
import { ROOT } from "./tree.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

export interface TypicalOptions {
  /** A token above this probability is always accepted. Default 0.09. */
  readonly epsilon?: number;
  /** Share of e^−entropy that is enough where the target is undecided. Default 0.3, √epsilon. */
  readonly delta?: number;
}

/**
 * Lossy: typical acceptance. Keeps the longest path whose tokens are not too unlikely, the likelier of equally long
 * ones, and draws the token that follows from the target.
 *
 *     accept x if p(x) > min(ε, δ·e^−H(p))
 *
 * Source: Cai et al. 2024, Medusa, arXiv:2401.10774.
 */
export const typical: Verifier<TypicalOptions> = {
  lossless: false,
  reproducible: false,
  laws: ALL_LAWS,
  shape: "tree",
  siblings: "any",
  decide(round, { epsilon = 0.09, delta = 0.3 }) {
    expectNumber("policy.epsilon", epsilon, 0, 1);
    expectNumber("policy.delta", delta, 0, 1);
    const { tree } = round;
    let best: Path = { nodes: [], logLikelihood: 0 };
    const open: Path[] = [best];
    for (const path of open) {
      if (isBetter(path, best)) best = path;
      const node = path.nodes.at(-1) ?? ROOT;
      const children = tree.children(node);
      if (children.length === 0) continue;
      const p = round.target(node);
      const limit = Math.min(epsilon, delta * exp(-entropy(p)));
      for (const child of children) {
        const pOfToken = probability(p, tree.tokens[child]);
        if (!(pOfToken > limit)) continue;
        open.push({ nodes: [...path.nodes, child], logLikelihood: path.logLikelihood + log(pOfToken) });
      }
    }
    return round.draw(best.nodes, round.target(best.nodes.at(-1) ?? ROOT));
  },
};

interface Path {
  readonly nodes: readonly number[];
  readonly logLikelihood: number;
}

function isBetter(a: Path, b: Path): boolean {
  const longer = a.nodes.length - b.nodes.length;
  return longer > 0 || (longer === 0 && a.logLikelihood > b.logLikelihood);
}

/** −Σ p ln p, in nats. */
function entropy({ values, mass }: Weights): number {
  let sum = 0;
  for (let id = 0; id < values.length; id++) {
    const share = mass > 0 ? values[id] / mass : 0;
    if (share > 0) sum -= share * log(share);
  }
  return sum;
}
