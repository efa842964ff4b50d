import type { Constraint } from "../decoding/constraint.ts";
import type { GenerateManyOptions, GenerateOptions, Model } from "../engine/model.ts";
import { seedAfter } from "../engine/options.ts";
import type { EchoRequest } from "./echo.ts";
import { checkedByEngine } from "./engine-errors.ts";
import { apiError } from "./errors.ts";
import type { CallRule } from "./forced-call.ts";
import { readConstraint } from "./options/guided.ts";
import { onlyOne, readSampling } from "./options/sampling.ts";
import { readSpeculation } from "./options/speculation.ts";
import { readTokenIds } from "./options/tokens.ts";
import { type CommonBody, MAX_CHOICES } from "./schemas.ts";

/** A prompt, and how many texts to make of it: OpenAI's `choices[first]` and those behind. */
export interface Job {
  readonly first: number;
  readonly prompt: readonly number[];
  readonly options: GenerateManyOptions & { readonly n: number };
  /** The prompt is to be told before its texts. */
  readonly echo?: EchoRequest;
}

/** A request in the engine's words. */
export interface RequestOptions {
  readonly options: GenerateOptions;
  /** OpenAI's `system_fingerprint`: model, kernels, and the steps in order. */
  readonly fingerprint: string;
  /** Of the model. */
  readonly contextLength: number;
  /** What the text must be; one for each text. */
  readonly constraint?: () => Constraint;
}

/** What the routes read each in their own way. */
export interface RouteOptions {
  /** undefined: until the context is full. */
  readonly defaultMaxTokens?: number;
  /** Alternatives to tell of each token; undefined: nothing of it. */
  readonly logProbabilities?: number;
  /** What the text must be for the sake of its calls of functions. */
  readonly call?: CallRule;
  /** Where the request asks for it. */
  readonly draftModel?: Model;
}

/**
 * Everything but the prompt. What is wrong is found here, before anything is decoded.
 *
 * @throws {HTTPException} 400 that names the field.
 */
export function readOptions(
  model: Model,
  body: CommonBody,
  { defaultMaxTokens, logProbabilities, call, draftModel }: RouteOptions,
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
    const stopTokens = readStopTokens(model, body.stop_token_ids);
    const sampling = readSampling(model, body);
    // Whatever ends a text must not come too early.
    if (sampling.minTokens && stopTokens.length > 0)
      sampling.endTokens = [...model.tokenizer.endTokens, ...stopTokens];
    const options: GenerateOptions = {
      ...(typeof maxTokens === "number" && { maxTokens: Math.min(maxTokens, model.contextLength) }),
      ...(body.stop && { stop: body.stop }),
      ...(body.ignore_eos && { ignoreEos: true }),
      ...(logProbabilities !== undefined && { logProbabilities }),
      ...(stopTokens.length > 0 && { stopTokens }),
      ...sampling,
      ...readSpeculation(model, body, draftModel),
    };
    const fingerprint = model.requestFingerprint(sampling);
    const { contextLength } = model;
    return { options, fingerprint, contextLength, constraint: readConstraint(model, body, call) };
  });
}

/**
 * The texts of a request, indexed as OpenAI does: all `n` of the first prompt, then those of the second.
 *
 * With a seed, text i of a prompt is what `seed + i` gives alone, whatever was asked for beside it.
 *
 * @param mostTokens To decode for one request, of all its texts together.
 * @throws {HTTPException} 400, if they are too many or too long, or `best_of` is below `n` or beside `stream`.
 */
export function readJobs(
  prompts: readonly number[][],
  body: CommonBody & { best_of?: number | null },
  { options: asked, constraint, contextLength }: RequestOptions,
  mostTokens: number,
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
  const share = shareOf(mostTokens, prompts.length * bestOf, body, asked);
  const options = { ...asked, ...(share < contextLength && { maxTokens: share }) };
  if (constraint !== undefined) {
    if (bestOf > n)
      throw wrongCount(
        "best_of",
        `must not be above "n", ${n}, where it is said what the texts must be, got ${bestOf}`,
      );
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

/** Most tokens of one of `texts` texts. What the client did not ask for may become less without a word. */
function shareOf(most: number, texts: number, body: CommonBody, { maxTokens }: GenerateOptions): number {
  const share = Math.floor(most / texts);
  if (maxTokens === undefined || maxTokens <= share) return maxTokens ?? share;
  const param = body.max_tokens == null ? "max_completion_tokens" : "max_tokens";
  if (body[param] == null) return share;
  const got = texts === 1 ? maxTokens : `${texts} texts x ${maxTokens}`;
  throw wrongCount(param, `must ask for at most ${most} tokens in all on this server, got ${got}`);
}

/** vLLM's `stop_token_ids`. */
function readStopTokens(model: Model, ids: unknown): number[] {
  if (Array.isArray(ids) && ids.length === 0) return [];
  return readTokenIds(model, "stop_token_ids", ids) ?? [];
}

function wrongCount(param: string, message: string) {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
