/**
 * lease: memory of whoever may go away without a word.
 *
 * An edge worker's request can end without its code ever running again (its CPU limit, the eviction of its context), and
 * its sessions would hold their memory for as long as the isolate lives. So sessions are opened on a lease, which each call
 * of them renews, and memory that is short is taken back:
 *
 *     first     from leases that were not renewed for longer than any pause they may make
 *     then      beginnings of texts that are kept for others (prefix-cache.ts)
 *     at last   from leases that rest: what is held for later, and can be computed again
 *
 * A lease is taken as a whole, in all backends, and its sessions are closed.
 */
import type { Backend } from "../backend/backend.ts";
import { expectInteger, MemoryError } from "../errors.ts";

interface Closable {
  close(): void;
}

/** By the backends that their sessions have memory of. */
const leases = new WeakMap<Backend, Set<Lease>>();

export class Lease {
  readonly #ms: number;
  readonly #onTaken: () => void;
  readonly #now: () => number;
  readonly #sessions = new Map<Closable, Backend>();
  #seen: number;
  #rests = false;
  #taken = false;

  /**
   * @param ms Longest pause between two calls, after which nobody will come. 2^31 − 1 at most.
   * @param onTaken Called when its sessions were closed.
   * @throws {RangeError | TypeError} If `ms` is no integer of at least 1.
   */
  constructor(ms: number, onTaken: () => void = () => {}, now: () => number = () => performance.now()) {
    this.#ms = expectInteger("ms", ms, 1, 2 ** 31 - 1);
    this.#onTaken = onTaken;
    this.#now = now;
    this.#seen = now();
  }

  /** When it was last renewed, in milliseconds. */
  get seen(): number {
    return this.#seen;
  }

  /** Nobody goes on any more. */
  get isOver(): boolean {
    return this.#seen < this.#now() - this.#ms;
  }

  /** Nobody needs it now; what it holds is kept for as long as there is room. Ends with the next `renew`. */
  get rests(): boolean {
    return this.#rests;
  }

  rest(): void {
    this.#rests = true;
  }

  /** Somebody is there, though no session is called. */
  touch(): void {
    this.#seen = this.#now();
  }

  /** @throws {MemoryError} If it was taken, from one who was thought to be gone. */
  renew(): void {
    if (this.#taken) {
      throw new MemoryError(`Cannot go on after more than ${this.#ms} ms: the memory was given to others`);
    }
    this.#rests = false;
    this.touch();
  }

  /** A session was opened on it. @throws {MemoryError} As `renew` does. */
  hold(backend: Backend, session: Closable): void {
    this.renew();
    this.#sessions.set(session, backend);
    const there = leases.get(backend) ?? new Set();
    leases.set(backend, there.add(this));
  }

  /** A session of it was closed. */
  release(session: Closable): void {
    const backend = this.#sessions.get(session);
    if (backend === undefined) return;
    this.#sessions.delete(session);
    if (![...this.#sessions.values()].includes(backend)) leases.get(backend)?.delete(this);
  }

  /** Closes all its sessions. */
  take(): void {
    this.#taken = true;
    for (const session of [...this.#sessions.keys()]) {
      session.close();
      this.release(session);
    }
    this.#onTaken();
  }
}

/** Takes a lease on memory of `backend` that is over; false: there is none. */
export function takeOver(backend: Backend): boolean {
  return takeFirst(backend, ({ isOver }) => isOver);
}

/** Takes the lease that has rested for longest; false: there is none. */
export function takeResting(backend: Backend): boolean {
  return takeFirst(backend, ({ rests }) => rests);
}

function takeFirst(backend: Backend, may: (lease: Lease) => boolean): boolean {
  let first: Lease | undefined;
  for (const lease of leases.get(backend) ?? []) {
    if (may(lease) && (first === undefined || lease.seen < first.seen)) first = lease;
  }
  first?.take();
  return first !== undefined;
}
