import type { ChatMessage } from "../model/chat-template.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Source } from "./source.ts";

/** What decides the tokens, beside the model and the prompt. Every field has a default; 0 or 1 switches off. */
export interface SamplingOptions {
  /** 0 … 2 usually; 0 is greedy. Default 1. */
  temperature?: number;
  /** Keep the k most likely tokens; 0 keeps all. Default 0. */
  topK?: number;
  /** Keep the smallest set whose probabilities reach p, in (0, 1]. Default 1. */
  topP?: number;
  /** Keep tokens at least `minP` times as likely as the best, in [0, 1]. Default 0. */
  minP?: number;
  /** Divides (or multiplies, if negative) the logits of tokens seen before. Default 1. */
  repetitionPenalty?: number;
  /** Unsigned 53-bit integer; the same seed gives the same text. Default: one drawn by the host. */
  seed?: number;
}

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to emit. Default: until the context is full. */
  maxTokens?: number;
  /** Text that ends the generation and is not part of it. */
  stop?: string | readonly string[];
  /** Go on after an end-of-text token. Default false. */
  ignoreEos?: boolean;
  /**
   * Who guesses tokens ahead, to be verified several at a time. Never changes the text, only the speed. Default "none".
   *
   * "prompt-lookup" and "suffix" copy what followed the same words before: for summaries, edits, code, JSON. A model drafts
   * anything; it must share the vocabulary, and pays where it is many times smaller.
   */
  draft?: DraftMethod | Model;
  signal?: AbortSignal;
}

/**
 * One decoded token. `text` may be empty: half a character, or what may become a stop text, is held back and comes with a
 * later piece. The pieces' texts together are the whole text.
 */
export interface Piece {
  readonly token: number;
  readonly text: string;
}

export type DraftMethod = "none" | "prompt-lookup" | "suffix";

/** What speculation did for one text. */
export interface SpeculationSummary {
  /** The method, or `model:` and the model's name. */
  readonly drafter: DraftMethod | `model:${string}`;
  readonly drafted: number;
  readonly accepted: number;
  /** Forward passes of the model behind the prompt's. */
  readonly targetCalls: number;
  /** Tokens per forward pass; 1 without speculation. */
  readonly tokensPerCall: number;
  /** accepted / tested: what follows a wrong guess was never tested. 0 if nothing was. */
  readonly acceptanceRate: number;
}

export type FinishReason = "stop" | "length";

export interface Timings {
  prompt_ms: number;
  prompt_tokens_per_second: number;
  decode_ms: number;
  tokens_per_second: number;
}

/** What `generate` returns when it is done. */
export interface GenerateResult {
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly timings: Timings;
  /** Where a drafter was asked for. */
  readonly speculation?: SpeculationSummary;
}

/**
 * A model that is loaded and can decode. Made by `loadModel`.
 *
 * It is a Source (open your own sessions), and it can generate text directly.
 */
export interface Model extends Source {
  /** From `general.name`, or the file's name. */
  readonly name: string;
  /** As named in the file: llama, qwen2, qwen3. */
  readonly architecture: string;
  readonly tokenizer: Tokenizer;
  /** Which backend runs it. */
  readonly backend: "reference" | "wasm" | "webgpu";
  readonly build: "simd" | "relaxed" | null;
  /** Hash of weights, kernels and backend: equal fingerprint, prompt, options and seed give equal text. */
  readonly fingerprint: string;
  /** Bytes of packed weights held. */
  readonly weightBytes: number;
  /** Milliseconds `loadModel` took. */
  readonly loadMs: number;
  /**
   * Decodes a continuation, a piece per token; returns the summary at the end.
   *
   * @param prompt Text (special tokens in it are plain text; BOS is added if the file says so) or token ids as they are.
   * @throws {RangeError} If an option is out of range or the prompt does not fit the context.
   * @throws {DOMException} AbortError, when `signal` fires.
   */
  generate(
    prompt: string | readonly number[],
    options?: GenerateOptions,
  ): AsyncGenerator<Piece, GenerateResult, void>;
  /** Token ids of a conversation under the model's chat template, ready for `generate`. */
  chatPrompt(messages: readonly ChatMessage[]): number[];
  close(): void;
}
