/**
 * How many sessions a key has, where each lives in a Durable Object of its own: one more object, for the key, counts them.
 *
 *     create  →  enter, or 429        delete, expiry  →  leave        in between  →  renewed now and then
 *
 * A session that is lost without a word (its creation was cut off) counts until its entry expires: twice as long as a session
 * may be idle.
 */
import type { DurableState } from "./durable.ts";
import { apiError } from "./errors.ts";

/** What an object of this kind is asked, as JSON. */
interface CountRequest {
  readonly id: string;
  /** "enter" with the most there may be. */
  readonly most?: number;
  /** "enter", "renew": in milliseconds since 1970. */
  readonly until?: number;
}

type CountAction = "enter" | "renew" | "leave";

/** The counter of one key. */
export interface CounterHost {
  fetch(url: string, init: RequestInit): Promise<Response>;
}

/** One session as its key's counter knows it. */
export class CountedSession {
  /** Name of the key. */
  readonly owner: string;
  readonly #host: CounterHost;
  readonly #id: string;
  readonly #idleMs: number;
  #renewed = 0;

  /** @param session `idleMs`: how long it may be idle. */
  constructor(host: CounterHost, session: { owner: string; id: string; idleMs: number }) {
    this.owner = session.owner;
    this.#host = host;
    this.#id = session.id;
    this.#idleMs = session.idleMs;
  }

  /** @throws {HTTPException} 429 with retry-after, if the key has `most` sessions. */
  async enter(most: number): Promise<void> {
    const answer = await this.#send("enter", { most, until: this.#until() });
    if (answer.count < most) return;
    throw apiError(
      429,
      `This key has ${answer.count} sessions, the most it may; delete one, or try again later`,
      {
        type: "rate_limit_error",
        code: "too_many_sessions",
        headers: { "retry-after": String(Math.max(1, Math.ceil(answer.freeIn / 1000))) },
      },
    );
  }

  /** The session is in use. Most calls cost nothing. */
  async renew(): Promise<void> {
    if (Date.now() < this.#renewed + this.#idleMs / 2) return;
    await this.#send("renew", { until: this.#until() });
  }

  async leave(): Promise<void> {
    await this.#send("leave", {});
  }

  #until(): number {
    this.#renewed = Date.now();
    return this.#renewed + 2 * this.#idleMs;
  }

  async #send(action: CountAction, body: Omit<CountRequest, "id">): Promise<Entered> {
    const answer = await this.#host.fetch(`https://counter/${action}`, {
      method: "POST",
      body: JSON.stringify({ id: this.#id, ...body }),
    });
    return (await answer.json()) as Entered;
  }
}

interface Entered {
  /** Sessions that were there already. */
  readonly count: number;
  /** Milliseconds until one of them expires, if nobody uses it. */
  readonly freeIn: number;
}

/** What Cloudflare calls of a counter; a Worker exports it. Its entries stand in SQLite. */
export class SessionCounter {
  readonly #storage: DurableState["storage"];

  constructor(state: DurableState) {
    this.#storage = state.storage;
    this.#storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID",
    );
  }

  async fetch(request: Request): Promise<Response> {
    const action = new URL(request.url).pathname.slice(1) as CountAction;
    const { id, most = 0, until = 0 } = (await request.json()) as CountRequest;
    const { sql } = this.#storage;
    const now = Date.now();
    sql.exec("DELETE FROM sessions WHERE until < ?", now);
    const [{ count, first }] = sql
      .exec("SELECT count(*) AS count, min(until) AS first FROM sessions WHERE id <> ?", id)
      .toArray() as { count: number; first: number | null }[];
    if (action === "leave") sql.exec("DELETE FROM sessions WHERE id = ?", id);
    else if (action === "renew" || count < most) {
      sql.exec("INSERT OR REPLACE INTO sessions (id, until) VALUES (?, ?)", id, until);
      await this.#storage.setAlarm(until);
    }
    return Response.json({ count, freeIn: (first ?? now) - now } satisfies Entered);
  }

  /** Nobody has renewed anything for long. */
  async alarm(): Promise<void> {
    const { sql } = this.#storage;
    sql.exec("DELETE FROM sessions WHERE until < ?", Date.now());
    const [{ last }] = sql.exec("SELECT max(until) AS last FROM sessions").toArray() as {
      last: number | null;
    }[];
    if (last !== null) await this.#storage.setAlarm(last);
    else await this.#storage.deleteAll();
  }
}
