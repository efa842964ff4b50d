import type { GenerateOptions, Model } from "../engine/model.ts";
import type { ChoiceJob } from "./decode.ts";
import { apiError } from "./errors.ts";
import { type CommonBody, MAX_CHOICES } from "./schemas.ts";

/** Request fields in the engine's words. `defaultMaxTokens` undefined means until the context is full. */
export function readOptions(
  model: Model,
  body: CommonBody,
  defaultMaxTokens: number | undefined,
): GenerateOptions {
  const { max_tokens, max_completion_tokens } = body;
  if (max_tokens && max_completion_tokens && max_tokens !== max_completion_tokens) {
    throw apiError(400, '"max_tokens" and "max_completion_tokens" must not differ; give one of them', {
      param: "max_tokens",
      code: "invalid_value",
    });
  }
  if (body.stream_options && !body.stream) {
    throw apiError(400, '"stream_options" is allowed only where "stream" is true', {
      param: "stream_options",
      code: "invalid_value",
    });
  }
  const maxTokens = max_completion_tokens ?? max_tokens ?? defaultMaxTokens;
  return {
    maxTokens: maxTokens && Math.min(maxTokens, model.contextLength),
    temperature: body.temperature ?? 1,
    // -1 is "all" for vLLM's clients, 0 for everyone else's.
    topK: Math.min(Math.max(body.top_k ?? 0, 0), model.vocab),
    // OpenAI allows 0, which keeps the best token alone; so does any p below the best token's probability.
    topP: Math.max(body.top_p ?? 1, 1e-9),
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    seed: body.seed ?? undefined,
    stop: body.stop ?? undefined,
    ignoreEos: body.ignore_eos ?? false,
  };
}

/**
 * The choices of a request, indexed as OpenAI does: all `n` of the first prompt, then those of the second.
 *
 * With a seed, choice i of a prompt is what `seed + i` gives alone, whatever was asked for beside it.
 */
export function choiceJobs(
  prompts: readonly number[][],
  body: CommonBody,
  options: GenerateOptions,
): ChoiceJob[] {
  const n = body.n ?? 1;
  if (prompts.length * n > MAX_CHOICES) {
    throw apiError(
      400,
      `"n" must ask for at most ${MAX_CHOICES} choices in all, got ${prompts.length} prompts x ${n}`,
      { param: "n", code: "invalid_value" },
    );
  }
  return prompts.flatMap((prompt, p) =>
    Array.from({ length: n }, (_, i) => ({
      index: p * n + i,
      prompt,
      options: { ...options, seed: options.seed === undefined ? undefined : seedAfter(options.seed, i) },
    })),
  );
}

/** seed + i among the 53-bit integers; past the largest comes 0. */
function seedAfter(seed: number, i: number): number {
  const left = Number.MAX_SAFE_INTEGER - seed;
  return i <= left ? seed + i : i - left - 1;
}
