import type { Context } from "hono";
import type { Model } from "../engine/model.ts";
import { RemoteError, UnsupportedError } from "../errors.ts";
import type { Caller } from "./access/keys.ts";
import type { Rates } from "./access/rates.ts";
import type { BodyReader } from "./body.ts";
import type { Codebooks } from "./codebooks.ts";
import type { Corpora } from "./corpora.ts";
import { apiError, show } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { KeepAlive, ModelRegistry } from "./models.ts";
import { type Log, withoutPaths } from "./observe/log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { Trace } from "./observe/trace.ts";
import type { RowBackend } from "./row-backend.ts";
import type { SessionCaches } from "./sessions/caches.ts";
import type { SessionHost } from "./sessions/host.ts";
import type { Sessions } from "./sessions.ts";
import type { Slots } from "./slots.ts";

/** What every route works with. */
export interface Service {
  readonly models: ModelRegistry;
  readonly defaultModel: string;
  /** Drafts for the others. */
  readonly draftModel: string | undefined;
  readonly slots: Slots;
  readonly limits: Limits;
  readonly rates: Rates;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Where rows that come with requests are computed. */
  readonly rowBackend: RowBackend;
  /** Of rows that name theirs. */
  readonly codebooks: Codebooks;
  /** Sessions that live here, and what is in memory of them and of those that live beside. */
  readonly sessions: Sessions;
  readonly sessionCaches: SessionCaches;
  /** What callers' sessions may draft from, by name. */
  readonly corpora: Corpora;
  /** Where sessions live; absent: here. */
  readonly sessionHost: ((id: string) => SessionHost) | undefined;
  /** Tokens decoded since the start. */
  readonly counts: { tokens: number };
  /** Is told of every error that a client only sees as "The server had an error". */
  readonly onError: (error: unknown, requestId?: string) => void;
}

export interface ServiceEnv {
  Variables: {
    requestId: string;
    signal: AbortSignal | undefined;
    trace: Trace;
    /** Who asks; undefined where no key is needed. */
    caller: Caller | undefined;
    body: BodyReader;
  };
}

export function modelNotFound(name: string) {
  return apiError(404, `The model ${show(name)} does not exist`, { param: "model", code: "model_not_found" });
}

/**
 * The model a request names, or the default one, with the name it goes by here.
 *
 * @throws {HTTPException} 404 if there is none of that name, 500 if it cannot be loaded, 503 if that may work in a moment.
 */
export async function findModel(
  service: Service,
  asked: string | null | undefined,
  keepAlive: KeepAlive,
): Promise<{ name: string; model: Model }> {
  const name = asked ?? service.defaultModel;
  if (!service.models.names.includes(name)) throw modelNotFound(name);
  try {
    const model = await service.models.get(name, keepAlive);
    service.metrics.loaded(name, model);
    return { name, model };
  } catch (error) {
    service.onError(error);
    const code = "model_load_failed";
    if (!(error instanceof RemoteError)) throw apiError(500, loadFailure(error), { code });
    throw apiError(503, withoutPaths(error.message), { code, headers: { "retry-after": "1" } });
  }
}

/**
 * The model that drafts for another, where a request asks for one.
 *
 * @param target What that one goes by here.
 * @throws {HTTPException} 400 if there is none; as `findModel`.
 */
export async function findDraftModel(
  service: Service,
  target: string,
  asked: string | null | undefined,
  keepAlive: KeepAlive,
): Promise<Model | undefined> {
  if (asked !== "model") return undefined;
  const { draftModel } = service;
  if (draftModel !== undefined && draftModel !== target) {
    return (await findModel(service, draftModel, keepAlive)).model;
  }
  throw apiError(
    400,
    `"draft" must not be "model": this server has no model that drafts for ${show(target)}`,
    {
      param: "draft",
      code: "invalid_value",
    },
  );
}

/** The loader's message is for whoever runs the service, who is often the one who asks; the system's is not. */
function loadFailure(error: unknown): string {
  const isOurs =
    error instanceof RangeError || error instanceof TypeError || error instanceof UnsupportedError;
  return isOurs ? withoutPaths(error.message) : "The model cannot be loaded";
}

/** The body as JSON, whatever its content type says. @throws {HTTPException} As `BodyReader.json`. */
export function readJson(c: Context<ServiceEnv>): Promise<unknown> {
  return c.get("body").json();
}
