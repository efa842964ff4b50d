import type { Backend } from "../backend/backend.ts";
import { generate } from "../decoding/generate.ts";
import { nextTask } from "../decoding/next-task.ts";
import { expectInteger, grouped } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { type ChatMessage, encodeChat, renderChat } from "../model/chat-template.ts";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { FinishReason, GenerateOptions, GenerateResult, Model, Piece } from "./model.ts";
import { samplingSettings, stopTexts } from "./options.ts";
import { LocalSession } from "./session.ts";
import type { Session } from "./source.ts";
import { type OpenSpeculation, openSpeculation, summarize } from "./speculation.ts";
import { StopMatcher } from "./stop-matcher.ts";

/** What `loadModel` found out about the file and how it was loaded. */
export interface ModelFacts {
  readonly name: string;
  readonly contextLength: number;
  readonly fingerprint: string;
  readonly weightBytes: number;
  readonly loadMs: number;
}

const NO_TOKENS: ReadonlySet<number> = new Set();

/** Milliseconds between two turns for everything else in the process. */
const TURN_MS = 8;

export class LocalModel implements Model {
  readonly name: string;
  readonly architecture: string;
  readonly tokenizer: Tokenizer;
  readonly backend: Backend["name"];
  readonly build: Backend["build"];
  readonly vocab: number;
  readonly contextLength: number;
  readonly fingerprint: string;
  readonly weightBytes: number;
  readonly loadMs: number;
  readonly #backend: Backend;
  readonly #model: Llama;
  readonly #metadata: Metadata;

  constructor(backend: Backend, model: Llama, metadata: Metadata, tokenizer: Tokenizer, facts: ModelFacts) {
    this.name = facts.name;
    this.architecture = model.config.architecture;
    this.tokenizer = tokenizer;
    this.backend = backend.name;
    this.build = backend.build;
    this.vocab = model.vocab;
    this.contextLength = facts.contextLength;
    this.fingerprint = facts.fingerprint;
    this.weightBytes = facts.weightBytes;
    this.loadMs = facts.loadMs;
    this.#backend = backend;
    this.#model = model;
    this.#metadata = metadata;
  }

  open(options: { capacity?: number } = {}): Session {
    const capacity = expectInteger("capacity", options.capacity ?? this.contextLength, 1, this.contextLength);
    return new LocalSession(this.#backend, this.#model, capacity);
  }

  async *generate(
    prompt: string | readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<Piece, GenerateResult, void> {
    const promptTokens = this.#promptTokens(prompt);
    const room = this.contextLength - promptTokens.length;
    const maxTokens = Math.min(expectInteger("maxTokens", options.maxTokens ?? room, 0, 2 ** 31 - 1), room);
    const sampling = samplingSettings(options);
    const stops = new StopMatcher(stopTexts(options.stop));
    const endTokens = options.ignoreEos ? NO_TOKENS : this.tokenizer.endTokens;
    options.signal?.throwIfAborted();

    // The last token is emitted without being computed on, hence no room for it.
    const capacity = Math.max(1, promptTokens.length + maxTokens - 1);
    const session = this.open({ capacity });
    let speculation: OpenSpeculation | undefined;
    const decoder = this.tokenizer.stream();
    const tokens: number[] = [];
    let text = "";
    const started = performance.now();
    let decoding = started;
    let turn = started;
    let finishReason: FinishReason = "length";
    let held: Piece | null = null;
    try {
      speculation = openSpeculation(this, options.draft ?? "none", capacity, sampling);
      const steps = generate(session, promptTokens, {
        sampling,
        maxTokens,
        endTokens,
        signal: options.signal,
        speculation,
      });
      for (;;) {
        const step = await steps.next();
        const now = performance.now();
        if (tokens.length === 0) decoding = now;
        if (step.done) {
          if (step.value === "end") finishReason = "stop";
          break;
        }
        tokens.push(step.value);
        if (held !== null) {
          yield held;
          options.signal?.throwIfAborted();
        }
        // Rows that only pad the embedding have no token in the vocabulary, hence no text.
        const spelled = step.value < this.tokenizer.vocab ? decoder.push(step.value) : "";
        const piece = { token: step.value, text: stops.push(spelled) };
        text += piece.text;
        // Should this be the last token, its piece must take along what is held back, so it waits.
        held = decoder.holding || stops.holding ? piece : null;
        if (held === null) yield piece;
        if (stops.stopped) {
          finishReason = "stop";
          break;
        }
        if (now - turn > TURN_MS) {
          await nextTask();
          turn = performance.now();
        }
      }
    } finally {
      session.close();
      speculation?.close();
    }
    const tail = stops.stopped ? "" : stops.push(decoder.end()) + stops.end();
    if (stops.stopped) finishReason = "stop";
    text += tail;
    if (held !== null) yield { token: held.token, text: held.text + tail };
    const ended = performance.now();
    return {
      promptTokens,
      tokens,
      text,
      finishReason,
      timings: timings(promptTokens.length, decoding - started, tokens.length, ended - decoding),
      ...(speculation && { speculation: summarize(speculation) }),
    };
  }

  chatPrompt(messages: readonly ChatMessage[]): number[] {
    return encodeChat(this.tokenizer, renderChat(this.#metadata, messages));
  }

  close(): void {
    this.#backend.close();
  }

  #promptTokens(prompt: string | readonly number[]): readonly number[] {
    const tokens = typeof prompt === "string" ? this.tokenizer.encode(prompt) : prompt;
    if (!Array.isArray(tokens))
      throw new TypeError(`"prompt" must be a string or an array of token ids, got ${typeof prompt}`);
    if (tokens.length === 0) {
      // Nothing to condition on: begin a text, if the model has a way to say so.
      const { bos, eos } = this.tokenizer;
      const start = bos ?? eos;
      if (start === null)
        throw new RangeError('"prompt" must not be empty: the model has no token to begin a text with');
      return [start];
    }
    tokens.forEach((token, index) => {
      expectInteger(`prompt[${index}]`, token, 0, this.vocab - 1);
    });
    if (tokens.length > this.contextLength) {
      throw new RangeError(
        `"prompt" must have at most ${grouped(this.contextLength)} tokens, the context of the model, got ${grouped(tokens.length)}`,
      );
    }
    return tokens;
  }
}

/** The first token counts to the prompt: it comes out of the same forward pass. */
function timings(
  promptTokens: number,
  promptMs: number,
  tokens: number,
  decodeMs: number,
): GenerateResult["timings"] {
  const perSecond = (count: number, ms: number) => (count > 0 && ms > 0 ? round((count * 1000) / ms) : 0);
  return {
    prompt_ms: round(promptMs),
    prompt_tokens_per_second: perSecond(promptTokens, promptMs),
    decode_ms: round(decodeMs),
    tokens_per_second: perSecond(tokens - 1, decodeMs),
  };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
