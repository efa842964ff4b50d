/**
 * replaying-session: a session that outlives the model it is on.
 *
 * It knows its tokens. When the model cannot stay on its device, they are computed again on the model that takes its place,
 * and the call that found out is made there: no token is lost, and none comes twice.
 */
import { readTokens } from "../decoding/read-tokens.ts";
import { expectInteger, UnsupportedError } from "../errors.ts";
import { type Ahead, aheadOf } from "./ahead.ts";
import { answer, drawnRows } from "./drawn-rows.ts";
import type { Model } from "./model.ts";
import { openPrompt } from "./model-prompts.ts";
import { leaveRows } from "./placed-rows.ts";
import type { OpenText, OpenTextOptions } from "./prompts.ts";
import { checkTruncation } from "./session-checks.ts";
import type { DrawnRows, Rows, Session } from "./source.ts";
import { unlessAborted } from "./unless-aborted.ts";

const FAILED = "Cannot go on with WebGPU: it had failed before";

/** In place of a session on a model that has failed: all it does is to say so. */
export class LostSession implements Session {
  length: number;
  readonly capacity: number;
  readonly vocab: number;

  /** @param length Of what it is to hold. @throws {RangeError} If `capacity` is less, or more than the model's. */
  constructor({ vocab, contextLength }: Model, capacity: number = contextLength, length = 0) {
    this.length = length;
    this.capacity = expectInteger("capacity", capacity, Math.max(1, length), contextLength);
    this.vocab = vocab;
  }

  async forward(): Promise<never> {
    throw new UnsupportedError(FAILED);
  }

  /** Sessions of models that fail can draft, and will again. */
  readonly ahead: Ahead = {
    run: () => this.forward(),
    headBytes: 0,
    drawsOwn: false,
    openHead: () => {
      throw new UnsupportedError(FAILED);
    },
  };

  truncate(length: number, path: ArrayLike<number> = []): void {
    checkTruncation(this.length, null, length, path);
    this.length = length;
  }

  fork(): never {
    throw new UnsupportedError(FAILED);
  }

  close(): void {}
}

/** Who knows which model sessions are to be on. */
export interface ReplayHost {
  readonly current: Model;
  /** Whether a model has failed, be there another one already or not. */
  isLost(model: Model): boolean;
  /** @returns Whether `model` is gone and there is another one now. @throws `error` If there is none. */
  replace(model: Model, error: unknown): Promise<boolean>;
}

export class ReplayingSession implements Session {
  readonly #host: ReplayHost;
  /** Where the session is now, and how it is closed there. */
  #text: OpenText;
  #model: Model;
  /** All tokens held; nodes of a tree in the order they came. */
  #tokens: number[];
  /** Where the last call began: paths are of its tokens. */
  #lastStart = 0;
  readonly #capacity: number;
  readonly #options: OpenTextOptions;
  #leavesRows = false;
  #closed = false;

  /** @param tokens What the session holds. */
  constructor(
    host: ReplayHost,
    model: Model,
    text: OpenText,
    tokens: readonly number[],
    options: OpenTextOptions = {},
  ) {
    this.#host = host;
    this.#model = model;
    this.#text = text;
    this.#tokens = [...tokens];
    this.#capacity = text.session.capacity;
    this.#options = options;
  }

  get length(): number {
    return this.#tokens.length;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** What it is on now, for calls of several sessions together. */
  get inner(): Session {
    return this.#text.session;
  }

  /** Whether rows stay on the device that makes them, as long as there is one. */
  get leavesRows(): boolean {
    return this.#leavesRows;
  }

  set leavesRows(leavesRows: boolean) {
    this.#leavesRows = leavesRows;
    if (leavesRows) leaveRows(this.inner);
  }

  get nll(): Session["nll"] {
    if (this.inner.nll === undefined) return undefined;
    return async (tokens, targets) => {
      const nlls = await this.#surviving(() => this.inner.nll!(tokens, targets));
      this.appended(tokens);
      return nlls;
    };
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const made = await this.#surviving(() => this.inner.forward(tokens, rows, parents));
    this.appended(tokens);
    return made;
  }

  get vocab(): number | undefined {
    return this.inner.vocab;
  }

  /** Of the session that it is on now. */
  get ahead(): Ahead | undefined {
    return aheadOf(this.inner);
  }

  get draw(): Session["draw"] {
    if (this.inner.draw === undefined) return undefined;
    return async (tokens, tasks, parents, scan) => {
      const call = { tokens, rows: tasks.length, parents, tasks, scan };
      const made = await this.#surviving(() => answer({ ...call, session: this.inner }));
      this.appended(tokens);
      const { vocab, drawn, load, scanned } = made as DrawnRows;
      return drawnRows(vocab, drawn, () => this.#load(load, tokens, tasks.length, parents), scanned);
    };
  }

  /** Rows of the last call; on another model they are made again. */
  async #load(
    load: () => Promise<Rows>,
    tokens: ArrayLike<number>,
    rows: number,
    parents?: ArrayLike<number>,
  ): Promise<Rows> {
    const model = this.#model;
    let isLost = false;
    return await this.#surviving(async () => {
      if (this.#model === model) return await load();
      if (!isLost) this.inner.truncate(this.inner.length - tokens.length);
      isLost = true;
      return await this.inner.forward(tokens, rows, parents);
    });
  }

  /** Says that `inner` holds more tokens. */
  appended(tokens: ArrayLike<number>): void {
    this.#lastStart = this.#tokens.length;
    for (let i = 0; i < tokens.length; i++) this.#tokens.push(tokens[i]);
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.inner.truncate(length, path);
    const kept = Array.from(path, (node) => this.#tokens[this.#lastStart + node]);
    this.#tokens.length = length;
    this.#tokens.push(...kept);
    this.#lastStart = this.#tokens.length;
  }

  fork(options: { capacity?: number } = {}): Session {
    const session = this.#host.isLost(this.#model)
      ? new LostSession(this.#model, options.capacity ?? this.#capacity, this.length)
      : this.inner.fork(options);
    const text = { session, cachedTokens: 0, close: () => session.close() };
    return new ReplayingSession(this.#host, this.#model, text, this.#tokens, this.#options);
  }

  /** @param tokens All that it held, if that is worth keeping. */
  close(tokens?: readonly number[]): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#text.close(tokens);
  }

  /** Does the call, on another model if this one has gone. @throws {DOMException} AbortError, when the signal fires meanwhile. */
  async #surviving<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        const { current } = this.#host;
        const replaced = () => unlessAborted(this.#host.replace(this.#model, error), this.#options.signal);
        if (current === this.#model && !(await replaced())) throw error;
        await this.#move();
      }
    }
  }

  async #move(): Promise<void> {
    const model = this.#host.current;
    const tokens = this.#tokens;
    // One token more than there are: what is opened never holds all of a prompt.
    const text = await openPrompt(model, [...tokens, 0], this.#capacity, this.#options);
    const { session } = text;
    try {
      await readTokens(session, tokens, this.#options.signal);
    } catch (error) {
      text.close();
      throw error;
    }
    const before = this.#text;
    this.#text = text;
    this.#model = model;
    if (this.#leavesRows) leaveRows(this.inner);
    before.close();
    if (this.#closed) text.close();
  }
}
