import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { HTTPException } from "hono/http-exception";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import type { KernelModules } from "../engine/load-model.ts";
import type { Codebook } from "../format/wire/index.ts";
import { authenticate, type RateLimiter } from "./access/authenticate.ts";
import { type KeyLimits, readKeyLimits } from "./access/key-limits.ts";
import { ApiKeys, type KeyOptions } from "./access/keys.ts";
import { Rates } from "./access/rates.ts";
import { boundBody, HeldBytes } from "./body.ts";
import { Codebooks } from "./codebooks.ts";
import { Corpora } from "./corpora.ts";
import { apiError, errorBody, errorResponse, show } from "./errors.ts";
import { type Limits, readLimits } from "./limits.ts";
import type { ModelRegistry } from "./models.ts";
import { consoleLog, errorLine, type Log } from "./observe/log.ts";
import { Metrics } from "./observe/metrics.ts";
import { traceRequests } from "./observe/trace.ts";
import { chatRoutes } from "./routes/chat.ts";
import { codebookRoutes } from "./routes/codebooks.ts";
import { completionRoutes } from "./routes/completions.ts";
import { drafterRoutes } from "./routes/drafter.ts";
import { fuseRoutes } from "./routes/fuse.ts";
import { modelRoutes } from "./routes/models.ts";
import { operationRoutes } from "./routes/operations.ts";
import { rowRoutes } from "./routes/rows.ts";
import { sampleRoutes } from "./routes/sample.ts";
import { scoreRoutes } from "./routes/score.ts";
import { sessionRoutes } from "./routes/sessions.ts";
import { textRoutes } from "./routes/text.ts";
import { verifyRoutes } from "./routes/verify.ts";
import { RowBackend } from "./row-backend.ts";
import type { Service, ServiceEnv } from "./service.ts";
import { SessionCaches } from "./sessions/caches.ts";
import type { SessionHost } from "./sessions/host.ts";
import { type SessionLimits, Sessions } from "./sessions.ts";
import { Slots } from "./slots.ts";

export type { RateLimiter } from "./access/authenticate.ts";
export type { KeyLimits } from "./access/key-limits.ts";
export { type KeyOptions, parseKeys } from "./access/keys.ts";
export type { Limits } from "./limits.ts";
export { type LazyOptions, lazyModels, type ModelRegistry } from "./models.ts";
export type { NamedPlan } from "./named-plans.ts";
export type { Log, LogLine } from "./observe/log.ts";

export interface AppOptions extends Partial<Limits>, SessionLimits {
  models: ModelRegistry;
  /** Serves requests that name no model. Default: the first of `models.names`. */
  defaultModel?: string;
  /** Drafts for the others, where a request says `draft: "model"`; one of `models.names`. Default: there is none. */
  draftModel?: string;
  /**
   * Requests decoded at once, as many of them as there is memory for: they share passes over the weights, and each holds
   * a KV cache. Default 32, the columns of a pass.
   */
  maxRunning?: number;
  /** Requests that may wait for their turn before others get a 429. Default 256. */
  maxWaiting?: number;
  /** Kernels for rows that come with requests. Default: none, they are fused in plain TypeScript, in f64. */
  modules?: KernelModules;
  /** That rows may name without sending them. Default: those that callers put to `/v1/codebooks`, and no others. */
  codebooks?: readonly Codebook[];
  /** Of all codebooks that callers have sent: the ones that were not used for longest make room. Default 8 MiB. */
  maxCodebookBytes?: number;
  /** Who may use the service, all of it but `/health`. Default: everybody. */
  keys?: readonly (string | KeyOptions)[];
  /** What each key may take that has no limits of its own; without keys, what everybody together may take. */
  keyLimits?: KeyLimits;
  /** Asked at every request, with the name of its key; the binding of a Worker. */
  rateLimiter?: RateLimiter;
  /** Origins whose pages may use the service from a browser; "*" stands for all. Default: none. */
  corsOrigins?: readonly string[];
  /** Where a session lives, by its id. Default: here, for as long as this process does. */
  sessionHost?: (id: string) => SessionHost;
  /** What is in memory of sessions. Default: its own. */
  sessionCaches?: SessionCaches;
  /** Is told of every request when it has ended. Default: a line of JSON on the console. */
  log?: Log;
  /** Is told of every error that a client only sees as "The server had an error". Default: a line of `log`. */
  onError?: (error: unknown, requestId?: string) => void;
}

/** What a browser's page may read of an answer. */
const EXPOSED = ["limit", "remaining", "reset"].flatMap((what) =>
  ["requests", "tokens"].map((kind) => `x-ratelimit-${what}-${kind}`),
);

/**
 * The HTTP service over a set of models, speaking OpenAI's API: `/v1/completions`, `/v1/chat/completions`,
 * `/v1/models`; beside it `/v1/fuse`, `/v1/score`, `/v1/sample` and `/v1/verify`, over rows that come with the request,
 * `/v1/codebooks`, which such rows may name, `/v1/sessions` and `/v1/drafter`, for drafts that are verified here, `/tokenize` and its like, `/health`, `/metrics`,
 * `/openapi.json` and `/docs`. It runs wherever a `fetch` handler does, and needs no socket to be tested.
 *
 * @throws {TypeError | RangeError} If an option is wrong.
 *
 * @example
 * const app = createApp({ models: lazyModels({ stories: () => loadModel(bytes, { modules }) }) });
 * const answer = await app.request("/v1/completions", { method: "POST", body: '{"prompt":"Once"}' });
 */
export function createApp(options: AppOptions) {
  const keyLimits = readKeyLimits("keyLimits", options.keyLimits ?? {});
  const keys = new ApiKeys(options.keys ?? [], keyLimits);
  const limits = readLimits(options);
  const held = new HeldBytes(limits.maxHeldBytes);
  const service = openService(options, limits, held);
  const { rates, log } = service;
  if (keys.isOpen) {
    log({ level: "warn", event: "open", message: "No API key is configured: anyone may use the service" });
  }

  const app = new Hono<ServiceEnv>();
  app.use(async (c, next) => {
    service.sessionCaches.dropIdle();
    // Taken before anything wraps the request anew: only the original tells of the client's leaving.
    c.set("signal", c.req.raw.signal);
    await next();
  });
  app.use(requestId({ headerName: "x-request-id" }));
  app.use(traceRequests(service));
  app.use(secured());
  const { corsOrigins = [] } = options;
  if (corsOrigins.length > 0) {
    const origin = corsOrigins.includes("*") ? "*" : [...corsOrigins];
    app.use(cors({ origin, exposeHeaders: ["x-request-id", "retry-after", ...EXPOSED] }));
  }
  app.use(authenticate({ keys, rates, openLimits: keyLimits, rateLimiter: options.rateLimiter }));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => refuse(c, notAllowed(c.req, methods)),
    }),
  );
  app.use(boundBody(limits, held));

  app.route("/", operationRoutes(service));
  app.route("/", textRoutes(service));
  app.route("/v1", modelRoutes(service));
  app.route("/v1", completionRoutes(service));
  app.route("/v1", chatRoutes(service));
  app.route("/v1", fuseRoutes(service));
  app.route("/v1", scoreRoutes(service));
  app.route("/v1", sampleRoutes(service));
  app.route("/v1", verifyRoutes(service));
  app.route("/v1", sessionRoutes(service));
  app.route("/v1", drafterRoutes(service));
  app.route("/v1", rowRoutes(service));
  app.route("/v1", codebookRoutes(service));

  app.notFound((c) => refuse(c, apiError(404, `Invalid URL (${c.req.method} ${c.req.path})`)));
  app.onError((error, c) => {
    // The client has left, so nobody reads the answer, but a handler must give one.
    if (c.get("signal")?.aborted) return errorResponse(c, clientGone());
    if (!(error instanceof HTTPException)) service.onError(error, c.get("requestId"));
    return errorResponse(c, error);
  });
  return app;
}

function openService(options: AppOptions, limits: Limits, held: HeldBytes): Service {
  const { models, log = consoleLog } = options;
  if (models.names.length === 0) throw new RangeError('"models" must hold at least one model, got none');
  const defaultModel = options.defaultModel ?? models.names[0];
  const { draftModel } = options;
  for (const [option, name] of Object.entries({ defaultModel, draftModel })) {
    if (name === undefined || models.names.includes(name)) continue;
    throw new RangeError(`"${option}" must be one of ${models.names.join(", ")}, got ${show(name)}`);
  }
  const slots = new Slots(options.maxRunning ?? 32, options.maxWaiting ?? 256, 2 * limits.stallMs);
  const { sessionCaches = new SessionCaches(options.maxSessionCaches) } = options;
  return {
    models,
    defaultModel,
    draftModel,
    slots,
    sessions: new Sessions(options, (id) => sessionCaches.drop(id)),
    sessionCaches,
    corpora: new Corpora(),
    sessionHost: options.sessionHost,
    rowBackend: new RowBackend(options.modules),
    codebooks: new Codebooks(options.codebooks, options.maxCodebookBytes),
    limits,
    rates: new Rates(),
    metrics: new Metrics(slots, held),
    log,
    counts: { tokens: 0 },
    onError: options.onError ?? ((error, requestId) => log(errorLine(error, requestId))),
  };
}

/** Nothing that is served here may run a script, be framed, or be taken for what it is not. */
function secured() {
  return secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      styleSrc: ["'unsafe-inline'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
    xFrameOptions: "DENY",
  });
}

/** An error that no handler threw. */
function refuse(c: Context<ServiceEnv>, error: HTTPException): Response {
  c.get("trace").error(errorBody(error));
  return errorResponse(c, error);
}

function notAllowed({ method, path }: { method: string; path: string }, methods: readonly string[]) {
  return apiError(405, `Method ${method} is not allowed for ${path}; use ${methods.join(" or ")}`, {
    code: "method_not_allowed",
    headers: { allow: methods.join(", ") },
  });
}

/** 499: the status proxies log for it. */
function clientGone() {
  return apiError(499 as 400, "The client closed the request", { code: "request_aborted" });
}
