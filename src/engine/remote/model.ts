/**
 * connectModel: a model that a server runs, as one of this process: generate, draft for it with a small local model, fuse it
 * with private ones. What the server has not, a tokenizer and a chat template, a local model lends.
 */
import { Fingerprint } from "../../format/fingerprint.ts";
import type { ChatMessage, ChatOptions } from "../../model/chat-template.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { GeneratingModel } from "../generating-model.ts";
import type { Model } from "../model.ts";
import type { Session, SessionOptions } from "../source.ts";
import { type ConnectedServer, type ConnectOptions, connectServer } from "./connect.ts";
import { RemoteSource } from "./source.ts";

/** What is needed of the model that lends them. */
export type Lender = Pick<Model, "tokenizer" | "vocab" | "chatPrompt" | "chatText">;

export interface RemoteModelOptions extends ConnectOptions {
  /** A local model of the same tokens, or one whose tokens the text shall be of. */
  readonly like: Lender;
  /** Default: what the server calls it. */
  readonly name?: string;
}

/**
 * A model on a server: llama.cpp's, vLLM, another Edgewise, or any with OpenAI's completions and log-probabilities.
 *
 * With the tokens of `like`, a draft is verified in one request and nothing but ids goes over the wire; a server with others
 * is read by text, and cannot be told half a character. From Edgewise come whole rows, so a text is what it would be there,
 * bit for bit. Others tell the likeliest tokens of a row (`known`): see RemoteSource for what that means.
 *
 * @param url As in "http://127.0.0.1:8080" or "https://host/v1#model".
 * @throws {TypeError | RangeError} If an option is wrong.
 * @throws {UnsupportedError} If the server cannot give rows of these tokens.
 * @throws {RemoteError} If it cannot be reached, or does not answer as such a server does.
 *
 * @example
 * ```ts
 * const small = await loadModel("small.gguf");
 * const large = await connectModel("http://gpu:8000/v1", { like: small, fetch });
 * for await (const { text } of large.generate("Once upon a time", { draft: small, temperature: 0 })) print(text);
 * ```
 */
export async function connectModel(url: string | URL, options: RemoteModelOptions): Promise<Model> {
  const { like, name } = options;
  if (typeof like !== "object" || like === null || !("tokenizer" in like)) {
    throw new TypeError(`"like" must be a model, got ${like === null ? "null" : typeof like}`);
  }
  const started = performance.now();
  const connected = await connectServer(url, like, options);
  const loadMs = Math.round((performance.now() - started) * 1000) / 1000;
  return new RemoteModel(connected, like, { name: name ?? connected.server.model, loadMs });
}

export class RemoteModel extends GeneratingModel implements Model {
  readonly name: string;
  readonly architecture = "remote";
  readonly tokenizer: Tokenizer;
  readonly backend = "reference";
  readonly build = null;
  readonly vocab: number;
  readonly contextLength: number;
  readonly known?: number;
  /** Of server, model and tokens; what the server changes by itself it does not see. */
  readonly fingerprint: string;
  /** None here. */
  readonly weightBytes = 0;
  readonly loadMs: number;
  readonly speech: "ids" | "text";
  readonly #source: RemoteSource;
  readonly #like: Lender;
  #isClosed = false;

  constructor(
    { server, speech }: ConnectedServer,
    like: Lender,
    facts: { readonly name: string; readonly loadMs: number },
  ) {
    super();
    const { contextLength = 1 } = server;
    const { unspeakable } = speech;
    this.#source = new RemoteSource(server, { vocab: like.vocab, contextLength, unspeakable });
    this.#like = like;
    this.name = facts.name;
    this.loadMs = facts.loadMs;
    this.tokenizer = like.tokenizer;
    this.vocab = like.vocab;
    this.contextLength = contextLength;
    if (this.#source.known !== undefined) this.known = this.#source.known;
    this.speech = speech.kind;
    const hash = new Fingerprint();
    hash.addText(`remote 1 ${server.fingerprint}`);
    this.fingerprint = `ew-${hash}`;
  }

  open(options?: SessionOptions): Session {
    // Of a Worker, what belongs to one request must not be touched by another: a model has no signal, its sessions have.
    if (this.#isClosed) throw new RangeError("Cannot use model: it is closed");
    return this.#source.open(options);
  }

  chatPrompt(messages: readonly ChatMessage[], options?: ChatOptions): number[] {
    return this.#like.chatPrompt(messages, options);
  }

  chatText(messages: readonly ChatMessage[], options?: ChatOptions): string {
    return this.#like.chatText(messages, options);
  }

  /** No session can be opened afterwards. The model that lent the tokenizer belongs to who loaded it. */
  close(): void {
    this.#isClosed = true;
  }
}
