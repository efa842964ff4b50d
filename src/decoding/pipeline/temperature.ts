/**
 * Temperature: flattens or sharpens.
 *
 *     temperature            logit / T;  T = 0 leaves the best token alone
 *     dynamic-temperature    T = low + (high − low) · (H / ln n)^exponent,  low, high = max(0, T₀ − range), T₀ + range
 *
 * H is the entropy of the n candidates: unsure rows are heated, sure ones cooled.
 *
 * Sources: Ackley, Hinton, Sejnowski 1985; llama.cpp (`temp_ext`) for the dynamic one.
 */
import { exp, log } from "../../math.ts";
import type { Candidates } from "./candidates.ts";
import type { StepKind } from "./step.ts";

export interface TemperatureStep {
  step: "temperature";
  /** 0 … 100; 0 is greedy. */
  temperature: number;
}

export interface DynamicTemperatureStep {
  step: "dynamic-temperature";
  /** T₀, 0 … 100. */
  temperature: number;
  /** 0 … 100; 0 makes it a plain temperature. */
  range: number;
  /** 0.01 … 100. Default 1. */
  exponent?: number;
}

/** Whether a step leaves the best token alone, whatever the others are. */
export function isGreedy(step: { readonly step: string; readonly temperature?: number }): boolean {
  return step.step === "temperature" && step.temperature! < GREEDY;
}

/** Below, two f32 logits that differ at all are worlds apart: exp gives 0. */
const GREEDY = 1e-100;

export const temperature: StepKind<TemperatureStep> = {
  read: (fields) => ({ step: "temperature", temperature: fields.number("temperature", 0, 100) }),
  isNeutral: ({ temperature }) => temperature === 1,
  apply: (candidates, { temperature }) => scale(candidates, temperature),
};

export const dynamicTemperature: StepKind<Required<DynamicTemperatureStep>> = {
  read: (fields) => ({
    step: "dynamic-temperature",
    temperature: fields.number("temperature", 0, 100),
    range: fields.number("range", 0, 100),
    exponent: fields.number("exponent", 0.01, 100, 1),
  }),
  isNeutral: ({ temperature, range }) => temperature === 1 && range === 0,
  apply(candidates, { temperature, range, exponent }) {
    if (range === 0) return scale(candidates, temperature);
    if (candidates.count < 2) return;
    const low = Math.max(0, temperature - range);
    const high = temperature + range;
    const unsure = Math.min(1, Math.max(0, candidates.entropy() / log(candidates.count)));
    scale(candidates, low + (high - low) * (exponent === 1 ? unsure : exp(exponent * log(unsure))));
  },
};

function scale(candidates: Candidates, temperature: number): void {
  if (temperature < GREEDY) candidates.pick([candidates.best()]);
  else if (temperature !== 1) candidates.divide(temperature);
}
