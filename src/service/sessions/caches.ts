/**
 * The keys and values of sessions, and what drafts for them: a cache. It says what tokens it holds, and whatever is asked of it
 * begins with what these have in common with the session's; so it may be lost, or be of another moment, and nothing changes.
 */

import type { Constraint } from "../../decoding/constraint.ts";
import type { Draft } from "../../decoding/draft.ts";
import { chain, type LocalDrafter } from "../../decoding/drafter/drafter.ts";
import { createDrafter } from "../../decoding/drafter/registry.ts";
import { SuffixDrafter } from "../../decoding/drafter/suffix.ts";
import { nextTask } from "../../decoding/next-task.ts";
import type { Pipeline } from "../../decoding/pipeline.ts";
import { PIECE } from "../../decoding/read-tokens.ts";
import { Lease } from "../../engine/lease.ts";
import type { Model } from "../../engine/model.ts";
import { openPipeline } from "../../engine/options.ts";
import type { Rows, Session } from "../../engine/source.ts";
import { expectInteger } from "../../errors.ts";
import { openFormat } from "../options/format-fields.ts";
import type { DrafterRecord, SessionRecord } from "./record.ts";

/** A cache that nobody asked for in so long is given up, as soon as there is another request. */
const IDLE_MS = 60_000;

/** Without a sign of life for so long, whoever uses a cache is given up: a request may be cut off. */
const PATIENCE_MS = 60_000;

export interface Progress {
  readonly signal: AbortSignal;
  readonly alive: () => void;
}

/** What one session has in memory. */
export class SessionCache {
  readonly model: Model;
  readonly pipeline: Pipeline;
  /** Rests while nobody uses the cache: it gives way to what is decoded. */
  readonly lease: Lease;
  readonly #session: Session;
  /** Tokens that `#session` was computed on. */
  #held: number[] = [];
  #drafter: SessionDrafter | undefined;
  readonly #openConstraint: (() => Constraint) | undefined;

  /**
   * @param onTaken Called when it gave its memory to others; it is of no use any more.
   * @throws {MemoryError} If there is no memory for the session's capacity.
   */
  constructor(model: Model, record: SessionRecord, onTaken: () => void) {
    const { capacity, seed, promptLength, sampling, format } = record;
    this.model = model;
    this.lease = new Lease(PATIENCE_MS, onTaken);
    this.pipeline = openPipeline(sampling, model.tokenizer.endTokens);
    this.#openConstraint = format ? openFormat(model, format) : undefined;
    this.#session = model.open({ capacity, seed, promptLength, lease: this.lease });
  }

  /** What the output must be, at its beginning; another one at each call. */
  get constraint(): Constraint | undefined {
    return this.#openConstraint?.();
  }

  /** Computes on what is missing of `tokens`; returns the rows after the last `rows` of them. */
  async read(
    tokens: readonly number[],
    rows: number,
    { signal, alive }: Progress,
  ): Promise<Rows | undefined> {
    const known = Math.min(commonLength(this.#held, tokens), tokens.length - rows);
    if (known < this.#held.length) {
      this.#session.truncate(known);
      this.#held.length = known;
    }
    let result: Rows | undefined;
    while (this.#held.length < tokens.length) {
      const rest = tokens.length - this.#held.length;
      const isLast = rest <= Math.max(PIECE, rows);
      const piece = tokens.slice(this.#held.length, isLast ? undefined : this.#held.length + PIECE);
      result = await this.#session.forward(piece, isLast ? rows : 0);
      this.#held.push(...piece);
      alive();
      if (isLast) break;
      await nextTask();
      signal.throwIfAborted();
    }
    return result;
  }

  /**
   * Rows after the last of `tokens` and after each node of a draft behind it. `keep` must follow, with the path that stays.
   */
  async readDraft(tokens: readonly number[], draft: Draft, progress: Progress): Promise<Rows> {
    await this.read(tokens.slice(0, -1), 0, progress);
    const call = [...tokens.slice(-1), ...Array.from(draft.tokens)];
    const parents = draft.parents && [-1, ...Array.from(draft.parents, (parent) => parent + 1)];
    const rows = await this.#session.forward(call, call.length, parents);
    progress.alive();
    return rows;
  }

  /** @param tokens As they were given to `readDraft`. */
  keep(tokens: readonly number[], draft: Draft, path: readonly number[]): void {
    if (draft.parents === undefined) this.#session.truncate(tokens.length + path.length);
    else
      this.#session.truncate(
        tokens.length,
        path.map((node) => node + 1),
      );
    this.#held = [...tokens, ...path.map((node) => draft.tokens[node])];
  }

  /** What the session's own drafter expects next. */
  draft({ drafter, tokens, promptLength, capacity }: SessionRecord, gamma: number): Draft {
    if (drafter === null) return chain([], 0);
    if (this.#drafter?.record !== drafter || this.#drafter.promptLength !== promptLength) {
      this.#drafter = new SessionDrafter(drafter, this.model.vocab, promptLength, capacity);
    }
    return this.#drafter.draft(tokens, gamma);
  }

  close(): void {
    this.#session.close();
  }
}

/** A drafter that follows a session's tokens, back too. */
class SessionDrafter {
  readonly record: DrafterRecord;
  readonly promptLength: number;
  readonly #drafter: LocalDrafter;
  /** Tokens before the session's own. */
  readonly #offset: number;
  #known: readonly number[] = [];

  constructor(record: DrafterRecord, vocab: number, promptLength: number, capacity: number) {
    this.record = record;
    this.promptLength = promptLength;
    const { kind, tokens } = record;
    if (kind === "prediction") {
      this.#offset = 0;
      this.#drafter = createDrafter("suffix", { vocab, prediction: tokens, start: promptLength });
    } else {
      this.#offset = tokens.length;
      this.#drafter = new SuffixDrafter({ vocab, capacity: tokens.length + capacity + 1 });
      this.#drafter.append(tokens);
    }
  }

  draft(tokens: readonly number[], gamma: number): Draft {
    const known = commonLength(this.#known, tokens);
    if (known < this.#known.length) this.#drafter.truncate(this.#offset + known);
    this.#drafter.append(tokens.slice(known));
    this.#known = [...tokens];
    return this.#drafter.draft(gamma);
  }
}

/**
 * Those of all sessions, as many as memory is meant for, and no longer than there is enough of it for what is decoded. The one
 * that was not used for longest goes first.
 */
export class SessionCaches {
  readonly #most: number;
  readonly #caches = new Map<string, SessionCache>();

  constructor(most = 4) {
    this.#most = expectInteger("maxSessionCaches", most, 1, 2 ** 31 - 1);
  }

  /** What `work` makes of a session's cache. If it fails, nobody knows what the cache holds, and it is given up. */
  async use<T>(record: SessionRecord, model: Model, work: (cache: SessionCache) => Promise<T>): Promise<T> {
    const { id } = record;
    const cache = this.#open(record, model);
    try {
      return await work(cache);
    } catch (error) {
      if (this.#caches.get(id) === cache) this.drop(id);
      throw error;
    } finally {
      cache.lease.rest();
    }
  }

  dropIdle(): void {
    const oldest = performance.now() - IDLE_MS;
    for (const [id, { lease }] of this.#caches) {
      if (lease.seen < oldest && (lease.rests || lease.isOver)) this.drop(id);
    }
  }

  drop(id: string): void {
    this.#caches.get(id)?.close();
    this.#caches.delete(id);
  }

  #open(record: SessionRecord, model: Model): SessionCache {
    const { id } = record;
    const known = this.#caches.get(id);
    // The last in order is the latest.
    this.#caches.delete(id);
    // Whoever used it last may have been cut off in the middle.
    if (known?.model === model && known.lease.rests) {
      known.lease.renew();
      this.#caches.set(id, known);
      return known;
    }
    known?.close();
    while (this.#caches.size >= this.#most && this.#dropOldest());
    const cache = new SessionCache(model, record, () => {
      if (this.#caches.get(id) === cache) this.#caches.delete(id);
    });
    this.#caches.set(id, cache);
    return cache;
  }

  #dropOldest(): boolean {
    const oldest = [...this.#caches].find(([, { lease }]) => lease.rests || lease.isOver);
    if (oldest !== undefined) this.drop(oldest[0]);
    return oldest !== undefined;
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}
