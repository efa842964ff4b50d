import type { Backend } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { type ChatMessage, type ChatOptions, encodeChat, renderChat } from "../model/chat-template.ts";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { Batcher } from "./batch.ts";
import { forwardAll } from "./forward-all.ts";
import { GeneratingModel } from "./generating-model.ts";
import { takeOver, takeResting } from "./lease.ts";
import type { Model } from "./model.ts";
import { setBackend } from "./model-backend.ts";
import { setPromptOpener } from "./model-prompts.ts";
import { PrefixCache } from "./prefix-cache.ts";
import { Prompts } from "./prompts.ts";
import type { Call, Rows, Session, SessionOptions } from "./source.ts";

/** What `loadModel` found out about the file and how it was loaded. */
export interface ModelFacts {
  readonly name: string;
  readonly contextLength: number;
  readonly fingerprint: string;
  readonly weightBytes: number;
  readonly loadMs: number;
  /** Most bytes for beginnings of texts that are kept for others. */
  readonly prefixCacheBytes: number;
  /** Where rows are looked at, if they are made on another device. */
  readonly rowsBackend?: Backend;
  readonly fallback?: string;
}

export class LocalModel extends GeneratingModel implements Model {
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
  readonly fallback: string | undefined;
  readonly #backend: Backend;
  readonly #prefixes: PrefixCache;
  readonly #model: Llama;
  readonly #metadata: Metadata;

  constructor(backend: Backend, model: Llama, metadata: Metadata, tokenizer: Tokenizer, facts: ModelFacts) {
    super();
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
    this.fallback = facts.fallback;
    this.#backend = backend;
    this.#model = model;
    this.#metadata = metadata;
    this.#prefixes = new PrefixCache(
      {
        backend,
        model,
        rowsBackend: facts.rowsBackend,
        relieve: () => takeOver(backend) || this.#prefixes.relieve() || takeResting(backend),
      },
      facts.prefixCacheBytes,
    );
    const { rowsBackend = backend } = facts;
    const prompts = new Prompts(this.#prefixes, new Batcher(this));
    setBackend(this, rowsBackend);
    setPromptOpener(
      this,
      (prompt, capacity, options) => prompts.open(prompt, capacity, options),
      () => this.#prefixes.stats,
    );
  }

  open(options: Pick<SessionOptions, "capacity" | "lease"> = {}): Session {
    const capacity = expectInteger("capacity", options.capacity ?? this.contextLength, 1, this.contextLength);
    return this.#prefixes.open([], capacity, options.lease);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    return await forwardAll(this.#model, calls);
  }

  chatPrompt(messages: readonly ChatMessage[], options?: ChatOptions): number[] {
    return encodeChat(this.tokenizer, this.chatText(messages, options));
  }

  chatText(messages: readonly ChatMessage[], options?: ChatOptions): string {
    return renderChat(this.#metadata, messages, options);
  }

  close(): void {
    this.#backend.close();
  }
}
