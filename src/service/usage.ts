import type { GenerateResult, SpeculationSummary } from "../engine/model.ts";

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Tokens that an earlier prompt began with too, and were not computed again. */
  prompt_tokens_details: { cached_tokens: number; audio_tokens: number };
  completion_tokens_details?: {
    accepted_prediction_tokens: number;
    rejected_prediction_tokens: number;
    reasoning_tokens: number;
    audio_tokens: number;
  };
}

/** What speculation did for an answer. Counts and times add up over its choices; rates are of the sums. */
export interface SpeculationReport {
  drafter: string;
  verifier: string;
  drafted: number;
  accepted: number;
  target_calls: number;
  tokens_per_call: number;
  acceptance_rate: number;
  accepted_at: number[];
  tested_at: number[];
  reproducible: boolean;
  lossless: boolean;
  timings: { draft_ms: number; target_ms: number; sample_ms: number };
}

type Result = Pick<GenerateResult, "promptTokens" | "cachedTokens" | "tokens" | "speculation">;

/** A prompt counts once, however many choices were made of it; of `best_of` texts those that are returned count. */
export function usageOf(prompts: readonly (readonly number[])[], results: readonly Result[]): Usage {
  const promptTokens = sum(prompts, (prompt) => prompt.length);
  const completionTokens = sum(results, ({ tokens }) => tokens.length);
  const usage: Usage = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokensOf(results), audio_tokens: 0 },
  };
  const summaries = summariesOf(results);
  if (summaries.length > 0) {
    const accepted = sum(summaries, (summary) => summary.accepted);
    usage.completion_tokens_details = {
      accepted_prediction_tokens: accepted,
      rejected_prediction_tokens: sum(summaries, ({ drafted }) => drafted) - accepted,
      reasoning_tokens: 0,
      audio_tokens: 0,
    };
  }
  return usage;
}

/** Of each prompt once: its choices share what was there. */
function cachedTokensOf(results: readonly Result[]): number {
  const counts = new Map(results.map(({ promptTokens, cachedTokens }) => [promptTokens, cachedTokens]));
  return sum([...counts.values()], (count) => count);
}

/** Nothing, where nobody drafted. */
export function speculationOf(results: readonly Result[]): SpeculationReport | undefined {
  const summaries = summariesOf(results);
  if (summaries.length === 0) return undefined;
  const total = (value: (summary: SpeculationSummary) => number) => sum(summaries, value);
  const calls = total(({ targetCalls }) => targetCalls);
  const tested = total((summary) => summary.tested);
  const accepted = total((summary) => summary.accepted);
  const ms = (part: keyof SpeculationSummary["ms"]) =>
    Math.round(total((summary) => summary.ms[part]) * 1000) / 1000;
  return {
    drafter: summaries[0].drafter,
    verifier: summaries[0].verifier,
    drafted: total(({ drafted }) => drafted),
    accepted,
    target_calls: calls,
    tokens_per_call:
      calls === 0 ? 1 : total(({ tokensPerCall, targetCalls }) => tokensPerCall * targetCalls) / calls,
    acceptance_rate: tested === 0 ? 0 : accepted / tested,
    accepted_at: sumEach(summaries.map(({ acceptedAt }) => acceptedAt)),
    tested_at: sumEach(summaries.map(({ testedAt }) => testedAt)),
    reproducible: summaries.every(({ reproducible }) => reproducible),
    lossless: summaries.every(({ lossless }) => lossless),
    timings: { draft_ms: ms("draft"), target_ms: ms("target"), sample_ms: ms("sample") },
  };
}

function summariesOf(results: readonly Result[]): SpeculationSummary[] {
  return results.flatMap(({ speculation }) => speculation ?? []);
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0);
}

function sumEach(lists: readonly (readonly number[])[]): number[] {
  const length = Math.max(...lists.map((list) => list.length));
  return Array.from({ length }, (_, i) => sum(lists, (list) => list[i] ?? 0));
}
