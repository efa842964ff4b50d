import type { Caller } from "./access/keys.ts";
import { rateError } from "./access/rates.ts";
import { pause } from "./pause.ts";

/** How soon a place may be free. */
const BUSY_MS = 1000;

/** Who waits looks every few milliseconds: one that has not for so long was cut off. */
const WAITING_LEASE_MS = 3000;

/** How long a request may keep newcomers out while it waits for memory. */
const MEMORY_WAIT_MS = 10_000;

/** A request that decodes or waits. `seen` is when it last gave a sign of life, in milliseconds. */
interface Ticket {
  seen: number;
  readonly owner: string | undefined;
  /** It has its slot, but holds no memory and waits for some. */
  starves: boolean;
  /** It has tried when no other request held memory. */
  hadAll: boolean;
}

/** The right to decode. */
export interface Slot {
  /** Says that the request is alive; call it at every token. */
  touch(): void;
  /**
   * For a request that found too little memory and gave back what it had: waits until others gave some back. Nobody new
   * gets a slot meanwhile.
   *
   * @returns Whether to try again; false: it was alone, or has waited for long.
   * @throws What `signal` was aborted with.
   */
  waitForMemory(signal?: AbortSignal): Promise<boolean>;
  /** Gives the slot back; more than one call does no harm. */
  release(): void;
}

/**
 * How many requests decode at once: each holds a KV cache, and an isolate has 128 MB for all of them.
 * The next ones wait in order of arrival, and past that they are told to come back. Since slots share passes over the
 * weights, it is memory that decides how many of them are of use: who finds none waits as well, see `waitForMemory`.
 *
 * A Worker's request can end without its code ever running again (CPU limit, eviction of its context), so a slot
 * is a lease: one whose request gave no sign of life for `leaseMs` goes to the next; so does a place in the queue, sooner.
 */
export class Slots {
  readonly limit: number;
  readonly queueLimit: number;
  readonly leaseMs: number;
  #running = new Set<Ticket>();
  #queue: Ticket[] = [];
  /** Slots that were given back since the start. */
  #released = 0;

  constructor(limit: number, queueLimit: number, leaseMs: number) {
    this.limit = limit;
    this.queueLimit = queueLimit;
    this.leaseMs = leaseMs;
  }

  get running(): number {
    this.#dropDead();
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
    const ticket: Ticket = { seen: Date.now(), owner: caller?.name, starves: false, hadAll: false };
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
      waitForMemory: (signal) => this.#waitForMemory(ticket, signal),
      release: () => this.#release(ticket),
    };
  }

  #free(): boolean {
    return this.#running.size < this.limit && !this.#some(({ starves }) => starves);
  }

  #release(ticket: Ticket): void {
    if (this.#running.delete(ticket)) this.#released++;
  }

  /** The first of those that wait goes when a slot was given back, or when no other request holds memory. */
  async #waitForMemory(ticket: Ticket, signal: AbortSignal | undefined): Promise<boolean> {
    if (ticket.hadAll) return false;
    const released = this.#released;
    const end = Date.now() + MEMORY_WAIT_MS;
    ticket.starves = true;
    try {
      while (Date.now() < end) {
        const [first] = [...this.#running].filter(({ starves }) => starves);
        ticket.hadAll = first === ticket && !this.#some(({ starves }) => !starves);
        if (ticket.hadAll || (first === ticket && this.#released !== released)) return true;
        await pause();
        signal?.throwIfAborted();
        ticket.seen = Date.now();
        // Taken for dead while another request held the thread for long.
        this.#running.add(ticket);
        this.#dropDead();
      }
      return false;
    } finally {
      ticket.starves = false;
    }
  }

  #some(condition: (ticket: Ticket) => boolean): boolean {
    return [...this.#running].some(condition);
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
    const oldestWaiting = Math.max(oldest, Date.now() - WAITING_LEASE_MS);
    for (const ticket of this.#running) {
      if (ticket.seen < (ticket.starves ? oldestWaiting : oldest)) this.#release(ticket);
    }
    this.#queue = this.#queue.filter(({ seen }) => seen >= oldestWaiting);
  }
}
