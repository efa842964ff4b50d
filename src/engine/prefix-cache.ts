/**
 * prefix-cache: what texts begin with is computed once.
 *
 *     a prompt  =  a beginning that some text had before  +  a rest
 *                  its keys and values are shared            is computed, and kept for the next
 *
 * In whole pages, so that sharing copies nothing. A row is bit for bit the same in a fork, hence no text depends on what
 * was kept. Who comes while another one computes the beginning that it needs waits for it.
 *
 * Source: RadixAttention, Zheng et al. 2023, arXiv:2312.07104, whose least recently used beginnings go first too.
 */
import type { KvCache } from "../backend/backend.ts";
import { KV_PAGE } from "../backend/kv-pages.ts";
import { MemoryError } from "../errors.ts";
import type { Lease } from "./lease.ts";
import { LocalSession, type SessionHost } from "./session.ts";

/** Beginnings that are kept at most, however small. */
const MAX_KEPT = 64;

interface Kept {
  readonly tokens: readonly number[];
  readonly keys: KvCache;
  readonly bytes: number;
}

/** A prompt that is being computed. */
export interface Reading {
  readonly tokens: readonly number[];
  readonly session: LocalSession;
  /** When it last got on, in milliseconds: a request may be cut off without a word. */
  seen: number;
}

/** What is kept, and what that was good for so far. */
export interface PrefixCacheStats {
  /** Tokens that were looked for, and those of them that were there. */
  readonly queriedTokens: number;
  readonly hitTokens: number;
  /** Beginnings given up for others, or because memory was short. */
  readonly evictions: number;
  /** Of all that is kept; what several beginnings share counts for each. */
  readonly bytes: number;
}

export class PrefixCache {
  readonly #host: SessionHost;
  readonly #maxBytes: number;
  /** Least recently used first. */
  #kept: readonly Kept[] = [];
  readonly #readings = new Set<Reading>();
  #bytes = 0;
  #queriedTokens = 0;
  #hitTokens = 0;
  #evictions = 0;

  /** @param maxBytes For what is kept; pages that several beginnings share count for each. 0: nothing is kept. */
  constructor(host: SessionHost, maxBytes: number) {
    this.#host = host;
    this.#maxBytes = maxBytes;
  }

  /**
   * A session that holds as much of the beginning of `tokens` as is known, but never all of them.
   *
   * @throws {MemoryError} If there is no memory for `capacity` positions.
   */
  open(tokens: readonly number[], capacity: number, lease?: Lease): LocalSession {
    const session = this.#open(tokens, capacity, lease);
    this.#queriedTokens += tokens.length;
    this.#hitTokens += session.length;
    return session;
  }

  get stats(): PrefixCacheStats {
    return {
      queriedTokens: this.#queriedTokens,
      hitTokens: this.#hitTokens,
      evictions: this.#evictions,
      bytes: this.#bytes,
    };
  }

  #open(tokens: readonly number[], capacity: number, lease: Lease | undefined): LocalSession {
    const shared = this.#share(tokens);
    if (shared === null) return LocalSession.open(this.#host, capacity, lease);
    try {
      return LocalSession.openAfter(this.#host, capacity, shared, lease);
    } finally {
      this.#host.backend.free(shared.keys);
    }
  }

  /** Keys of as much as is known; the caller's own, since what is kept may go when memory is short. */
  #share(tokens: readonly number[]): { keys: KvCache; length: number } | null {
    const { kept, reading } = this.#find(tokens);
    if (reading !== undefined && reading.length > (kept?.length ?? 0)) {
      return { keys: reading.of.session.shareKv(reading.length), length: reading.length };
    }
    if (kept === undefined) return null;
    this.#kept = [...this.#kept.filter((each) => each !== kept.of), kept.of];
    const { length } = kept;
    return { keys: this.#host.backend.forkKv(kept.of.keys, length, length), length };
  }

  /** Keeps what `session` holds, whose tokens these are, in whole pages. */
  keep(session: LocalSession, tokens: readonly number[]): void {
    const { backend, model } = this.#host;
    const length = wholePages(Math.min(tokens.length, session.length));
    const bytes = backend.kvBytes(model.config, length);
    if (length === 0 || bytes > this.#maxBytes) return;
    const beginning = tokens.slice(0, length);
    if (this.#kept.some((kept) => commonLength(kept.tokens, beginning) === length)) return;
    // What is a beginning of the new one needs no place of its own.
    for (const kept of this.#kept) {
      if (commonLength(kept.tokens, beginning) === kept.tokens.length) this.#drop(kept);
    }
    while (this.#bytes + bytes > this.#maxBytes || this.#kept.length >= MAX_KEPT) this.relieve();
    try {
      this.#kept = [...this.#kept, { tokens: beginning, keys: session.shareKv(length), bytes }];
      this.#bytes += bytes;
    } catch (error) {
      // Then it is not kept.
      if (!(error instanceof MemoryError)) throw error;
    }
  }

  /** Gives up what was not used for longest; false if nothing is kept. */
  relieve(): boolean {
    if (this.#kept.length === 0) return false;
    this.#drop(this.#kept[0]);
    this.#evictions++;
    return true;
  }

  /** Says that `session` computes on `tokens`, until `endReading`. */
  beginReading(session: LocalSession, tokens: readonly number[], now: number): Reading {
    const reading = { tokens, session, seen: now };
    this.#readings.add(reading);
    return reading;
  }

  endReading(reading: Reading): void {
    this.#readings.delete(reading);
  }

  /**
   * Whether somebody is about to compute more of the beginning of `tokens` than is there.
   *
   * @param since Who has not got on since then is given up.
   */
  isComing(tokens: readonly number[], since: number): boolean {
    if (this.#readings.size === 0) return false;
    const { kept, reading } = this.#find(tokens);
    const known = Math.max(kept?.length ?? 0, reading?.length ?? 0);
    for (const each of this.#readings) {
      if (each.seen >= since && usableLength(each.tokens, tokens) > known) return true;
    }
    return false;
  }

  /** Who computed on a prompt and went away has no keys to share any more. */
  #forgetClosed(): void {
    for (const reading of this.#readings) if (reading.session.isClosed) this.#readings.delete(reading);
  }

  #find(tokens: readonly number[]): { kept?: Found<Kept>; reading?: Found<Reading> } {
    this.#forgetClosed();
    return {
      kept: longest(this.#kept, (kept) => usableLength(kept.tokens, tokens)),
      reading: longest([...this.#readings], ({ tokens: read, session }) =>
        Math.min(usableLength(read, tokens), wholePages(session.length)),
      ),
    };
  }

  #drop(kept: Kept): void {
    this.#kept = this.#kept.filter((each) => each !== kept);
    this.#bytes -= kept.bytes;
    this.#host.backend.free(kept.keys);
  }
}

interface Found<T> {
  readonly of: T;
  readonly length: number;
}

/** The one with the largest length above 0. */
function longest<T>(all: readonly T[], lengthOf: (each: T) => number): Found<T> | undefined {
  let best: Found<T> | undefined;
  for (const of of all) {
    const length = lengthOf(of);
    if (length > (best?.length ?? 0)) best = { of, length };
  }
  return best;
}

/** Of `tokens` a session can begin with: one at least must be computed, for its row. */
function usableLength(known: readonly number[], tokens: readonly number[]): number {
  return wholePages(Math.min(commonLength(known, tokens), tokens.length - 1));
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}

/** Down to whole pages. */
export function wholePages(length: number): number {
  return Math.floor(length / KV_PAGE) * KV_PAGE;
}
