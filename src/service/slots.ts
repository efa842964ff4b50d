import type { Caller } from "./access/keys.ts";
import { rateError } from "./access/rates.ts";
import { pause } from "./pause.ts";

/** How soon a place may be free. */
const BUSY_MS = 1000;

/** A request that decodes or waits. `seen` is when it last gave a sign of life, in milliseconds. */
interface Ticket {
  seen: number;
  readonly owner: string | undefined;
}

/** The right to decode. */
export interface Slot {
  /** Says that the request is alive; call it at every token. */
  touch(): void;
  /** Gives the slot back; more than one call does no harm. */
  release(): void;
}

/**
 * How many requests decode at once: each holds a KV cache, and an isolate has 128 MB for all of them.
 * The next ones wait in order of arrival, and past that they are told to come back.
 *
 * A Worker's request can end without its code ever running again (CPU limit, eviction of its context), so a slot
 * is a lease: one whose request gave no sign of life for `leaseMs` goes to the next.
 */
export class Slots {
  readonly limit: number;
  readonly queueLimit: number;
  readonly leaseMs: number;
  #running = new Set<Ticket>();
  #queue: Ticket[] = [];

  constructor(limit: number, queueLimit: number, leaseMs: number) {
    this.limit = limit;
    this.queueLimit = queueLimit;
    this.leaseMs = leaseMs;
  }

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Waits for a slot.
   *
   * @throws {HTTPException} 429, if the queue is full, or the caller has as many requests here as it may.
   * @throws What `signal` was aborted with, if that comes first.
   */
  async acquire(signal?: AbortSignal, caller?: Caller): Promise<Slot> {
    const ticket = { seen: Date.now(), owner: caller?.name };
    if (caller !== undefined) this.#expectFew(caller);
    if (!this.#free() || this.#queue.length > 0) {
      this.#dropDead();
      await this.#wait(ticket, signal);
    }
    ticket.seen = Date.now();
    this.#running.add(ticket);
    return {
      touch: () => {
        ticket.seen = Date.now();
      },
      release: () => {
        this.#running.delete(ticket);
      },
    };
  }

  #free(): boolean {
    return this.#running.size < this.limit;
  }

  async #wait(ticket: Ticket, signal: AbortSignal | undefined): Promise<void> {
    if (this.#queue.length >= this.queueLimit) {
      throw rateError(
        `The server is busy: ${this.running} requests are being decoded and ${this.waiting} are waiting`,
        BUSY_MS,
      );
    }
    this.#queue.push(ticket);
    try {
      while (!this.#free() || this.#queue[0] !== ticket) {
        await pause();
        signal?.throwIfAborted();
        ticket.seen = Date.now();
        // Taken for dead while another request held the thread for long.
        if (!this.#queue.includes(ticket)) this.#queue.push(ticket);
        this.#dropDead();
      }
    } finally {
      this.#queue = this.#queue.filter((other) => other !== ticket);
    }
  }

  #expectFew({ name, limits: { concurrency = Number.POSITIVE_INFINITY } }: Caller): void {
    const own = () => [...this.#running, ...this.#queue].filter(({ owner }) => owner === name).length;
    if (own() < concurrency) return;
    this.#dropDead();
    if (own() < concurrency) return;
    throw rateError(`This key may have ${concurrency} requests at one time`, BUSY_MS);
  }

  #dropDead(): void {
    const oldest = Date.now() - this.leaseMs;
    for (const ticket of this.#running) if (ticket.seen < oldest) this.#running.delete(ticket);
    this.#queue = this.#queue.filter(({ seen }) => seen >= oldest);
  }
}
