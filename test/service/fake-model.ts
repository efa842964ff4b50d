import type { GenerateOptions, GenerateResult, Model, Piece } from "../../src/engine/model.ts";
import { type AppOptions, createApp } from "../../src/service/app.ts";

export interface FakeModel extends Model {
  /** What each `generate` was asked, in order. */
  readonly asked: { prompt: readonly number[]; options: GenerateOptions }[];
  /** Generations that have begun and were not closed yet; every one must end. */
  live: number;
  /** Pieces given out in all. */
  pieces: number;
}

export interface FakeOptions {
  /** Text to decode, character by character; "{seed}" in it becomes the seed. Default "Hello, world". */
  reply?: string;
  contextLength?: number;
  /** Throws this instead of piece `failAt`. */
  failure?: Error;
  failAt?: number;
  /** Waited for before each piece. */
  before?: () => Promise<unknown>;
}

const BOS = 256;
const EOS = 257;

/** A model whose tokens are bytes and whose answer is known; it keeps the contract of `Model`. */
export function fakeModel(options: FakeOptions = {}): FakeModel {
  const { contextLength = 64, reply = "Hello, world" } = options;
  const encode = (text: string) => [BOS, ...new TextEncoder().encode(text)];
  const model: FakeModel = {
    name: "fake",
    architecture: "llama",
    backend: "reference",
    build: null,
    fingerprint: "fp_fake",
    weightBytes: 0,
    loadMs: 0,
    vocab: 258,
    contextLength,
    asked: [],
    live: 0,
    pieces: 0,
    tokenizer: {
      vocab: 258,
      bos: BOS,
      eos: EOS,
      endTokens: new Set([EOS]),
      encode,
      bytes: (token) => (token < 256 ? Uint8Array.of(token) : new Uint8Array()),
      decode: (tokens) =>
        new TextDecoder().decode(Uint8Array.from(Array.from(tokens).filter((t) => t < 256))),
      stream: () => ({ push: (token) => String.fromCharCode(token), end: () => "", holding: false }),
    },
    open() {
      throw new Error("the service opens no sessions itself");
    },
    chatPrompt(messages) {
      if (messages[0].role === "assistant") throw new Error("Conversation must begin with a user message");
      return encode(messages.map(({ role, content }) => `${role}: ${content}\n`).join(""));
    },
    async *generate(prompt, asked = {}): AsyncGenerator<Piece, GenerateResult, void> {
      if (typeof prompt === "string") throw new TypeError("the service tokenizes by itself");
      model.asked.push({ prompt, options: asked });
      model.live++;
      try {
        const stops = [asked.stop ?? []].flat();
        const full = reply.replace("{seed}", String(asked.seed));
        const cut = Math.min(full.length, ...stops.map((stop) => full.indexOf(stop)).filter((at) => at >= 0));
        const room = Math.min(asked.maxTokens ?? Number.POSITIVE_INFINITY, contextLength - prompt.length);
        const text = full.slice(0, Math.min(cut, room));
        const tokens: number[] = [];
        for (const character of text) {
          if (options.before) await options.before();
          asked.signal?.throwIfAborted();
          if (options.failure && tokens.length === options.failAt) throw options.failure;
          tokens.push(character.codePointAt(0)!);
          model.pieces++;
          yield { token: tokens.at(-1)!, text: character };
        }
        const finishReason = text.length < cut ? "length" : "stop";
        const timings = { prompt_ms: 0, prompt_tokens_per_second: 0, decode_ms: 0, tokens_per_second: 0 };
        return { promptTokens: prompt, tokens, text, finishReason, timings };
      } finally {
        model.live--;
      }
    },
    close() {},
  };
  return model;
}

/** An app over one fake model called "fake", and the ways the tests talk to it. */
export function fakeService(model = fakeModel(), options: Partial<AppOptions> = {}) {
  const errors: unknown[] = [];
  const app = createApp({
    models: { names: ["fake"], get: async () => model },
    onError: (error) => errors.push(error),
    ...options,
  });
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    app.request(path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": "application/json" },
      ...init,
    });
  return { app, model, errors, post };
}

/** The JSON values of a finished event stream; the last line must be [DONE]. */
export function framesOf(stream: string): unknown[] {
  const data = stream.split("\n\n").slice(0, -1);
  if (data.pop() !== "data: [DONE]") throw new Error(`stream does not end with [DONE]: ${stream}`);
  return data.map((line) => JSON.parse(line.slice("data: ".length)));
}
