/** What all requests about a session have in common. */
import type { Context } from "hono";
import type { Model } from "../../engine/model.ts";
import { deadlineAfter } from "../deadline.ts";
import { keepAlive } from "../respond.ts";
import { findModel, type Service, type ServiceEnv } from "../service.ts";
import type { Sessions } from "../sessions.ts";
import { inTurn } from "../turn.ts";
import type { SessionCache } from "./caches.ts";
import { forwardToSession, PLACE_HEADERS, placeOfSessions } from "./host.ts";
import { isSessionId, type SessionRecord, sessionNotFound } from "./record.ts";
import type { SessionProgress } from "./rounds.ts";

/** A session that is this request's for now. */
export interface OpenSession {
  readonly record: SessionRecord;
  readonly sessions: Sessions;
  readonly model: Model;
  readonly progress: SessionProgress;
  /** What `work` makes of its cache. */
  cached<T>(work: (cache: SessionCache) => Promise<T>): Promise<T>;
}

/** The sessions that are here, and whose they are who asks. */
export function sessionsHere(c: Context<ServiceEnv>, service: Service) {
  const place = placeOfSessions(c);
  const owner = place?.owner ?? c.get("caller")?.name ?? "";
  return { sessions: place?.sessions ?? service.sessions, owner, id: place?.id };
}

/**
 * The answer to a request about a session: here, or by the place where it lives.
 *
 * @param path What the request is called there, behind the session's own path.
 * @throws {HTTPException} 404, if there is no such session of this key; 409 or 503, as `work` and the place have it.
 */
export function withSession(
  c: Context<ServiceEnv>,
  service: Service,
  id: string,
  path: string,
  work: (open: OpenSession) => Promise<Response>,
): Promise<Response> {
  if (!isSessionId(id)) throw sessionNotFound();
  if (service.sessionHost !== undefined && placeOfSessions(c) === undefined) {
    return forwardToSession(c, service, service.sessionHost, id, `/v1/sessions/${id}${path}`);
  }
  return inTurn(c, service, async (slot) => {
    const { sessions, owner } = sessionsHere(c, service);
    const deadline = deadlineAfter(service.limits.requestMs, c.get("signal"));
    try {
      return await sessions.use(id, owner, deadline.signal, async (record, alive) => {
        const { name, model } = await findModel(service, record.model, keepAlive(c));
        // Another model would go on with another text.
        if (model.fingerprint !== record.fingerprint) throw sessionNotFound();
        c.get("trace").model(name);
        const progress: SessionProgress = {
          signal: deadline.signal,
          alive: () => {
            slot.touch();
            alive();
          },
          round: (...counts) => countRound(c, service, name, ...counts),
        };
        const cached: OpenSession["cached"] = (use) => service.sessionCaches.use(record, model, use);
        return work({ record, sessions, model, progress, cached });
      });
    } finally {
      deadline.clear();
    }
  });
}

/** Charges the key for tokens. */
export function spend(c: Context<ServiceEnv>, service: Service, tokens: number): void {
  const caller = c.get("caller");
  if (placeOfSessions(c) !== undefined) {
    const before = Number(c.res.headers.get(PLACE_HEADERS.tokens) ?? 0);
    c.header(PLACE_HEADERS.tokens, String(before + tokens));
  } else if (caller !== undefined) service.rates.spend(caller, tokens);
}

/** A body that may be read again, by whoever it is handed on to. */
export function keepBody(c: Context<ServiceEnv>): void {
  const body = c.get("body");
  let read: Promise<Uint8Array> | undefined;
  const bytes = () => {
    read ??= body.bytes();
    return read;
  };
  const json = async () => body.parse(new TextDecoder().decode(await bytes()));
  c.set("body", { ...body, bytes, json });
}

function countRound(
  c: Context<ServiceEnv>,
  service: Service,
  model_name: string,
  drafted: number,
  tested: number,
  accepted: number,
  emitted: number,
): void {
  const trace = c.get("trace");
  for (let i = 0; i < emitted; i++) trace.token();
  service.counts.tokens += emitted;
  // A drafted token takes what an emitted one takes.
  spend(c, service, Math.max(drafted, emitted));
  if (drafted === 0) return;
  const ones = (count: number) => new Array<number>(count).fill(1);
  service.metrics.speculated(
    { model_name },
    { drafted, accepted, testedAt: ones(tested), acceptedAt: ones(accepted) },
  );
}
