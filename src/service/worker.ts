/**
 * Cloudflare Workers entry: the embedded story model, or a GGUF of yours from R2 or the assets. See `wrangler.toml`.
 *
 * Nothing heavy runs at global scope, which Workers bills to the cold start: the first request loads the model.
 */
import relaxed from "../../build/relaxed.wasm";
import simd from "../../build/simd.wasm";
import stories from "../../models/edgewise-stories-q8_0.gguf";
import type { createApp } from "./app.ts";
import { durableSessions, type SessionIsolate } from "./durable.ts";
import { apiError, errorBody } from "./errors.ts";
import type { ModelRegistry } from "./models.ts";
import { consoleLog, errorLine } from "./observe/log.ts";
import type { PieceCache } from "./weights.ts";
import { type Env, openApp, openModels, openSessionIsolate, type Platform } from "./worker-app.ts";

type Context = Parameters<ReturnType<typeof createApp>["fetch"]>[2] & {
  waitUntil(work: Promise<unknown>): void;
};

declare const IdentityTransformStream: new () => TransformStream<Uint8Array, Uint8Array>;

declare const caches: { open(name: string): Promise<PieceCache> };

/** Of this isolate; its variables never change, so those of the first request stand for all. */
let models: ModelRegistry | undefined;
let app: ReturnType<typeof createApp> | undefined;
let sessions: SessionIsolate | undefined;

function sharedModels(env: Env): ModelRegistry {
  models ??= openModels(env, platform());
  return models;
}

export default {
  async fetch(request: Request, env: Env, context: Context): Promise<Response> {
    try {
      app ??= openApp(env, platform(), sharedModels(env));
    } catch (error) {
      consoleLog(errorLine(error));
      const wrong = apiError(500, (error as Error).message, { code: "invalid_configuration" });
      return Response.json(errorBody(wrong), { status: 500 });
    }
    const response = await app.fetch(request, env, context);
    const streams = response.headers.get("content-type")?.startsWith("text/event-stream");
    return streams && response.body ? new Response(cancellable(response.body, context), response) : response;
  },
};

export { SessionCounter } from "./session-counter.ts";

/** Of Durable Objects, which share an isolate, and its models, with each other and perhaps with the worker. */
export const SessionObject = durableSessions((env: Env) => {
  sessions ??= openSessionIsolate(env, platform(), sharedModels(env));
  return sessions;
});

function platform(): Platform {
  return { modules: { simd, relaxed }, stories, cache };
}

/**
 * The same stream by way of a native one. When a write to a client fails, workerd drops a stream made in JavaScript
 * without a word, and often before the request's signal fires; a pipe into a native stream cancels it.
 */
function cancellable(body: ReadableStream<Uint8Array>, context: Context): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  context.waitUntil(body.pipeTo(writable).catch(() => {}));
  return readable;
}

/** Pieces of weights. It is opened by each use: no request may touch what another one opened. */
const cache: PieceCache = {
  match: async (url) => (await caches.open("weights")).match(url),
  put: async (url, response) => (await caches.open("weights")).put(url, response),
};
