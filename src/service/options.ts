import type { Constraint } from "../decoding/constraint.ts";
import type { GenerateManyOptions, GenerateOptions, Model } from "../engine/model.ts";
import { seedAfter } from "../engine/options.ts";
import { checkedByEngine } from "./engine-errors.ts";
import { apiError } from "./errors.ts";
import { readGuidedChoice } from "./options/guided.ts";
import { onlyOne, readSampling } from "./options/sampling.ts";
import { readSpeculation } from "./options/speculation.ts";
import { type CommonBody, MAX_CHOICES } from "./schemas.ts";

/** A prompt, and how many texts to make of it: OpenAI's `choices[first]` and those behind. */
export interface Job {
  readonly first: number;
  readonly prompt: readonly number[];
  readonly options: GenerateManyOptions & { readonly n: number };
}

/** A request in the engine's words. */
export interface RequestOptions {
  readonly options: GenerateOptions;
  /** OpenAI's `system_fingerprint`: model, kernels, and the steps in order. */
  readonly fingerprint: string;
  /** What the text must be; one for each text. */
  readonly constraint?: () => Constraint;
}

/** What the routes read each in their own way. */
export interface RouteOptions {
  /** undefined: until the context is full. */
  readonly defaultMaxTokens?: number;
  /** Alternatives to tell of each token; undefined: nothing of it. */
  readonly logProbabilities?: number;
}

/**
 * Everything but the prompt. What is wrong is found here, before anything is decoded.
 *
 * @throws {HTTPException} 400 that names the field.
 */
export function readOptions(
  model: Model,
  body: CommonBody,
  { defaultMaxTokens, logProbabilities }: RouteOptions,
): RequestOptions {
  if (body.stream_options && !body.stream) {
    throw apiError(400, '"stream_options" is allowed only where "stream" is true', {
      param: "stream_options",
      code: "invalid_value",
    });
  }
  const { max_tokens, max_completion_tokens } = body;
  const asked = onlyOne("max_tokens", max_tokens, "max_completion_tokens", max_completion_tokens);
  const maxTokens = asked ?? defaultMaxTokens;
  return checkedByEngine(() => {
    const sampling = readSampling(model, body);
    const options: GenerateOptions = {
      ...(maxTokens && { maxTokens: Math.min(maxTokens, model.contextLength) }),
      ...(body.stop && { stop: body.stop }),
      ...(body.ignore_eos && { ignoreEos: true }),
      ...(logProbabilities !== undefined && { logProbabilities }),
      ...sampling,
      ...readSpeculation(model, body),
    };
    const fingerprint = model.requestFingerprint(sampling);
    return { options, fingerprint, constraint: readGuidedChoice(model, body) };
  });
}

/**
 * The texts of a request, indexed as OpenAI does: all `n` of the first prompt, then those of the second.
 *
 * With a seed, text i of a prompt is what `seed + i` gives alone, whatever was asked for beside it.
 *
 * @throws {HTTPException} 400, if they are too many, or `best_of` is below `n` or beside `stream`.
 */
export function readJobs(
  prompts: readonly number[][],
  body: CommonBody & { best_of?: number | null },
  { options, constraint }: RequestOptions,
): Job[] {
  const n = body.n ?? 1;
  const bestOf = body.best_of ?? n;
  if (bestOf < n) throw wrongCount("best_of", `must be at least "n", ${n}, got ${bestOf}`);
  if (bestOf > n && body.stream) {
    throw wrongCount("best_of", `must not be above "n", ${n}, where "stream" is true, got ${bestOf}`);
  }
  if (prompts.length * bestOf > MAX_CHOICES) {
    throw wrongCount(
      bestOf > n ? "best_of" : "n",
      `must ask for at most ${MAX_CHOICES} texts in all, got ${prompts.length} prompts x ${bestOf}`,
    );
  }
  if (constraint !== undefined) {
    if (bestOf > n)
      throw wrongCount("best_of", `must not be above "n", ${n}, beside "guided_choice", got ${bestOf}`);
    // A constraint goes along with one text, so each text is a job.
    return prompts.flatMap((prompt, p) =>
      Array.from({ length: n }, (_, i) => {
        const seed = options.seed === undefined ? {} : { seed: seedAfter(options.seed, i) };
        return { first: p * n + i, prompt, options: { ...options, ...seed, n: 1, constraint: constraint() } };
      }),
    );
  }
  return prompts.map((prompt, p) => ({
    first: p * n,
    prompt,
    options: { ...options, n, ...(bestOf > n && { bestOf }) },
  }));
}

function wrongCount(param: string, message: string) {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
