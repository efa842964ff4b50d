/**
 * batch: sessions whose calls run together, though nobody who uses one knows of the others.
 *
 *     calls wait until every active session has one, or a few tasks have gone by  →  one round for all of them  →  repeat
 *
 * A session is active from a call on, until it is closed or was late: until it had no call waiting when the others went ahead.
 * One that is alone never waits, and one that went away holds the others up once.
 *
 * Rows are bit for bit what the session alone would have given, so no text depends on what it was decoded with.
 */
import { type Ahead, aheadOf } from "./ahead.ts";
import { BatchQueue } from "./batch/queue.ts";
import { answer } from "./drawn-rows.ts";
import { backendOf, setBackend } from "./model-backend.ts";
import type { Call, DrawnRows, Rows, Session, SessionOptions, Source } from "./source.ts";

/**
 * A Source over another one: its sessions share passes over the weights.
 *
 * @example
 * ```ts
 * const batcher = new Batcher(model);
 * await Promise.all(prompts.map((prompt) => answer(batcher.open(), prompt)));
 * ```
 */
export class Batcher implements Source {
  readonly vocab: number;
  readonly contextLength: number;
  readonly #source: Source;
  readonly #queue: BatchQueue;

  constructor(source: Source) {
    this.#source = source;
    this.#queue = new BatchQueue(source);
    this.vocab = source.vocab;
    this.contextLength = source.contextLength;
    const backend = backendOf(source);
    if (backend !== undefined) setBackend(this, backend);
  }

  open(options?: SessionOptions): Session {
    return this.adopt(this.#source.open(options));
  }

  /** Lets a session of the source take part. It is the batcher's from now on. */
  adopt(session: Session): Session {
    return new BatchedSession(this.#queue, session);
  }
}

class BatchedSession implements Session {
  readonly #queue: BatchQueue;
  readonly #session: Session;
  readonly #ahead: Ahead | undefined;

  constructor(queue: BatchQueue, session: Session) {
    this.#queue = queue;
    this.#session = session;
    const ahead = aheadOf(session);
    this.#ahead = ahead && {
      run: async (tokens) => {
        this.#expectIdle("run ahead");
        return await ahead.run(tokens);
      },
      headBytes: ahead.headBytes,
      drawsOwn: ahead.drawsOwn,
      openHead: () => ahead.openHead(),
    };
  }

  get length(): number {
    return this.#session.length;
  }

  get capacity(): number {
    return this.#session.capacity;
  }

  get vocab(): number | undefined {
    return this.#session.vocab;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    return await this.#call({ session: this.#session, tokens, rows, parents });
  }

  /** Where the session can; drawn in the same pass as the others' tokens. */
  get draw(): Session["draw"] {
    const session = this.#session;
    if (session.draw === undefined) return undefined;
    return async (tokens, tasks, parents, scan) => {
      return (await this.#call({ session, tokens, rows: tasks.length, parents, tasks, scan })) as DrawnRows;
    };
  }

  async #call(call: Call): Promise<Rows> {
    const { session, tokens, parents } = call;
    // What can only be refused is refused at once, and never copied.
    const fits = tokens.length <= session.capacity - session.length;
    if (!fits || (parents !== undefined && parents.length !== tokens.length)) return await answer(call);
    return await this.#queue.forward(this, call);
  }

  /** Of the session alone: what is run ahead shares no pass. */
  get ahead(): Ahead | undefined {
    return this.#ahead;
  }

  truncate(length: number, path?: ArrayLike<number>): void {
    this.#expectIdle("truncate");
    this.#session.truncate(length, path);
  }

  fork(options?: Pick<SessionOptions, "capacity" | "seed">): Session {
    this.#expectIdle("fork");
    return new BatchedSession(this.#queue, this.#session.fork(options));
  }

  audits() {
    return this.#session.audits?.() ?? [];
  }

  close(): void {
    this.#session.close();
    this.#queue.leave(this);
  }

  #expectIdle(what: string): void {
    if (this.#queue.isWaiting(this))
      throw new RangeError(`Cannot ${what}: a call of the session has not been answered`);
  }
}
