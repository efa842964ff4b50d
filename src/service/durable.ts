/**
 * Sessions of a Worker: a Durable Object each, which Cloudflare finds by its name wherever it runs. What a session is stands in
 * the object's SQLite; its keys and values are in memory, and are computed again after it was evicted or moved.
 */
import type { ExecutionContext } from "hono";
import type { HTTPException } from "hono/http-exception";
import { type ErrorDetail, errorBody } from "./errors.ts";
import { CountedSession, type CounterHost } from "./session-counter.ts";
import { PLACE_HEADERS, type SessionHost, type SessionPlace } from "./sessions/host.ts";
import type { DrafterRecord, SessionRecord, SessionStore } from "./sessions/record.ts";
import { type SessionLimits, Sessions } from "./sessions.ts";

/** The parts of Cloudflare's bindings that are used here. */
export interface DurableNamespace {
  idFromName(name: string): unknown;
  get(id: unknown): SessionHost;
}

export interface DurableState {
  readonly storage: DurableStorage;
  waitUntil(work: Promise<unknown>): void;
}

export interface DurableStorage {
  readonly sql: {
    exec(query: string, ...bindings: unknown[]): { toArray(): Record<string, unknown>[] };
  };
  setAlarm(time: number): Promise<void>;
  deleteAll(): Promise<void>;
}

/** What answers requests about sessions that live in this isolate; shared by all its objects. */
export interface SessionApp {
  fetch(request: Request, place: SessionPlace, context: ExecutionContext): Response | Promise<Response>;
}

/** What an object needs of its isolate. */
export interface SessionIsolate {
  readonly app: SessionApp;
  readonly limits: SessionLimits;
  /** Gives back what is in memory of a session. */
  forget(id: string): void;
  /** What counts a key's sessions; absent: nobody does. */
  readonly counterOf?: (owner: string) => CounterHost;
}

/** Where a worker's sessions live, by their ids. */
export function sessionHosts(namespace: DurableNamespace): (id: string) => SessionHost {
  return (id) => namespace.get(namespace.idFromName(id));
}

/** What counts the sessions of keys, by their names. */
export function sessionCounters(namespace: DurableNamespace): (owner: string) => CounterHost {
  return (owner) => namespace.get(namespace.idFromName(owner));
}

/** What Cloudflare calls of an object. */
export interface DurableSession {
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<void>;
}

/**
 * The class of the objects, for a Worker to export. Requests come from `forwardToSession` alone, which has let them in.
 *
 * @param open What the objects of an isolate share; called once for each.
 */
export function durableSessions<Env>(
  open: (env: Env) => SessionIsolate,
): new (
  state: DurableState,
  env: Env,
) => DurableSession {
  return class SessionObject implements DurableSession {
    readonly #state: DurableState;
    readonly #isolate: SessionIsolate;
    readonly #sessions: Sessions;
    readonly #store: SessionStore;
    #counted: CountedSession | undefined;

    constructor(state: DurableState, env: Env) {
      this.#state = state;
      this.#isolate = open(env);
      const { limits, forget } = this.#isolate;
      this.#store = new DurableStore(state.storage, () => this.#sessions.expiry);
      this.#sessions = new Sessions(limits, forget, this.#store);
    }

    async fetch(request: Request): Promise<Response> {
      const place: SessionPlace = {
        sessions: this.#sessions,
        id: request.headers.get(PLACE_HEADERS.id) ?? "",
        owner: request.headers.get(PLACE_HEADERS.owner) ?? "",
      };
      const waitUntil = (work: Promise<unknown>) => this.#state.waitUntil(work);
      const isNew = request.method === "POST" && new URL(request.url).pathname === "/v1/sessions";
      const counted = this.#count(place.owner, place.id);
      if (isNew) {
        try {
          await counted?.enter(this.#sessions.mostPerKey);
        } catch (error) {
          return refusal(error as HTTPException);
        }
      }
      const context = { waitUntil, passThroughOnException() {}, props: {} };
      const answer = await this.#isolate.app.fetch(request, place, context);
      const isGone = isNew ? !answer.ok : answer.ok && request.method === "DELETE";
      // Of a session that is not the caller's, its key's counter is told nothing.
      const told = isGone ? counted?.leave() : answer.ok ? counted?.renew() : undefined;
      // An entry that is not renewed or not taken away expires.
      if (told !== undefined) waitUntil(told.catch(() => {}));
      return answer;
    }

    /** Nobody has asked for the session for as long as it may be idle. */
    async alarm(): Promise<void> {
      const record = this.#store.load();
      this.#sessions.expire();
      await this.#state.storage.deleteAll();
      if (record !== undefined) await this.#count(record.owner, record.id)?.leave();
    }

    #count(owner: string, id: string): CountedSession | undefined {
      const { counterOf } = this.#isolate;
      if (counterOf === undefined) return undefined;
      // Whoever asks first need not be whose session it is.
      if (this.#counted?.owner !== owner) {
        this.#counted = new CountedSession(counterOf(owner), { owner, id, idleMs: this.#sessions.idleMs });
      }
      return this.#counted;
    }
  };
}

/** @throws What is no error of the API. */
function refusal(error: HTTPException): Response {
  if (error.status === undefined) throw error;
  const { headers } = (error.cause ?? {}) as ErrorDetail;
  return Response.json(errorBody(error), { status: error.status, headers });
}

/** One session in the SQLite of its object. The drafter is written when it changes: it may be long. */
class DurableStore implements SessionStore {
  readonly #storage: DurableStorage;
  readonly #expiry: () => number;
  /** As it is stored; undefined: not known. */
  #drafter: DrafterRecord | null | undefined;

  constructor(storage: DurableStorage, expiry: () => number) {
    this.#storage = storage;
    this.#expiry = expiry;
  }

  load(): SessionRecord | undefined {
    const { sql } = this.#storage;
    // Whoever asks for an id that does not exist must not leave a table behind.
    const tables = sql.exec("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'session'");
    if (tables.toArray().length === 0) return undefined;
    const [row] = sql.exec("SELECT * FROM session").toArray();
    if (row === undefined) return undefined;
    const record = {
      ...JSON.parse(row.settings as string),
      tokens: Array.from(new Uint32Array(row.tokens as ArrayBuffer)),
      promptLength: row.prompt_length,
      memory: JSON.parse(row.memory as string),
      drafter: row.drafter === null ? null : JSON.parse(row.drafter as string),
    } as SessionRecord;
    this.#drafter = record.drafter;
    return record;
  }

  save(record: SessionRecord): void {
    const { tokens, promptLength, memory, drafter, ...settings } = record;
    const { sql } = this.#storage;
    if (this.#drafter === undefined) {
      sql.exec(
        "CREATE TABLE IF NOT EXISTS session (one INTEGER PRIMARY KEY CHECK (one = 1), settings TEXT NOT NULL, " +
          "tokens BLOB NOT NULL, prompt_length INTEGER NOT NULL, memory TEXT NOT NULL, drafter TEXT)",
      );
    }
    sql.exec(
      "INSERT INTO session (one, settings, tokens, prompt_length, memory) VALUES (1, ?, ?, ?, ?) ON CONFLICT (one) DO " +
        "UPDATE SET tokens = excluded.tokens, prompt_length = excluded.prompt_length, memory = excluded.memory",
      JSON.stringify(settings),
      Uint32Array.from(tokens).buffer,
      promptLength,
      JSON.stringify(memory),
    );
    if (drafter !== (this.#drafter ?? null)) {
      sql.exec("UPDATE session SET drafter = ?", drafter && JSON.stringify(drafter));
    }
    this.#drafter = drafter;
    // Cloudflare holds the answer back until what was written is safe.
    void this.#storage.setAlarm(this.#expiry());
  }

  delete(): void {
    this.#drafter = undefined;
    void this.#storage.deleteAll();
  }
}
