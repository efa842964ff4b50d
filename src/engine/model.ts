import type { Constraint } from "../decoding/constraint.ts";
import type { DrafterName } from "../decoding/drafter/registry.ts";
import type { FuseAudit } from "../decoding/fuse.ts";
import type { TextPolicy } from "../decoding/outcome.ts";
import type { PresetName, PresetOptions, Step, TokenLogProbability } from "../decoding/pipeline.ts";
import type { VerifierName } from "../decoding/verify/registry.ts";
import type { ChatMessage, ChatOptions } from "../model/chat-template.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Lease } from "./lease.ts";
import type { Source } from "./source.ts";

/**
 * What decides the tokens, beside the model and the prompt: the options of a preset, each off unless it is given (a preset
 * of another runtime has that one's values), or the steps themselves.
 */
export interface SamplingOptions extends PresetOptions {
  /** Order of the steps, and their defaults. Default "edgewise": everything there is, all off. */
  preset?: PresetName;
  /** The steps in order, as plain JSON, instead of a preset and its options. */
  pipeline?: readonly Step[];
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
  /** Tell the log-probability of each token, and of this many most likely ones beside it, 0 … 256. Default: neither. */
  logProbabilities?: number;
  /** Token ids that end the generation and are not part of it, beside the model's own. */
  stopTokens?: readonly number[];
  /**
   * What a grammar allows. It stands at its beginning, knows nothing of the prompt, and is advanced by what is emitted; so
   * several texts need one each, from a function.
   */
  constraint?: Constraint | (() => Constraint);
  /**
   * Who guesses tokens ahead, to be verified several at a time. Never changes the text with the default verifier, only the
   * speed. Default "none", or "prediction" where one is given.
   *
   * "prompt-lookup", "ngram" and "suffix" copy what followed the same words before: for summaries, edits, code, JSON;
   * "ngram-cache" counts it, "recycling" takes the runners-up of earlier rows, "recycling-tree" several of them at once.
   * A model drafts anything and pays where it is many times smaller; one with another vocabulary drafts text. "self" is the
   * model itself with a part of its vocabulary, and pays where that is large beside its layers.
   */
  draft?: DraftMethod | Model;
  /**
   * What the text will probably be (OpenAI's `prediction`): copied for as long as it holds. Text or token ids. Not looked at
   * beside a draft model, "self" or "none".
   */
  prediction?: string | readonly number[];
  /**
   * Who decides what survives of a draft. Default: what keeps the text as it is without a draft, "match", or "gumbel" for
   * a draft model. Others accept more (token, block and the tree verifiers keep the law of the text, not the text), or are
   * lossy; the result says which.
   */
  verifier?: VerifierName | TextPolicy;
  speculation?: SpeculationOptions;
  /** Of a fused model: tell how the row of each token came about. Default false. */
  audit?: boolean;
  signal?: AbortSignal;
  /**
   * For hosts that may end a request without a word: what the text holds is taken back where memory is short and the lease
   * is over. Each pass over the weights renews it.
   */
  lease?: Lease;
}

export interface SpeculationOptions {
  /** Longest draft in tokens, or nodes of a tree, 1 … 64. Default: as long as pays. */
  gamma?: number;
  /** Whether a draft model drafts a tree. Default false. */
  tree?: boolean;
  /** False: always drafts `gamma` tokens, 4 by default, whether it pays or not. Default true. */
  adaptive?: boolean;
}

/** Several texts of one prompt. */
export interface GenerateManyOptions extends GenerateOptions {
  /** Texts to return, 1 … 64. Default 1. */
  n?: number;
  /** Texts to make, of which the `n` with the highest mean log-probability are returned. Default `n`. */
  bestOf?: number;
}

/**
 * One decoded token. `text` may be empty: half a character, or what may become a stop text, is held back and comes with a
 * later piece. The pieces' texts together are the whole text.
 */
export interface Piece {
  readonly token: number;
  readonly text: string;
  /** ln p of the token, in the law it was drawn from. Where `logProbabilities` was asked for. */
  readonly logProbability?: number;
  /** The most likely tokens there, most likely first; fewer if fewer had a chance. */
  readonly top?: readonly TokenLogProbability[];
}

/** A piece of one of several texts. */
export interface IndexedPiece extends Piece {
  /** Which text, 0 … n − 1. */
  readonly index: number;
}

export type DraftMethod = "none" | "self" | DrafterName;

/** What speculation did for one text. */
export interface SpeculationSummary {
  /** The method, "prediction", or `model:` and the model's name. */
  readonly drafter: string;
  readonly verifier: VerifierName;
  /** Whether the text depends on model, prompt, pipeline and seed alone, not on the drafter. */
  readonly reproducible: boolean;
  /** Whether the text has the law of plain decoding, by rows that tell all of it. */
  readonly lossless: boolean;
  readonly drafted: number;
  readonly tested: number;
  readonly accepted: number;
  /** Forward passes of the model behind the prompt's. */
  readonly targetCalls: number;
  /** Tokens per forward pass; 1 without speculation. */
  readonly tokensPerCall: number;
  /** accepted / tested: what follows a wrong guess was never tested. 0 if nothing was. */
  readonly acceptanceRate: number;
  /** [i]: how often the i-th token of a draft was tested, and accepted. */
  readonly testedAt: readonly number[];
  readonly acceptedAt: readonly number[];
  /** Where the time went, in milliseconds. */
  readonly ms: { readonly draft: number; readonly target: number; readonly sample: number };
}

export type FinishReason = "stop" | "length";

export interface Timings {
  prompt_ms: number;
  prompt_tokens_per_second: number;
  decode_ms: number;
  tokens_per_second: number;
}

/** A token's log-probability in the law it was drawn from, and the most likely tokens there. */
export interface TokenAlternatives extends TokenLogProbability {
  readonly top: readonly TokenLogProbability[];
}

/** What `generate` returns when it is done. */
export interface GenerateResult {
  readonly promptTokens: readonly number[];
  /** How many of them an earlier text began with too, and were not computed again. */
  readonly cachedTokens: number;
  readonly tokens: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /**
   * ln p of all tokens together. NaN where nobody asked for log-probabilities and a certified head drew a token without
   * them, which take the row.
   */
  readonly logProbability: number;
  readonly timings: Timings;
  /** Hash of the model's fingerprint and the pipeline: equal fingerprint, prompt and seed give equal text. */
  readonly fingerprint: string;
  /** Where the text ended. */
  readonly backend: Model["backend"];
  /**
   * Why that is not the backend that was asked for. A text that left a device on its way is of both, and its fingerprint that
   * of where it began.
   */
  readonly fallback?: string;
  /** The seed that was used. */
  readonly seed: number;
  /** Per token, where `logProbabilities` was asked for. */
  readonly logProbabilities?: readonly TokenAlternatives[];
  /** Where a drafter was asked for. */
  readonly speculation?: SpeculationSummary;
  /** Tokens that rows told the probability of, where that is not all: the text is of that law, not of the model's own. */
  readonly known?: number;
  /** Per token, where `audit` was asked for and the model is a fused one. */
  readonly audits?: readonly FuseAudit[];
}

/**
 * A model that is loaded and can decode. Made by `loadModel`.
 *
 * It is a Source (open your own sessions), and it can generate text directly.
 */
export interface Model extends Source {
  /** From `general.name`, or the file's name. */
  readonly name: string;
  /** As named in the file: llama, qwen2, qwen3, gemma3. */
  readonly architecture: string;
  readonly tokenizer: Tokenizer;
  /** Which backend runs it. */
  readonly backend: "reference" | "wasm" | "webgpu";
  /** Of its kernels, null where there is only one: Wasm with or without relaxed SIMD, WebGPU in f32, by dots of bytes or in half floats. */
  readonly build: "simd" | "relaxed" | "plain" | "packed" | "f16" | null;
  /** Why that is not the backend that was asked for. */
  readonly fallback?: string;
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
  /**
   * Decodes several texts of one prompt together: they share its KV cache, and one pass over the weights serves all. Text
   * i is what `generate` gives with `seed` + i.
   *
   * With `bestOf` above `n` nothing can be told before all are done: the pieces come at the end.
   */
  generateMany(
    prompt: string | readonly number[],
    options?: GenerateManyOptions,
  ): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void>;
  /** What `GenerateResult.fingerprint` will be. @throws {RangeError | TypeError} If a sampling option is wrong. */
  requestFingerprint(options?: SamplingOptions): string;
  /** Token ids of a conversation under the model's chat template, ready for `generate`. @throws As `chatText`. */
  chatPrompt(messages: readonly ChatMessage[], options?: ChatOptions): number[];
  /**
   * The same as text, with control tokens spelled out.
   *
   * @throws {RangeError | TypeError} If the template refuses the messages.
   * @throws {UnsupportedError} If there are tools, and the template knows nothing of them.
   */
  chatText(messages: readonly ChatMessage[], options?: ChatOptions): string;
  close(): void;
}
