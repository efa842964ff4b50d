/**
 * gpu-model: a model on a WebGPU device, and in this process once it cannot stay there.
 *
 *     loadModel(…, { backend: "auto" })     a device  →  or why there is none, and Wasm
 *     device lost, out of memory            weights are loaded again for Wasm, sessions go on there: replaying-session.ts
 *
 * What one model cannot get, or does wrong, moves that model alone; a device that is lost moves all that are on it. Pages lose
 * theirs when a driver restarts, or while they are hidden. Who moved stays, and `Model.fallback` says why: load the model
 * again to be back on the device.
 */
import type { WebGpuBackend } from "../backend/webgpu/index.ts";
import { MemoryError, UnsupportedError } from "../errors.ts";
import type { ByteInput } from "../format/bytes.ts";
import type { ChatMessage, ChatOptions } from "../model/chat-template.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { answer } from "./drawn-rows.ts";
import { GeneratingModel } from "./generating-model.ts";
import type { LoadOptions, ModelInput, OpenModel } from "./load-model.ts";
import type { Model } from "./model.ts";
import { backendOf, setBackend } from "./model-backend.ts";
import { openPrompt, prefixCacheStats, setPromptOpener } from "./model-prompts.ts";
import { setDevice } from "./placed-rows.ts";
import type { OpenText, OpenTextOptions } from "./prompts.ts";
import { LostSession, type ReplayHost, ReplayingSession } from "./replaying-session.ts";
import type { Call, Rows, Session, SessionOptions } from "./source.ts";

/** Loads on a device, or in this process where that is not possible; `load` does it in either place. */
export async function loadOnGpu(input: ModelInput, options: LoadOptions, load: OpenModel): Promise<Model> {
  // The signal is that of this load, and may have fired when bytes are wanted again.
  const again = reopener(input);
  const isForced = options.backend === "webgpu";
  let backend: WebGpuBackend;
  try {
    if (options.openGpu === undefined)
      throw new UnsupportedError("Cannot use WebGPU: this entry has no kernels for it");
    backend = await options.openGpu(options.gpu ?? hostGpu(), { maxBytes: options.maxMemoryBytes });
  } catch (error) {
    if (isForced || !(error instanceof UnsupportedError)) throw error;
    return await load(await openInput(input, options.signal), { fallback: error.message });
  }
  try {
    const model = await load(await openInput(input, options.signal), { gpu: backend });
    await backend.settle();
    const reload = again && (async (fallback: string) => load(await again(), { fallback, isReload: true }));
    return new GpuModel(model, backend, reload);
  } catch (error) {
    const { failure } = backend;
    backend.close();
    const isOfDevice = failure !== null || error instanceof UnsupportedError || error instanceof MemoryError;
    if (isForced || again === null || !isOfDevice) throw error;
    return await load(await again(options.signal), { fallback: (error as Error).message });
  }
}

/** What a function gives, or the input itself. */
export async function openInput(input: ModelInput, signal?: AbortSignal): Promise<ByteInput> {
  return typeof input === "function" ? await input(signal) : input;
}

/** How the bytes can be had a second time; null for streams, which are gone then. */
function reopener(input: ModelInput): ((signal?: AbortSignal) => Promise<ByteInput>) | null {
  if (input instanceof ReadableStream || input instanceof Response) return null;
  return (signal) => openInput(input, signal);
}

function hostGpu(): GPU | undefined {
  return (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
}

export class GpuModel extends GeneratingModel implements Model, ReplayHost {
  readonly name: string;
  readonly architecture: string;
  readonly tokenizer: Tokenizer;
  readonly vocab: number;
  readonly contextLength: number;
  readonly loadMs: number;
  readonly #gpu: WebGpuBackend;
  readonly #reload: ((fallback: string) => Promise<Model>) | null;
  readonly #first: Model;
  #current: Model;
  #replacing: Promise<Model> | null = null;
  #isClosed = false;

  /** @param reload Loads the model for this process; null: the bytes cannot be had again. */
  constructor(model: Model, gpu: WebGpuBackend, reload: ((fallback: string) => Promise<Model>) | null) {
    super();
    this.name = model.name;
    this.architecture = model.architecture;
    this.tokenizer = model.tokenizer;
    this.vocab = model.vocab;
    this.contextLength = model.contextLength;
    this.loadMs = model.loadMs;
    this.#gpu = gpu;
    this.#reload = reload;
    this.#first = model;
    this.#current = model;
    setBackend(this, backendOf(model)!);
    setDevice(this, gpu);
    setPromptOpener(
      this,
      (prompt, capacity, options) => this.#openPrompt(prompt, capacity, options),
      () => prefixCacheStats(this.#current)!,
    );
  }

  get current(): Model {
    return this.#current;
  }

  get backend(): Model["backend"] {
    return this.#current.backend;
  }

  get build(): Model["build"] {
    return this.#current.build;
  }

  get fallback(): string | undefined {
    return this.#current.fallback;
  }

  get fingerprint(): string {
    return this.#current.fingerprint;
  }

  get weightBytes(): number {
    return this.#current.weightBytes;
  }

  isLost(model: Model): boolean {
    return model === this.#first && this.#gpu.failure !== null;
  }

  async replace(model: Model, error: unknown): Promise<boolean> {
    if (this.#isClosed) throw new TypeError("Cannot go on: model is closed", { cause: error });
    if (model !== this.#current) return true;
    const { failure } = this.#gpu;
    if (!this.isLost(model)) return false;
    // Others may need the memory, this process among them.
    this.#gpu.abandon();
    if (this.#reload === null) {
      const why = "its bytes came as a stream, which is gone";
      throw new UnsupportedError(
        `Cannot go on without WebGPU: ${failure}; the model cannot be loaded again, as ${why}`,
        {
          cause: error,
        },
      );
    }
    this.#replacing ??= this.#loadAgain(this.#reload, `Cannot go on with WebGPU: ${failure}`);
    this.#current = await this.#replacing;
    return true;
  }

  async #loadAgain(reload: (fallback: string) => Promise<Model>, fallback: string): Promise<Model> {
    let model: Model;
    try {
      model = await reload(fallback);
    } catch (error) {
      // The next call tries again.
      this.#replacing = null;
      throw error;
    }
    if (!this.#isClosed) return model;
    model.close();
    throw new TypeError("Cannot go on: model is closed");
  }

  open(options: Pick<SessionOptions, "capacity" | "lease"> = {}): Session {
    const model = this.#current;
    const session = this.isLost(model) ? new LostSession(this, options.capacity) : model.open(options);
    const text = { session, cachedTokens: 0, close: () => session.close() };
    return new ReplayingSession(this, model, text, [], { lease: options.lease });
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    const sessions = calls.map(({ session }, index) => {
      if (session instanceof ReplayingSession) return session;
      throw new TypeError(`"calls[${index}].session" must be a session of this model`);
    });
    const model = this.#current;
    // Sessions that moved share passes by themselves; those that have not yet will move.
    if (model !== this.#first) return await Promise.all(calls.map(answer));
    let rows: Rows[];
    try {
      rows = await model.forwardAll!(calls.map((call, i) => ({ ...call, session: sessions[i].inner })));
    } catch (error) {
      if (!(await this.replace(model, error))) throw error;
      return await Promise.all(calls.map(answer));
    }
    for (const [i, session] of sessions.entries()) session.appended(calls[i].tokens);
    return rows;
  }

  chatPrompt(messages: readonly ChatMessage[], options?: ChatOptions): number[] {
    return this.#current.chatPrompt(messages, options);
  }

  chatText(messages: readonly ChatMessage[], options?: ChatOptions): string {
    return this.#current.chatText(messages, options);
  }

  close(): void {
    this.#isClosed = true;
    this.#first.close();
    if (this.#current !== this.#first) this.#current.close();
  }

  async #openPrompt(
    prompt: readonly number[],
    capacity: number,
    options?: OpenTextOptions,
  ): Promise<OpenText> {
    for (;;) {
      const model = this.#current;
      try {
        const text = await openPrompt(model, prompt, capacity, options);
        const held = prompt.slice(0, text.session.length);
        const session = new ReplayingSession(this, model, text, held, options);
        return { session, cachedTokens: text.cachedTokens, close: (tokens) => session.close(tokens) };
      } catch (error) {
        if (!(await this.replace(model, error))) throw error;
      }
    }
  }
}
