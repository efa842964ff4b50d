/** The sessions that live here: who may use them, how many there may be, and one request at a time for each. */
import { expectInteger } from "../errors.ts";
import { apiError } from "./errors.ts";
import { pause } from "./pause.ts";
import { newSessionId, type SessionRecord, type SessionStore, sessionNotFound } from "./sessions/record.ts";

/** Each is an integer of at least 1. */
export interface SessionLimits {
  /** Sessions in all, and of one key. Default 256 and 64. */
  readonly maxSessions?: number;
  readonly maxSessionsPerKey?: number;
  /** Milliseconds after which a session that nobody asks for is forgotten. Default 1,800,000. */
  readonly sessionIdleMs?: number;
  /** Sessions whose keys and values are in memory; those of others are computed again. Default 4. */
  readonly maxSessionCaches?: number;
}

/** Tokens of all sessions together, as many as they may come to have, and of their drafters. */
const MAX_TOKENS = 1 << 20;

/** Without a sign of life for so long, whoever uses a session is not waited for: a request may be cut off. */
const PATIENCE_MS = 60_000;

interface Entry {
  readonly record: SessionRecord;
  seen: number;
}

export class Sessions {
  readonly #most: number;
  readonly mostPerKey: number;
  readonly idleMs: number;
  readonly #store: SessionStore | undefined;
  readonly #entries = new Map<string, Entry>();
  /** Sessions in use, and when the one who uses them gave a sign of life. */
  readonly #inUse = new Map<string, { seen: number }>();
  readonly #onForget: (id: string) => void;

  /**
   * @param store Of the one session that lives here. Absent: they live as long as this object.
   * @param onForget Is told of sessions that expire.
   * @throws {TypeError | RangeError} If a limit is no integer of at least 1; names it.
   */
  constructor(limits: SessionLimits, onForget: (id: string) => void = () => {}, store?: SessionStore) {
    const read = (name: keyof SessionLimits, fallback: number) =>
      expectInteger(name, limits[name] ?? fallback, 1, 2 ** 31 - 1);
    this.#most = read("maxSessions", 256);
    this.mostPerKey = read("maxSessionsPerKey", 64);
    this.idleMs = read("sessionIdleMs", 1_800_000);
    this.#onForget = onForget;
    this.#store = store;
  }

  /** When a session expires that is used now, in milliseconds since 1970. */
  get expiry(): number {
    return Date.now() + this.idleMs;
  }

  /** @throws {HTTPException} 429, if there are as many as there may be. */
  create(given: Omit<SessionRecord, "id" | "created">, id = newSessionId()): SessionRecord {
    this.#forgetIdle();
    const own = [...this.#entries.values()].filter(({ record }) => record.owner === given.owner);
    if (own.length >= this.mostPerKey) throw tooMany(`This key has ${own.length} sessions, the most it may`);
    if (this.#entries.size >= this.#most) throw tooMany(`The server has ${this.#most} sessions, its most`);
    const record: SessionRecord = { ...given, id, created: Date.now() };
    this.#expectRoom(sizeOf(record));
    this.#entries.set(id, { record, seen: Date.now() });
    this.#store?.save(record);
    return record;
  }

  /**
   * What `work` makes of a session, when those who came before are done with it. What it changes of the record is kept.
   *
   * @throws {HTTPException} 404, if there is no such session of this owner.
   */
  async use<T>(
    id: string,
    owner: string,
    signal: AbortSignal,
    work: (record: SessionRecord, alive: () => void) => Promise<T>,
  ): Promise<T> {
    this.#forgetIdle();
    this.#find(id, owner);
    const use = await this.#enter(id, signal);
    try {
      const { record } = this.#find(id, owner);
      const result = await work(record, () => {
        use.seen = Date.now();
      });
      if (this.#entries.get(id)?.record === record) {
        this.#entries.get(id)!.seen = Date.now();
        this.#store?.save(record);
      }
      return result;
    } finally {
      if (this.#inUse.get(id) === use) this.#inUse.delete(id);
    }
  }

  /** Gives a session something to draft from. @throws {HTTPException} 429, if there is no room for it. */
  setDrafter(record: SessionRecord, drafter: SessionRecord["drafter"]): void {
    const more = (drafter?.tokens.length ?? 0) - (record.drafter?.tokens.length ?? 0);
    if (more > 0) this.#expectRoom(more);
    record.drafter = drafter;
  }

  delete(id: string): void {
    this.#entries.delete(id);
    this.#store?.delete();
    this.#onForget(id);
  }

  /** Forgets all sessions here. */
  expire(): void {
    for (const id of [...this.#entries.keys()]) this.delete(id);
  }

  #find(id: string, owner: string): Entry {
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      const record = this.#store?.load();
      if (record !== undefined) entry = { record, seen: Date.now() };
    }
    if (entry === undefined || entry.record.id !== id || entry.record.owner !== owner)
      throw sessionNotFound();
    this.#entries.set(id, entry);
    return entry;
  }

  /** By looking, as all waiting for another request is: see pause.ts. */
  async #enter(id: string, signal: AbortSignal): Promise<{ seen: number }> {
    for (;;) {
      const other = this.#inUse.get(id);
      if (other === undefined || other.seen < Date.now() - PATIENCE_MS) break;
      await pause();
      signal.throwIfAborted();
    }
    const use = { seen: Date.now() };
    this.#inUse.set(id, use);
    return use;
  }

  #forgetIdle(): void {
    const oldest = Date.now() - this.idleMs;
    for (const [id, { seen }] of this.#entries) {
      if (seen < oldest && !this.#inUse.has(id)) this.delete(id);
    }
  }

  #expectRoom(tokens: number): void {
    let held = 0;
    for (const { record } of this.#entries.values()) held += sizeOf(record);
    if (held + tokens > MAX_TOKENS) {
      throw tooMany(`The server's sessions may have ${MAX_TOKENS} tokens in all, and ${held} are taken`);
    }
  }
}

function sizeOf({ capacity, drafter }: SessionRecord): number {
  return capacity + (drafter?.tokens.length ?? 0);
}

function tooMany(message: string) {
  return apiError(429, `${message}; delete one, or try again later`, {
    type: "rate_limit_error",
    code: "too_many_sessions",
    headers: { "retry-after": "30" },
  });
}
