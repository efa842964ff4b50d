/**
 * batch: sessions whose calls run together, though nobody who uses one knows of the others.
 *
 *     calls wait until every active session has one, or the next task has come  →  one round for all of them  →  repeat
 *
 * A session is active from a call on, until it is closed or was late: until it had no call waiting when a task had gone by.
 * One that is alone never waits, and one that went away holds the others up once.
 *
 * Rows are bit for bit what the session alone would have given, so no text depends on what it was decoded with.
 */
import { type Ahead, aheadOf } from "./ahead.ts";
import { BatchQueue } from "./batch/queue.ts";
import { backendOf, setBackend } from "./model-backend.ts";
import type { Rows, Session, SessionOptions, Source } from "./source.ts";

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

  constructor(queue: BatchQueue, session: Session) {
    this.#queue = queue;
    this.#session = session;
  }

  get length(): number {
    return this.#session.length;
  }

  get capacity(): number {
    return this.#session.capacity;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const session = this.#session;
    // What can only be refused is refused at once, and never copied.
    const fits = tokens.length <= session.capacity - session.length;
    if (!fits || (parents !== undefined && parents.length !== tokens.length))
      return await session.forward(tokens, rows, parents);
    return await this.#queue.forward(this, { session, tokens, rows, parents });
  }

  /** Of the session alone: what is run ahead shares no pass. */
  get ahead(): Ahead | undefined {
    const ahead = aheadOf(this.#session);
    if (ahead === undefined) return undefined;
    return {
      run: async (tokens) => {
        this.#expectIdle("run ahead");
        return await ahead.run(tokens);
      },
      headBytes: ahead.headBytes,
      openHead: () => ahead.openHead(),
    };
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
