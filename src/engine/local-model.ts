import type { Backend } from "../backend/backend.ts";
import { keepsText } from "../decoding/outcome.ts";
import { expectInteger } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { type ChatMessage, encodeChat, renderChat } from "../model/chat-template.ts";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { Batcher } from "./batch.ts";
import { forwardAll } from "./forward-all.ts";
import { decodeMany, textCounts } from "./many.ts";
import type {
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
  SamplingOptions,
} from "./model.ts";
import { openPipeline, requestFingerprint } from "./options.ts";
import { capacityOf, readRequest, type TextRequest } from "./request.ts";
import { LocalSession } from "./session.ts";
import type { Call, Rows, Session } from "./source.ts";
import { openSpeculation } from "./speculation.ts";
import { decodeText } from "./text.ts";

/** What `loadModel` found out about the file and how it was loaded. */
export interface ModelFacts {
  readonly name: string;
  readonly contextLength: number;
  readonly fingerprint: string;
  readonly weightBytes: number;
  readonly loadMs: number;
}

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
    return LocalSession.open(this.#backend, this.#model, capacity);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    return await forwardAll(this.#model, calls);
  }

  async *generate(
    prompt: string | readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<Piece, GenerateResult, void> {
    const request = readRequest(this, prompt, options);
    const session = this.open({ capacity: capacityOf(request) });
    try {
      return yield* this.#decode(request, session);
    } finally {
      session.close();
    }
  }

  async *generateMany(
    prompt: string | readonly number[],
    options: GenerateManyOptions = {},
  ): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
    const request = readRequest(this, prompt, options);
    const counts = textCounts(options);
    const base = new Batcher(this).open({ capacity: capacityOf(request) });
    try {
      return yield* decodeMany(request, counts, base, (one, session) => this.#decode(one, session));
    } finally {
      base.close();
    }
  }

  requestFingerprint(options: SamplingOptions = {}): string {
    return requestFingerprint(this.fingerprint, openPipeline(options, this.tokenizer.endTokens));
  }

  async *#decode(request: TextRequest, session: Session): AsyncGenerator<Piece, GenerateResult, void> {
    const constraint = request.constraint();
    const speculation = openSpeculation(this, request, constraint);
    const math = speculation && !keepsText(speculation.policy) ? this.#backend.rowMath() : undefined;
    try {
      return yield* decodeText(request, {
        tokenizer: this.tokenizer,
        session,
        speculation,
        math,
        constraint,
      });
    } finally {
      speculation?.close();
    }
  }

  chatPrompt(messages: readonly ChatMessage[]): number[] {
    return encodeChat(this.tokenizer, renderChat(this.#metadata, messages));
  }

  close(): void {
    this.#backend.close();
  }
}
