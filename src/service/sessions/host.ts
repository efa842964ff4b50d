/** Sessions that live elsewhere, as in a Durable Object each: their requests go there, when they have been let in here. */
import type { Context } from "hono";
import { apiError } from "../errors.ts";
import type { Service, ServiceEnv } from "../service.ts";
import type { Sessions } from "../sessions.ts";
import { inTurn } from "../turn.ts";

/** Whoever runs one session, found by its id. */
export interface SessionHost {
  fetch(url: string, init: RequestInit): Promise<Response>;
}

/** What the place where a session lives gives each request, as Hono's bindings. */
export interface SessionPlace {
  readonly sessions: Sessions;
  readonly id: string;
  readonly owner: string;
}

/** What is told between the two; requests from outside get there only by way of `forwardToSession`. */
export const PLACE_HEADERS = {
  id: "x-edgewise-session",
  owner: "x-edgewise-owner",
  tokens: "x-edgewise-tokens",
} as const;

/** Of the answers, what is the session's and not this hop's. */
const KEPT_HEADERS = ["content-type", "retry-after"];

export function placeOfSessions(c: Context<ServiceEnv>): SessionPlace | undefined {
  const place = c.env as Partial<SessionPlace> | undefined;
  return place?.sessions === undefined ? undefined : (place as SessionPlace);
}

/**
 * The answer of the place where a session lives.
 *
 * @throws {HTTPException} 503, if it broke off: it was moved or restarted.
 */
export function forwardToSession(
  c: Context<ServiceEnv>,
  service: Service,
  open: (id: string) => SessionHost,
  id: string,
  path: string,
): Promise<Response> {
  return inTurn(c, service, async () => {
    const caller = c.get("caller");
    const bytes = c.req.method === "GET" ? new Uint8Array() : await c.get("body").bytes();
    const headers = new Headers({
      [PLACE_HEADERS.id]: id,
      [PLACE_HEADERS.owner]: caller?.name ?? "",
      "x-request-id": c.get("requestId"),
    });
    for (const name of ["content-type", "accept"]) {
      const value = c.req.header(name);
      if (value !== undefined) headers.set(name, value);
    }
    let answer: Response;
    try {
      answer = await open(id).fetch(`https://session${path}`, {
        method: c.req.method,
        headers,
        ...(bytes.length > 0 && { body: bytes as Uint8Array<ArrayBuffer> }),
        signal: c.get("signal") ?? null,
      });
    } catch (error) {
      c.get("signal")?.throwIfAborted();
      service.onError(error, c.get("requestId"));
      throw apiError(503, "The session was interrupted; try again, with the same position", {
        code: "session_interrupted",
        headers: { "retry-after": "1" },
      });
    }
    const tokens = Number(answer.headers.get(PLACE_HEADERS.tokens) ?? 0);
    if (caller !== undefined && tokens > 0) service.rates.spend(caller, tokens);
    const kept = KEPT_HEADERS.flatMap((name): [string, string][] => {
      const value = answer.headers.get(name);
      return value === null ? [] : [[name, value]];
    });
    return c.newResponse(answer.body, answer.status as 200, Object.fromEntries(kept));
  });
}
