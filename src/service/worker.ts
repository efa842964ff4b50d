/**
 * Cloudflare Workers entry: the embedded story model, or a GGUF of yours from R2. See `wrangler.toml`.
 *
 * Nothing heavy runs at global scope, which Workers bills to the cold start: the first request loads the model.
 */
import relaxed from "../../build/relaxed.wasm";
import simd from "../../build/simd.wasm";
import stories from "../../models/edgewise-stories-q8_0.gguf";
import { loadModel } from "../engine/load-model.ts";
import type { Model } from "../engine/model.ts";
import { expectInteger } from "../errors.ts";
import type { ByteInput } from "../format/bytes.ts";
import { createApp } from "./app.ts";
import { lazyModels } from "./models.ts";

/** Variables and bindings. All may be absent; variables come as text from the dashboard, or as numbers. */
export interface Env {
  /** Key of a GGUF in `MODELS` or `MODEL_FILES`. Absent: the embedded model. */
  MODEL?: string;
  /** What the model is called in requests. Default: its file's name without `.gguf`. */
  MODEL_NAME?: string;
  /** R2 bucket. */
  MODELS?: R2Bucket;
  /** Any service that answers `GET /<key>` with the file; `edgewise serve` binds the model's folder here. */
  MODEL_FILES?: { fetch(url: string): Promise<Response> };
  /** Ceiling for weights, caches and scratch together. Default 100, of the isolate's 128. */
  MAX_MEMORY_MIB?: string | number;
  /** Positions to hold at most; less than the model's own saves memory. */
  CONTEXT_LENGTH?: string | number;
}

/** The part of an R2 bucket that is used here. */
interface R2Bucket {
  get(key: string): Promise<{ body: ReadableStream<Uint8Array>; size: number } | null>;
}

type Context = Parameters<ReturnType<typeof createApp>["fetch"]>[2] & {
  waitUntil(work: Promise<unknown>): void;
};

declare const IdentityTransformStream: new () => TransformStream<Uint8Array, Uint8Array>;

const EMBEDDED = "edgewise-stories-q8_0";

let app: ReturnType<typeof createApp> | undefined;

export default {
  async fetch(request: Request, env: Env, context: Context): Promise<Response> {
    // An isolate's variables never change, so the first request's stand for all.
    app ??= createApp({ models: lazyModels({ [modelName(env)]: () => load(env) }) });
    const response = await app.fetch(request, env, context);
    const streams = response.headers.get("content-type")?.startsWith("text/event-stream");
    return streams && response.body ? new Response(cancellable(response.body, context), response) : response;
  },
};

/**
 * The same stream by way of a native one. When a write to a client fails, workerd drops a stream made in JavaScript
 * without a word, and often before the request's signal fires; a pipe into a native stream cancels it.
 */
function cancellable(body: ReadableStream<Uint8Array>, context: Context): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  context.waitUntil(body.pipeTo(writable).catch(() => {}));
  return readable;
}

function modelName({ MODEL, MODEL_NAME }: Env): string {
  if (MODEL_NAME) return MODEL_NAME;
  if (!MODEL) return EMBEDDED;
  return MODEL.slice(MODEL.lastIndexOf("/") + 1).replace(/\.gguf$/i, "");
}

async function load(env: Env): Promise<Model> {
  const mebibytes = integerVariable("MAX_MEMORY_MIB", env.MAX_MEMORY_MIB, 4096) ?? 100;
  const contextLength = integerVariable("CONTEXT_LENGTH", env.CONTEXT_LENGTH, 2 ** 31 - 1);
  return loadModel(env.MODEL ? await openModel(env, env.MODEL) : stories, {
    modules: { simd, relaxed },
    name: modelName(env),
    maxMemoryBytes: mebibytes * 2 ** 20,
    contextLength,
  });
}

async function openModel({ MODELS, MODEL_FILES }: Env, key: string): Promise<ByteInput> {
  if (MODELS !== undefined) {
    const object = await MODELS.get(key);
    if (object === null) throw new RangeError(`Cannot load model: bucket "MODELS" has no object "${key}"`);
    return new Response(object.body, { headers: { "content-length": String(object.size) } });
  }
  if (MODEL_FILES !== undefined) {
    const response = await MODEL_FILES.fetch(`http://models/${encodeURIComponent(key)}`);
    if (!response.ok)
      throw new RangeError(`Cannot load model: "${key}" answers with status ${response.status}`);
    return response;
  }
  throw new TypeError(`Cannot load model: "MODEL" is "${key}", but no bucket is bound as "MODELS"`);
}

function integerVariable(name: string, value: string | number | undefined, max: number): number | undefined {
  return value === undefined || value === "" ? undefined : expectInteger(name, Number(value), 1, max);
}
