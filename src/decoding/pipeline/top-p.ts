/**
 * Mass: keeps the smallest set of tokens, in some order of preference, whose probabilities reach a share.
 *
 *     top-p      most likely first                       Holtzman et al. 2019, arXiv:1904.09751
 *     typical    −ln p nearest to the entropy first      Meister et al. 2022, arXiv:2202.00666
 *
 * The token that crosses the boundary is kept. Both share one routine, `lastOfMass`: verification and plain sampling must
 * never disagree about a boundary.
 */
import type { Candidates } from "./candidates.ts";
import { lastOfMass } from "./select.ts";
import type { StepKind } from "./step.ts";

export interface TopPStep {
  step: "top-p";
  /** 0 … 1; 0 keeps the best token, 1 all. */
  p: number;
}

export interface TypicalStep {
  step: "typical";
  /** 0 … 1; 1 keeps all. */
  p: number;
}

export const topP: StepKind<TopPStep> = {
  read: (fields) => ({ step: "top-p", p: fields.number("p", 0, 1) }),
  isNeutral: ({ p }) => p === 1,
  apply(candidates, { p }) {
    if (p < 1) keepMass(candidates, candidates.logits, p);
  },
};

export const typical: StepKind<TypicalStep> = {
  read: (fields) => ({ step: "typical", p: fields.number("p", 0, 1) }),
  isNeutral: ({ p }) => p === 1,
  apply(candidates, { p }) {
    if (p === 1) return;
    const entropy = candidates.entropy();
    const surprise = candidates.surprise();
    const nearness = new Float64Array(candidates.count);
    for (let i = 0; i < nearness.length; i++) nearness[i] = -Math.abs(surprise(i) - entropy);
    keepMass(candidates, nearness, p);
  },
};

function keepMass(candidates: Candidates, preference: Float64Array, share: number): void {
  const goal = share * candidates.total();
  const last = lastOfMass(preference, candidates.weights(), candidates.count, goal);
  // Copied, as `preference` may be what is being compacted.
  const bar = preference[last];
  candidates.keep((index) => preference[index] > bar || (preference[index] === bar && index <= last));
}
