/**
 * Penalties: tokens that occurred before lose. n(x): how often x occurs in scope.
 *
 *     repetition    logit / penalty if positive, · penalty if not      Keskar et al. 2019, arXiv:1909.05858
 *     presence      logit − penalty                                     if n(x) > 0    (OpenAI)
 *     frequency     logit − penalty · n(x)                              (OpenAI)
 *
 * Runtimes differ in scope: Hugging Face and vLLM look at prompt and output for the repetition penalty, vLLM and WebLLM
 * at the output for the others, llama.cpp at the last 64 tokens for all three.
 */
import type { Fields } from "./fields.ts";
import { forEachToken, readScope, type Scope } from "./history.ts";
import type { StepKind } from "./step.ts";

export interface RepetitionPenaltyStep extends Scope {
  step: "repetition-penalty";
  /** 0.01 … 100; 1 changes nothing, below 1 encourages. */
  penalty: number;
}

export interface PresencePenaltyStep extends Scope {
  step: "presence-penalty";
  /** −100 … 100. */
  penalty: number;
}

export interface FrequencyPenaltyStep extends Scope {
  step: "frequency-penalty";
  /** −100 … 100. */
  penalty: number;
}

export const repetitionPenalty: StepKind<Required<RepetitionPenaltyStep>> = {
  read: (fields) => ({
    step: "repetition-penalty",
    penalty: fields.number("penalty", 0.01, 100),
    ...readScope(fields),
  }),
  isNeutral: ({ penalty }) => penalty === 1,
  edit(tokens, values, place) {
    forEachToken(values, place, (token) => tokens.penalize(token, values.penalty));
  },
};

export const presencePenalty: StepKind<Required<PresencePenaltyStep>> = {
  read: (fields) => ({ step: "presence-penalty", ...readSubtracted(fields) }),
  isNeutral: ({ penalty }) => penalty === 0,
  edit(tokens, values, place) {
    forEachToken(values, place, (token) => tokens.add(token, -values.penalty));
  },
};

export const frequencyPenalty: StepKind<Required<FrequencyPenaltyStep>> = {
  read: (fields) => ({ step: "frequency-penalty", ...readSubtracted(fields) }),
  isNeutral: ({ penalty }) => penalty === 0,
  edit(tokens, values, place) {
    forEachToken(values, place, (token, count) => tokens.add(token, -values.penalty * count));
  },
};

function readSubtracted(fields: Fields) {
  return { penalty: fields.number("penalty", -100, 100), ...readScope(fields) };
}
