import { probability, type Weights } from "../../backend/row-math.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import { chainOf, ROOT } from "./tree.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

export interface RelaxedOptions {
  /** A draft token must be among this many best. Default 3. */
  readonly topK?: number;
  /** And at least this fraction as likely as the best. Default 0.5; 1 is greedy. */
  readonly ratio?: number;
  /** Nothing is accepted after this token: the end of a thinking span, where leniency ends. */
  readonly boundary?: number;
}

/**
 * Lossy: greedy decoding that takes the draft's word where it is nearly as good as the target's. Meant for the
 * thinking of reasoning models; use `greedy` outside it.
 *
 *     accept x if it is among the K best and p(x) ≥ ratio · max p;   else the best token
 */
export const relaxed: Verifier<RelaxedOptions> = {
  lossless: false,
  reproducible: false,
  laws: ALL_LAWS,
  shape: "chain",
  siblings: "any",
  decide(round, { topK = 3, ratio = 0.5, boundary }) {
    expectInteger("policy.topK", topK, 1, Number.MAX_SAFE_INTEGER);
    expectNumber("policy.ratio", ratio, 0, 1);
    if (boundary !== undefined) expectInteger("policy.boundary", boundary, 0, round.vocab - 1);
    const path: number[] = [];
    let last = ROOT;
    for (const node of chainOf(round.tree)) {
      const p = round.target(last);
      const x = round.tree.tokens[node];
      const pOfToken = probability(p, x);
      const best = probability(p, round.math.argmax(p.values));
      if (pOfToken === 0 || pOfToken < ratio * best || rank(p, x) >= topK) break;
      path.push(node);
      last = node;
      if (x === boundary) break;
    }
    return round.end(path, round.math.argmax(round.target(last).values));
  },
};

/** Tokens that are likelier, or as likely with a lower id. */
function rank({ values }: Weights, token: number): number {
  let better = 0;
  for (let id = 0; id < values.length; id++) {
    if (values[id] > values[token] || (values[id] === values[token] && id < token)) better++;
  }
  return better;
}
