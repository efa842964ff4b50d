import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { HTTPException } from "hono/http-exception";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import { apiError, errorResponse, show } from "./errors.ts";
import type { ModelRegistry } from "./models.ts";
import { chatRoutes } from "./routes/chat.ts";
import { completionRoutes } from "./routes/completions.ts";
import { fuseRoutes } from "./routes/fuse.ts";
import { modelRoutes } from "./routes/models.ts";
import { scoreRoutes } from "./routes/score.ts";
import type { Service, ServiceEnv } from "./service.ts";
import { Slots } from "./slots.ts";

export { type LazyOptions, lazyModels, type ModelRegistry } from "./models.ts";
export type { NamedPlan } from "./named-plans.ts";

export interface AppOptions {
  models: ModelRegistry;
  /** Serves requests that name no model. Default: the first of `models.names`. */
  defaultModel?: string;
  /** Requests decoded at once; each holds a KV cache. Default 4. */
  maxRunning?: number;
  /** Requests that may wait for their turn before others get a 429. Default 16. */
  maxWaiting?: number;
  /** Largest request body, in bytes. Default 1 MiB. */
  maxBodyBytes?: number;
  /** Milliseconds a client may leave its stream unread before it is given up. Default 30,000. */
  stallMs?: number;
  /** Is told of every error that a client only sees as "The server had an error". Default: `console.error`. */
  onError?: (error: unknown) => void;
}

/**
 * The HTTP service over a set of models, speaking OpenAI's API: `/v1/completions`, `/v1/chat/completions`,
 * `/v1/models`, and `/health`; beside it `/v1/fuse` and `/v1/score`, over rows that come with the request. It runs
 * wherever a `fetch` handler does, and needs no socket to be tested.
 *
 * @example
 * const app = createApp({ models: lazyModels({ stories: () => loadModel(bytes, { modules }) }) });
 * const answer = await app.request("/v1/completions", { method: "POST", body: '{"prompt":"Once"}' });
 */
export function createApp(options: AppOptions) {
  const { models, maxBodyBytes = 1 << 20, stallMs = 30_000 } = options;
  const service: Service = {
    models,
    defaultModel: options.defaultModel ?? models.names[0],
    slots: new Slots(options.maxRunning ?? 4, options.maxWaiting ?? 16, 2 * stallMs),
    counts: { tokens: 0 },
    stallMs,
    onError: options.onError ?? ((error) => console.error(error)),
  };
  if (models.names.length === 0) throw new RangeError('"models" must hold at least one model, got none');
  if (!models.names.includes(service.defaultModel)) {
    throw new RangeError(
      `"defaultModel" must be one of ${models.names.join(", ")}, got ${show(service.defaultModel)}`,
    );
  }

  const app = new Hono<ServiceEnv>();
  app.use(async (c, next) => {
    // Taken before anything wraps the request anew: only the original tells of the client's leaving.
    c.set("signal", c.req.raw.signal);
    await next();
  });
  app.use(requestId({ headerName: "x-request-id" }));
  app.use(cors({ origin: "*", exposeHeaders: ["x-request-id", "retry-after"] }));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) =>
        errorResponse(
          c,
          apiError(
            405,
            `Method ${c.req.method} is not allowed for ${c.req.path}; use ${methods.join(" or ")}`,
            {
              code: "method_not_allowed",
              headers: { allow: methods.join(", ") },
            },
          ),
        ),
    }),
  );
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw apiError(413, `The request body must be at most ${maxBodyBytes} bytes`, {
          code: "request_too_large",
        });
      },
    }),
  );

  app.get("/health", (c) =>
    // Of this isolate: a Worker's others have their own.
    c.json({
      status: "ok",
      running: service.slots.running,
      waiting: service.slots.waiting,
      decoded_tokens: service.counts.tokens,
    }),
  );
  app.route("/v1", modelRoutes(service));
  app.route("/v1", completionRoutes(service));
  app.route("/v1", chatRoutes(service));
  app.route("/v1", fuseRoutes(service));
  app.route("/v1", scoreRoutes(service));

  app.notFound((c) => errorResponse(c, apiError(404, `Invalid URL (${c.req.method} ${c.req.path})`)));
  app.onError((error, c) => {
    // The client has left, so nobody reads the answer, but a handler must give one.
    if (c.get("signal")?.aborted) return errorResponse(c, clientGone());
    if (!(error instanceof HTTPException)) service.onError(error);
    return errorResponse(c, error);
  });
  return app;
}

/** 499: the status proxies log for it. */
function clientGone() {
  return apiError(499 as 400, "The client closed the request", { code: "request_aborted" });
}
