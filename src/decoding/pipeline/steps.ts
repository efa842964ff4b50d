/** All kinds of steps, and from JSON to steps. */
import { type ConfidenceLimitStep, confidenceLimit } from "./confidence-limit.ts";
import {
  type EpsilonCutoffStep,
  type EtaCutoffStep,
  epsilonCutoff,
  etaCutoff,
  type MinPStep,
  minP,
  type PLessStep,
  pLess,
  type TopNSigmaStep,
  topNSigma,
} from "./cut-off.ts";
import { type DryStep, dry } from "./dry.ts";
import { expectArray, Fields } from "./fields.ts";
import {
  type AllowedIdsStep,
  allowedIds,
  type BitmaskStep,
  bitmask,
  type LogitBiasStep,
  logitBias,
  type MinTokensStep,
  minTokens,
} from "./masks.ts";
import { type Mirostat2Step, type MirostatStep, mirostat, mirostat2 } from "./mirostat.ts";
import {
  type FrequencyPenaltyStep,
  frequencyPenalty,
  type PresencePenaltyStep,
  presencePenalty,
  type RepetitionPenaltyStep,
  repetitionPenalty,
} from "./penalties.ts";
import { type BadWordsStep, badWords, type NoRepeatNgramStep, noRepeatNgram } from "./sequences.ts";
import type { StepKind } from "./step.ts";
import {
  type DynamicTemperatureStep,
  dynamicTemperature,
  type TemperatureStep,
  temperature,
} from "./temperature.ts";
import { type TopHStep, topH } from "./top-h.ts";
import { type TopKStep, topK } from "./top-k.ts";
import { type TopPStep, type TypicalStep, topP, typical } from "./top-p.ts";
import { type XtcStep, xtc } from "./xtc.ts";

/** One step of a pipeline, plain JSON. Fields with a default may be left out. */
export type Step =
  | AllowedIdsStep
  | BadWordsStep
  | BitmaskStep
  | ConfidenceLimitStep
  | DryStep
  | DynamicTemperatureStep
  | EpsilonCutoffStep
  | EtaCutoffStep
  | FrequencyPenaltyStep
  | LogitBiasStep
  | MinPStep
  | MinTokensStep
  | Mirostat2Step
  | MirostatStep
  | NoRepeatNgramStep
  | PLessStep
  | PresencePenaltyStep
  | RepetitionPenaltyStep
  | TemperatureStep
  | TopHStep
  | TopKStep
  | TopNSigmaStep
  | TopPStep
  | TypicalStep
  | XtcStep;

export type StepName = Step["step"];

type KindOf<Name extends StepName> = StepKind<Required<Extract<Step, { step: Name }>>>;

const KINDS: { readonly [Name in StepName]: KindOf<Name> } = {
  "allowed-ids": allowedIds,
  "bad-words": badWords,
  bitmask,
  "confidence-limit": confidenceLimit,
  dry,
  "dynamic-temperature": dynamicTemperature,
  "epsilon-cutoff": epsilonCutoff,
  "eta-cutoff": etaCutoff,
  "frequency-penalty": frequencyPenalty,
  "logit-bias": logitBias,
  "min-p": minP,
  "min-tokens": minTokens,
  mirostat,
  "mirostat-2": mirostat2,
  "no-repeat-ngram": noRepeatNgram,
  "p-less": pLess,
  "presence-penalty": presencePenalty,
  "repetition-penalty": repetitionPenalty,
  temperature,
  "top-h": topH,
  "top-k": topK,
  "top-n-sigma": topNSigma,
  "top-p": topP,
  typical,
  xtc,
};

export const STEP_NAMES = Object.keys(KINDS) as readonly StepName[];

/** More than any runtime has, several times over. */
const MAX_STEPS = 64;

export function kindOf(step: Step): StepKind<Step> {
  return KINDS[step.step] as unknown as StepKind<Step>;
}

/**
 * Checks steps and fills in defaults; steps that change nothing are left out, so that pipelines that do the same are the
 * same.
 *
 * @throws {TypeError | RangeError} If the JSON is not a list of steps; the message names the field.
 */
export function readSteps(json: unknown): readonly Step[] {
  return expectArray("pipeline", json, MAX_STEPS)
    .map((step, index) => readStep(`pipeline[${index}]`, step))
    .filter((step) => !kindOf(step).isNeutral?.(step));
}

function readStep(path: string, json: unknown): Step {
  const fields = new Fields(path, json);
  const name = fields.choice("step", STEP_NAMES);
  const step = KINDS[name].read(fields);
  fields.done();
  return Object.freeze(step);
}
