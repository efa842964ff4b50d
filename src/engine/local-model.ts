import type { Backend } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { type ChatMessage, encodeChat, renderChat } from "../model/chat-template.ts";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { forwardAll } from "./forward-all.ts";
import { generateText, generateTexts, type TextEngine } from "./generate-text.ts";
import type {
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
  SamplingOptions,
} from "./model.ts";
import { setBackend } from "./model-backend.ts";
import { openPipeline, requestFingerprint } from "./options.ts";
import { LocalSession } from "./session.ts";
import type { Call, Rows, Session } from "./source.ts";

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
  readonly #engine: TextEngine;

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
    this.#engine = { model: this, rowMath: () => backend.rowMath() };
    setBackend(this, backend);
  }

  open(options: { capacity?: number } = {}): Session {
    const capacity = expectInteger("capacity", options.capacity ?? this.contextLength, 1, this.contextLength);
    return LocalSession.open(this.#backend, this.#model, capacity);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    return await forwardAll(this.#model, calls);
  }

  generate(
    prompt: string | readonly number[],
    options?: GenerateOptions,
  ): AsyncGenerator<Piece, GenerateResult, void> {
    return generateText(this.#engine, prompt, options);
  }

  generateMany(
    prompt: string | readonly number[],
    options?: GenerateManyOptions,
  ): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
    return generateTexts(this.#engine, prompt, options);
  }

  requestFingerprint(options: SamplingOptions = {}): string {
    return requestFingerprint(this.fingerprint, openPipeline(options, this.tokenizer.endTokens));
  }

  chatPrompt(messages: readonly ChatMessage[]): number[] {
    return encodeChat(this.tokenizer, renderChat(this.#metadata, messages));
  }

  close(): void {
    this.#backend.close();
  }
}
