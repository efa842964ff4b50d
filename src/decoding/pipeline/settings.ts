import type { Step } from "./steps.ts";

/** The sampling options that every runtime has, with every field set. */
export interface PipelineSettings {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 keeps all. */
  readonly topK: number;
  /** 1 keeps all. */
  readonly topP: number;
  /** 0 keeps all. */
  readonly minP: number;
  /** Of prompt and output; 1 changes nothing. */
  readonly repetitionPenalty: number;
  /** Integer from 0 to 2^53 − 1. */
  readonly seed: number;
}

/** In the order of Hugging Face transformers. */
export function settingsSteps(settings: PipelineSettings): readonly Step[] {
  return [
    { step: "repetition-penalty", penalty: settings.repetitionPenalty },
    { step: "temperature", temperature: settings.temperature },
    { step: "top-k", k: settings.topK },
    { step: "top-p", p: settings.topP },
    { step: "min-p", p: settings.minP },
  ];
}
