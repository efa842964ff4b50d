/**
 * XTC, "exclude top choices": sometimes removes the likely tokens but the least likely of them.
 *
 *     with probability `probability`:  of the tokens with p(x) ≥ threshold, only the least likely stays
 *
 * The coin is drawn once per position, so a row has one law however often it is computed.
 *
 * Source: p-e-w, text-generation-webui pull request 6335; llama.cpp.
 */
import { STAGE, uniform } from "../../philox.ts";
import type { StepKind } from "./step.ts";

export interface XtcStep {
  step: "xtc";
  /** 0 … 1; 0 is never. */
  probability: number;
  /** 0 … 1; above 0.5 no two tokens can reach it. */
  threshold: number;
}

export const xtc: StepKind<XtcStep> = {
  read: (fields) => ({
    step: "xtc",
    probability: fields.number("probability", 0, 1),
    threshold: fields.number("threshold", 0, 1),
  }),
  isNeutral: ({ probability, threshold }) => probability === 0 || threshold > 0.5,
  apply(candidates, { probability, threshold }, { seed, position }, index) {
    if (!(uniform(seed, position, STAGE.xtc, index) < probability)) return;
    const weights = candidates.weights();
    const floor = threshold * candidates.total();
    let survivor = -1;
    for (let i = 0; i < candidates.count; i++) {
      if (weights[i] >= floor && (survivor < 0 || weights[i] < weights[survivor])) survivor = i;
    }
    if (survivor >= 0) candidates.keep((i) => weights[i] < floor || i === survivor);
  },
};
