/**
 * Cut-offs: keep the tokens that are likely enough, and the best one always.
 *
 *     min-p             p(x) ≥ p · max p                        Nguyen et al. 2024, arXiv:2407.01082
 *     p-less            p(x) ≥ Σ p²                             Tan et al. 2025, arXiv:2509.23234
 *     epsilon-cutoff    p(x) ≥ ε                                Hewitt, Manning, Liang 2022, arXiv:2210.15191
 *     eta-cutoff        p(x) ≥ min(ε, √ε · e^-H)                the same
 *     top-n-sigma       logit ≥ max − n·σ, σ of the logits      Tang et al. 2024, arXiv:2411.07641
 */
import { exp, log } from "../../math.ts";
import type { Candidates } from "./candidates.ts";
import type { StepKind } from "./step.ts";

export interface MinPStep {
  step: "min-p";
  /** 0 … 1; 0 keeps all. */
  p: number;
}

export interface PLessStep {
  step: "p-less";
}

export interface EpsilonCutoffStep {
  step: "epsilon-cutoff";
  /** ε, 0 … 1; 0 keeps all. */
  epsilon: number;
}

export interface EtaCutoffStep {
  step: "eta-cutoff";
  /** ε, 0 … 1; 0 keeps all. */
  epsilon: number;
}

export interface TopNSigmaStep {
  step: "top-n-sigma";
  /** 0 … 1000; 0 keeps all. */
  n: number;
}

export const minP: StepKind<MinPStep> = {
  read: (fields) => ({ step: "min-p", p: fields.number("p", 0, 1) }),
  isNeutral: ({ p }) => p === 0,
  apply(candidates, { p }) {
    if (p > 0) keepLogits(candidates, -log(p));
  },
};

export const pLess: StepKind<PLessStep> = {
  read: () => ({ step: "p-less" }),
  apply(candidates) {
    const weights = candidates.weights();
    const total = candidates.total();
    let squares = 0;
    for (let i = 0; i < candidates.count; i++) squares += (weights[i] / total) * (weights[i] / total);
    keepWeights(candidates, squares * total);
  },
};

export const epsilonCutoff: StepKind<EpsilonCutoffStep> = {
  read: (fields) => ({ step: "epsilon-cutoff", epsilon: fields.number("epsilon", 0, 1) }),
  isNeutral: ({ epsilon }) => epsilon === 0,
  apply: (candidates, { epsilon }) => keepWeights(candidates, epsilon * candidates.total()),
};

export const etaCutoff: StepKind<EtaCutoffStep> = {
  read: (fields) => ({ step: "eta-cutoff", epsilon: fields.number("epsilon", 0, 1) }),
  isNeutral: ({ epsilon }) => epsilon === 0,
  apply(candidates, { epsilon }) {
    const eta = Math.min(epsilon, Math.sqrt(epsilon) * exp(-candidates.entropy()));
    keepWeights(candidates, eta * candidates.total());
  },
};

export const topNSigma: StepKind<TopNSigmaStep> = {
  read: (fields) => ({ step: "top-n-sigma", n: fields.number("n", 0, 1000) }),
  isNeutral: ({ n }) => n === 0,
  apply(candidates, { n }) {
    if (n === 0) return;
    const { logits, count } = candidates;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += logits[i];
    const mean = sum / count;
    let squares = 0;
    for (let i = 0; i < count; i++) squares += (logits[i] - mean) * (logits[i] - mean);
    keepLogits(candidates, n * Math.sqrt(squares / count));
  },
};

/** Keeps logits at most `distance` below the best. */
function keepLogits(candidates: Candidates, distance: number): void {
  const { logits } = candidates;
  const best = candidates.best();
  const floor = logits[best] - distance;
  candidates.keep((index) => logits[index] >= floor || index === best);
}

function keepWeights(candidates: Candidates, floor: number): void {
  const weights = candidates.weights();
  const best = candidates.best();
  candidates.keep((index) => weights[index] >= floor || index === best);
}
