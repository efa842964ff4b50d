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
import { createApp } from "./app.ts";
import { apiError, errorBody } from "./errors.ts";
import { lazyModels, type ModelRegistry } from "./models.ts";
import type { NamedPlan } from "./named-plans.ts";
import { consoleLog, errorLine } from "./observe/log.ts";
import { integerVariable, type NumberVariable, readSettings, type Settings } from "./worker-settings.ts";

/** Variables and bindings. All may be absent; those of the service as such are in `worker-settings.ts`. */
export interface Env extends Settings {
  /** Key of a GGUF in `MODELS` or `MODEL_FILES`. Absent: the embedded model. */
  MODEL?: string;
  /** What the model is called in requests. Default: its file's name without `.gguf`. */
  MODEL_NAME?: string;
  /** R2 bucket. */
  MODELS?: R2Bucket;
  /** Any service that answers `GET /<key>` with the file; `edgewise serve` binds the model's folder here. */
  MODEL_FILES?: { fetch(url: string): Promise<Response> };
  /** Ceiling for weights, caches and scratch together, in equal parts for the models. Default 100, of the isolate's 128. */
  MAX_MEMORY_MIB?: NumberVariable;
  /** Positions to hold at most; less than the model's own saves memory. */
  CONTEXT_LENGTH?: NumberVariable;
  /**
   * Plans to serve as models, by name, as JSON: `{ "both": { "plan": …, "sources": { "base": "a.gguf", … } } }`. Sources are
   * names of the model above or of other plans; anything else is a key of a GGUF beside it, which is served too. Texts in
   * `inputs` are keys of files with JSON, or of a `.txt` with the text that a table is made of.
   */
  PLANS?: string | Readonly<Record<string, NamedPlan>>;
  /** Keys of GGUF files by the names of models, as JSON, for sources of plans whose names are no keys. */
  MODEL_KEYS?: string | Readonly<Record<string, string>>;
  /** What answers requests that name no model: the name of a plan, or of a model. Default: the model. */
  DEFAULT_MODEL?: string;
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
    try {
      app ??= createApp({
        ...readSettings(env),
        models: openModels(env),
        defaultModel: env.DEFAULT_MODEL || undefined,
        modules: { simd, relaxed },
      });
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

function openModels(env: Env): ModelRegistry {
  const plans = readVariable("PLANS", env.PLANS);
  const files = readVariable("MODEL_KEYS", env.MODEL_KEYS);
  const own = modelName(env);
  const known = [own, ...Object.keys(plans)];
  const sources = Object.values(plans).flatMap((plan) => Object.values(plan?.sources ?? {}));
  const keys = [...new Set(sources)].filter((name) => typeof name === "string" && !known.includes(name));
  const parts = 1 + keys.length;
  return lazyModels(
    {
      [own]: () => load(env, own, env.MODEL, parts),
      ...Object.fromEntries(keys.map((key) => [key, () => load(env, key, files[key] ?? key, parts)])),
    },
    { plans, readInput: (key) => readInput(env, key) },
  );
}

/** What a plan needs, from a file beside the models. */
async function readInput(env: Env, key: string): Promise<unknown> {
  const response = await openFile(env, key);
  const text = await response.text();
  if (key.endsWith(".txt")) return { texts: [text] };
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TypeError(`Cannot read "${key}": it must be JSON: ${(error as Error).message}`);
  }
}

/** An object by name: as JSON, or as it is. */
function readVariable<T>(name: string, value: string | Readonly<Record<string, T>> | undefined) {
  if (typeof value !== "string") return value ?? {};
  try {
    return (value === "" ? {} : JSON.parse(value)) as Readonly<Record<string, T>>;
  } catch (error) {
    throw new TypeError(`"${name}" must be JSON: ${(error as Error).message}`);
  }
}

/** @param key Of the file; none: the embedded model. */
async function load(env: Env, name: string, key: string | undefined, parts: number): Promise<Model> {
  const mebibytes = integerVariable("MAX_MEMORY_MIB", env.MAX_MEMORY_MIB, 4096) ?? 100;
  const contextLength = integerVariable("CONTEXT_LENGTH", env.CONTEXT_LENGTH, 2 ** 31 - 1);
  return loadModel(key ? await openFile(env, key) : stories, {
    modules: { simd, relaxed },
    name,
    maxMemoryBytes: Math.floor((mebibytes * 2 ** 20) / parts),
    contextLength,
  });
}

async function openFile({ MODELS, MODEL_FILES }: Env, key: string): Promise<Response> {
  if (MODELS !== undefined) {
    const object = await MODELS.get(key);
    if (object === null) throw new RangeError(`Cannot load model: bucket "MODELS" has no object "${key}"`);
    return new Response(object.body, { headers: { "content-length": String(object.size) } });
  }
  if (MODEL_FILES !== undefined) {
    const response = await MODEL_FILES.fetch(`http://models/${encodePath(key)}`);
    if (!response.ok)
      throw new RangeError(`Cannot load model: "${key}" answers with status ${response.status}`);
    return response;
  }
  throw new TypeError(`Cannot load model: "MODEL" is "${key}", but no bucket is bound as "MODELS"`);
}

function encodePath(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}
