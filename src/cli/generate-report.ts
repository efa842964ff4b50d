/** What `edgewise generate` says about its texts: as JSON, and in one line. */
import { type Plan, planFingerprint } from "../decoding/fuse.ts";
import type { GenerateResult, Model, SpeculationSummary, Tokenizer } from "../node.ts";
import { auditSummary } from "./audit-report.ts";

/** What `--json` prints, names as in OpenAI's API; with `several` the texts are in `choices`. */
export function summary(model: Model, results: readonly GenerateResult[], several: boolean, plan?: Plan) {
  const { loadMs: load_ms, backend, build, fallback, tokenizer } = model;
  const [{ promptTokens: prompt_tokens, fingerprint }] = results;
  const planned = plan && planFingerprint(plan);
  const place = { backend, build, ...(fallback !== undefined && { fallback }), fingerprint };
  if (several) {
    const choices = results.map((result, index) => ({ index, ...textSummary(tokenizer, result, planned) }));
    return { prompt_tokens, choices, timings: { load_ms }, ...place };
  }
  const text = textSummary(tokenizer, results[0], planned);
  return { prompt_tokens, ...text, timings: { load_ms, ...text.timings }, ...place };
}

function textSummary(tokenizer: Tokenizer, result: GenerateResult, plan: string | undefined) {
  const { logProbabilities, speculation, audits } = result;
  const alternative = ({ token, logProbability }: { token: number; logProbability: number }) => ({
    token,
    text: token < tokenizer.vocab ? tokenizer.decode([token]) : "",
    logprob: logProbability,
  });
  return {
    tokens: result.tokens,
    text: result.text,
    finish_reason: result.finishReason,
    seed: result.seed,
    timings: result.timings,
    ...(logProbabilities && {
      logprobs: logProbabilities.map((token) => ({ ...alternative(token), top: token.top.map(alternative) })),
    }),
    ...(speculation && { speculation: speculationSummary(speculation) }),
    ...(audits && { fusion: { plan, ...auditSummary(audits) } }),
  };
}

function speculationSummary(summary: SpeculationSummary) {
  const { draft, target, sample } = summary.ms;
  return {
    drafter: summary.drafter,
    verifier: summary.verifier,
    drafted: summary.drafted,
    accepted: summary.accepted,
    target_calls: summary.targetCalls,
    tokens_per_call: summary.tokensPerCall,
    acceptance_rate: summary.acceptanceRate,
    reproducible: summary.reproducible,
    lossless: summary.lossless,
    tested_at: summary.testedAt,
    accepted_at: summary.acceptedAt,
    timings: { draft_ms: draft, target_ms: target, sample_ms: sample },
  };
}

/** One line: model, prompt, texts, speculation, and how to get the same again. */
export function statistics(model: Model, results: readonly GenerateResult[], greedy: boolean): string {
  const [first] = results;
  const { prompt_ms, prompt_tokens_per_second } = first.timings;
  const finished = new Set(results.map(({ finishReason }) => finishReason));
  const seeds = results.map(({ seed }) => seed);
  return [
    `${model.name} on ${[model.backend, model.build].filter(Boolean).join(" ")}: loaded in ${time(model.loadMs)}`,
    ...(model.fallback === undefined ? [] : [model.fallback]),
    `prompt ${first.promptTokens.length} tokens in ${time(prompt_ms)} (${prompt_tokens_per_second.toFixed(1)}/s)`,
    decoded(results),
    ...speculated(results.flatMap(({ speculation }) => speculation ?? [])),
    `finish: ${[...finished].join(", ")}`,
    ...(greedy ? [] : [`seed ${seeds.join(", ")}`]),
  ].join("; ");
}

function decoded(results: readonly GenerateResult[]): string {
  const tokens = sum(results, (result) => result.tokens.length);
  const ms = Math.max(...results.map(({ timings }) => timings.decode_ms));
  // Texts of one prompt are decoded side by side, so their rates add up.
  const perSecond = sum(results, ({ timings }) => timings.tokens_per_second);
  const texts = results.length > 1 ? `${results.length} texts of ` : "";
  return `${texts}${tokens} tokens in ${time(ms)} (${perSecond.toFixed(1)}/s)`;
}

/** As in "suffix: 38 of 52 drafted accepted, 2.1 tokens per pass". */
function speculated(summaries: readonly SpeculationSummary[]): string[] {
  if (summaries.length === 0) return [];
  const [{ drafter, verifier, lossless, reproducible }] = summaries;
  const accepted = sum(summaries, (summary) => summary.accepted);
  const drafted = sum(summaries, (summary) => summary.drafted);
  const calls = sum(summaries, (summary) => summary.targetCalls);
  const emitted = sum(summaries, (summary) => summary.tokensPerCall * summary.targetCalls);
  const perPass = calls === 0 ? 1 : emitted / calls;
  const by = reproducible ? "" : ` with ${verifier}${lossless ? "" : " (lossy)"}`;
  return [
    `${drafter}${by}: ${accepted} of ${drafted} drafted accepted, ${perPass.toFixed(1)} tokens per pass`,
  ];
}

function time(ms: number): string {
  return ms < 10_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
