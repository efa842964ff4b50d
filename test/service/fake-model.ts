import { argmax, logSumExp, top } from "../../src/backend/reference/row.ts";
import type {
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
  SpeculationSummary,
} from "../../src/engine/model.ts";
import { openPipeline, requestFingerprint, seedAfter } from "../../src/engine/options.ts";
import type { Session } from "../../src/engine/source.ts";
import { StopMatcher } from "../../src/engine/stop-matcher.ts";
import { UnsupportedError } from "../../src/errors.ts";
import type { TokenStream } from "../../src/model/tokenizer.ts";
import { type AppOptions, createApp, type LogLine } from "../../src/service/app.ts";

export interface FakeModel extends Model {
  /** What each prompt was asked, in order. */
  readonly asked: { prompt: readonly number[]; options: GenerateManyOptions }[];
  /** Texts that have begun and were not closed yet; every one must end. */
  live: number;
  /** Pieces given out in all. */
  pieces: number;
}

export interface FakeOptions {
  /** Text to decode, byte by byte; "{seed}" in it becomes the seed. Default "Hello, world". */
  reply?: string;
  contextLength?: number;
  /** Throws this instead of piece `failAt`. */
  failure?: Error;
  failAt?: number;
  /** Waited for before each piece. */
  before?: () => Promise<unknown>;
  /** What the chat template makes of tools. Default: it knows nothing of them. */
  toolPrompt?: (tools: readonly object[]) => string;
  /** What drafting gave, where it is asked for. */
  speculation?: SpeculationSummary;
}

const BOS = 256;
export const EOS = 257;

/** −ln of how likely token `token` was: anything that tells tokens apart. Token "z" had no chance. */
export const logProbabilityOf = (token: number) => (token === 122 ? -Infinity : -token / 128);

/** The token and those after it, the end token first. */
export function topOf(token: number, count: number) {
  const tokens = [EOS, token, ...Array.from({ length: 255 }, (_, i) => (token + i + 1) % 256)];
  return tokens.slice(0, count).map((id) => ({ token: id, logProbability: logProbabilityOf(id) }));
}

/** A model whose tokens are bytes and whose answer is known; it keeps the contract of `Model`. */
export function fakeModel(fake: FakeOptions = {}): FakeModel {
  const { contextLength = 64, reply = "Hello, world" } = fake;
  const endTokens = new Set([EOS]);
  const encode = (text: string, { special = true } = {}) => [
    ...(special ? [BOS] : []),
    ...new TextEncoder().encode(text),
  ];
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
      endTokens,
      encode,
      bytes: bytesOf,
      decode: (tokens) =>
        new TextDecoder().decode(Uint8Array.from(Array.from(tokens).filter((t) => t < 256))),
      stream: byteStream,
    },
    open: ({ capacity = contextLength } = {}) => openRows(model, capacity),
    chatPrompt: (messages, options) => encode(model.chatText(messages, options)),
    chatText(messages, { tools = [] } = {}) {
      if (messages[0].role === "assistant") throw new Error("Conversation must begin with a user message");
      const toolText = tools.length > 0 ? (fake.toolPrompt?.(tools) ?? noTools()) : "";
      const lines = messages.map(({ role, content, toolCalls, toolCallId }) => {
        const calls = toolCalls ? ` ${JSON.stringify(toolCalls)}` : "";
        return `${role}${toolCallId ? `(${toolCallId})` : ""}: ${content}${calls}\n`;
      });
      return toolText + lines.join("");
    },
    generate() {
      throw new Error("the service makes all its texts with generateMany");
    },
    async *generateMany(prompt, asked = {}): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
      if (typeof prompt === "string") throw new TypeError("the service tokenizes by itself");
      model.asked.push({ prompt, options: asked });
      const { n = 1, bestOf = n } = asked;
      // Of more texts than are wanted, the last ones are best.
      const texts = Array.from({ length: n }, (_, i) => {
        const seed = asked.seed === undefined ? 0 : seedAfter(asked.seed, bestOf - n + i);
        return decodeText(prompt, { ...asked, seed });
      });
      const results: GenerateResult[] = [];
      try {
        while (Object.keys(results).length < n) {
          for (const [index, text] of texts.entries()) {
            if (results[index] !== undefined) continue;
            const step = await text.next();
            if (step.done) results[index] = step.value;
            else yield { index, ...step.value };
          }
        }
        return results;
      } finally {
        for (const text of texts) await text.return(undefined as never);
      }
    },
    requestFingerprint: (options = {}) =>
      requestFingerprint(model.fingerprint, openPipeline(options, endTokens)),
    close() {},
  };

  async function* decodeText(
    prompt: readonly number[],
    options: GenerateOptions & { seed: number },
  ): AsyncGenerator<Piece, GenerateResult, void> {
    model.live++;
    try {
      const stops = new StopMatcher([options.stop ?? []].flat());
      const decoder = byteStream();
      const bytes = encode(reply.replace("{seed}", String(options.seed)), { special: false });
      const room = Math.min(options.maxTokens ?? Number.POSITIVE_INFINITY, contextLength - prompt.length);
      const tokens: number[] = [];
      let text = "";
      const tell = (token: number, said: string): Piece => {
        text += said;
        model.pieces++;
        const wanted = options.logProbabilities;
        if (wanted === undefined) return { token, text: said };
        return { token, text: said, logProbability: logProbabilityOf(token), top: topOf(token, wanted) };
      };
      for (const [i, token] of bytes.slice(0, room).entries()) {
        if (fake.before) await fake.before();
        options.signal?.throwIfAborted();
        if (fake.failure && tokens.length === fake.failAt) throw fake.failure;
        tokens.push(token);
        let said = stops.push(decoder.push(token));
        const isLast = i + 1 === Math.min(bytes.length, room);
        if (isLast && !stops.stopped) said += stops.push(decoder.end()) + stops.end();
        yield tell(token, said);
        if (stops.stopped) break;
      }
      const finishReason = stops.stopped || bytes.length <= room ? "stop" : "length";
      const drafts = options.prediction !== undefined || (options.draft ?? "none") !== "none";
      return {
        promptTokens: prompt,
        cachedTokens: 0,
        tokens,
        text,
        finishReason,
        logProbability: 0,
        timings: { prompt_ms: 0, prompt_tokens_per_second: 0, decode_ms: 0, tokens_per_second: 0 },
        fingerprint: model.requestFingerprint(options),
        backend: "wasm",
        seed: options.seed,
        ...(drafts && fake.speculation && { speculation: fake.speculation }),
      };
    } finally {
      model.live--;
    }
  }

  return model;
}

function noTools(): never {
  throw new UnsupportedError("The model's chat template knows nothing of tools");
}

/** After token t, token i has the logit ((i · 7 + t) mod 11) / 2. */
export const logitOf = (before: number, token: number) => ((token * 7 + before) % 11) / 2;

/** A session whose rows depend on the token before alone. */
function openRows(model: FakeModel, capacity: number): Session {
  let length = 0;
  model.live++;
  return {
    get length() {
      return length;
    },
    capacity,
    async forward(tokens, count = 1) {
      length += tokens.length;
      if (length > capacity) throw new RangeError("the session is full");
      const row = (index: number) => {
        const before = tokens[tokens.length - count + index];
        return Float32Array.from({ length: model.vocab }, (_, token) => logitOf(before, token));
      };
      return {
        count,
        vocab: model.vocab,
        row,
        argmax: (index) => argmax(row(index)),
        top: (index, most) => top(row(index), most),
        logSumExp: (index) => logSumExp(row(index)),
      };
    },
    truncate() {
      throw new Error("the service does not truncate");
    },
    fork() {
      throw new Error("the service does not fork");
    },
    close() {
      model.live--;
    },
  };
}

function bytesOf(token: number): Uint8Array {
  return token < 256 ? Uint8Array.of(token) : new Uint8Array();
}

function byteStream(): TokenStream {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let missing = 0;
  return {
    push(token) {
      if (token < 256) missing = (token & 0xc0) === 0x80 ? Math.max(0, missing - 1) : continuations(token);
      return decoder.decode(bytesOf(token), { stream: true });
    },
    get holding() {
      return missing > 0;
    },
    end: () => decoder.decode(),
  };
}

/** Bytes that must follow a first byte of a character. */
function continuations(byte: number): number {
  return byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
}

/** An app over one fake model called "fake", and the ways the tests talk to it. */
export function fakeService(model = fakeModel(), options: Partial<AppOptions> = {}) {
  const errors: unknown[] = [];
  const lines: LogLine[] = [];
  const app = createApp({
    models: { names: ["fake"], get: async () => model },
    onError: (error) => errors.push(error),
    log: (line) => lines.push(line),
    ...options,
  });
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    app.request(path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": "application/json" },
      ...init,
    });
  return { app, model, errors, lines, post };
}

/** Waits until this many requests decode, and wait. */
export async function untilBusy(
  { app }: Pick<ReturnType<typeof fakeService>, "app">,
  running: number,
  waiting = 0,
) {
  for (;;) {
    const now = (await (await app.request("/health")).json()) as { running: number; waiting: number };
    if (now.running === running && now.waiting === waiting) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The JSON values of a finished event stream; the last line must be [DONE]. */
export function framesOf(stream: string): unknown[] {
  const data = stream.split("\n\n").slice(0, -1);
  if (data.pop() !== "data: [DONE]") throw new Error(`stream does not end with [DONE]: ${stream}`);
  return data.map((line) => JSON.parse(line.slice("data: ".length)));
}
