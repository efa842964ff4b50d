import { expectNumber } from "../../errors.ts";
import { verifyTokens } from "./token.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

export interface ThresholdOptions {
  /** Least p/q that is accepted, from 0 to 1. */
  readonly threshold: number;
}

/** Lossy: token verification that compares p/q with a constant instead of a random number. */
export const threshold: Verifier<ThresholdOptions> = {
  lossless: false,
  reproducible: false,
  laws: ALL_LAWS,
  shape: "chain",
  siblings: "any",
  decide(round, options) {
    const limit = expectNumber("policy.threshold", options.threshold, 0, 1);
    return verifyTokens(round, () => limit);
  },
};
