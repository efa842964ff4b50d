import type { Constraint } from "../decoding/constraint.ts";
import type { TextPolicy } from "../decoding/outcome.ts";
import type { Pipeline } from "../decoding/pipeline.ts";
import { expectInteger, grouped } from "../errors.ts";
import type { GenerateOptions, Model } from "./model.ts";
import { openPipeline, requestFingerprint, seedOf, stopTexts } from "./options.ts";
import { readSpeculation } from "./speculation-options.ts";

/** What is asked for, checked, with every default filled in. */
export interface TextRequest {
  readonly promptTokens: readonly number[];
  /** Most tokens to emit; they fit the context. */
  readonly maxTokens: number;
  readonly pipeline: Pipeline;
  readonly seed: number;
  readonly stops: readonly string[];
  readonly endTokens: ReadonlySet<number>;
  /** A grammar at its beginning, for one text. @throws {RangeError} If it is of another vocabulary. */
  constraint(): Constraint | undefined;
  /** Who decides what survives of drafts. */
  readonly policy: TextPolicy;
  /** Alternatives to tell of each token; undefined: no log-probabilities. */
  readonly logProbabilities: number | undefined;
  /** Of model and pipeline. */
  readonly fingerprint: string;
  /** As given: what the checks above do not cover. */
  readonly options: GenerateOptions;
}

/** Alternatives per token that can be asked for. */
const MAX_TOP = 256;

/** @throws {TypeError | RangeError} If the prompt or an option is wrong; the message names it. */
export function readRequest(
  model: Model,
  prompt: string | readonly number[],
  options: GenerateOptions,
): TextRequest {
  const promptTokens = readPrompt(model, prompt);
  const room = model.contextLength - promptTokens.length;
  const { endTokens } = model.tokenizer;
  const pipeline = openPipeline(options, endTokens);
  const { logProbabilities, stopTokens = [] } = options;
  // Of a server that tells the likeliest tokens, no more can be told.
  const most = Math.min(MAX_TOP, model.known ?? MAX_TOP);
  if (logProbabilities !== undefined) expectInteger("logProbabilities", logProbabilities, 0, most);
  for (const [i, token] of stopTokens.entries()) expectInteger(`stopTokens[${i}]`, token, 0, model.vocab - 1);
  options.signal?.throwIfAborted();
  return {
    promptTokens,
    maxTokens: Math.min(expectInteger("maxTokens", options.maxTokens ?? room, 0, 2 ** 31 - 1), room),
    pipeline,
    seed: seedOf(options),
    stops: stopTexts(options.stop),
    endTokens: new Set([...(options.ignoreEos ? [] : endTokens), ...stopTokens]),
    constraint: () => openConstraint(model, options.constraint),
    policy: readSpeculation(options, model.vocab),
    logProbabilities,
    fingerprint: requestFingerprint(model.fingerprint, pipeline),
    options,
  };
}

/** Positions a session needs for a request: the last token is emitted without being computed on. */
export function capacityOf({ promptTokens, maxTokens }: TextRequest): number {
  return Math.max(1, promptTokens.length + maxTokens - 1);
}

function openConstraint(model: Model, given: GenerateOptions["constraint"]): Constraint | undefined {
  const constraint = typeof given === "function" ? given() : given;
  if (constraint !== undefined) expectInteger("constraint.vocab", constraint.vocab, model.vocab, model.vocab);
  return constraint;
}

function readPrompt(model: Model, prompt: string | readonly number[]): readonly number[] {
  const tokens = typeof prompt === "string" ? model.tokenizer.encode(prompt) : prompt;
  if (!Array.isArray(tokens))
    throw new TypeError(`"prompt" must be a string or an array of token ids, got ${typeof prompt}`);
  if (tokens.length === 0) {
    // Nothing to condition on: begin a text, if the model has a way to say so.
    const { bos, eos } = model.tokenizer;
    const start = bos ?? eos;
    if (start === null)
      throw new RangeError('"prompt" must not be empty: the model has no token to begin a text with');
    return [start];
  }
  tokens.forEach((token, index) => {
    expectInteger(`prompt[${index}]`, token, 0, model.vocab - 1);
  });
  if (tokens.length > model.contextLength) {
    throw new RangeError(
      `"prompt" must have at most ${grouped(model.contextLength)} tokens, the context of the model, got ${grouped(tokens.length)}`,
    );
  }
  return tokens;
}
