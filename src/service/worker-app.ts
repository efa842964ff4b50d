/** The service as the variables and bindings of a worker configure it. */
import { type KernelModules, loadModel } from "../engine/load-model.ts";
import type { Model } from "../engine/model.ts";
import type { ByteInput } from "../format/bytes.ts";
import { createApp } from "./app.ts";
import { type DurableNamespace, type SessionIsolate, sessionCounters, sessionHosts } from "./durable.ts";
import { lazyModels, type ModelRegistry } from "./models.ts";
import type { NamedPlan } from "./named-plans.ts";
import { type ServerModel, serverLoaders } from "./server-models.ts";
import { SessionCaches } from "./sessions/caches.ts";
import { type FileBindings, openFile, type PieceCache } from "./weights.ts";
import { integerVariable, type NumberVariable, readSettings, type Settings } from "./worker-settings.ts";

/** Variables and bindings. All may be absent; those of the service as such are in `worker-settings.ts`. */
export interface Env extends Settings, FileBindings {
  /** Key of a GGUF in `MODELS`, `ASSETS` or `MODEL_FILES`. Absent: the embedded model. */
  MODEL?: string;
  /** What the model is called in requests. Default: its file's name without `.gguf`. */
  MODEL_NAME?: string;
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
  /**
   * Models on servers, by name, as JSON: `{ "large": { "url": "https://host/v1#model", "key": "LARGE_KEY" } }`. They are served
   * too, and may be sources of plans; server-models.ts has all fields.
   */
  SERVERS?: string | Readonly<Record<string, ServerModel>>;
  /**
   * Drafts for requests that say `draft: "model"`: the name of a model, or a key of a GGUF beside them, which is served too.
   */
  DRAFT_MODEL?: string;
  /** What answers requests that name no model: the name of a plan, or of a model. Default: the model. */
  DEFAULT_MODEL?: string;
  /** Durable Objects, one for each session. Absent: sessions live in the isolate that made them, as long as it does. */
  SESSIONS?: DurableNamespace;
  /** Durable Objects, one for each key, that count its sessions in those. Absent: a key may have any number of them. */
  SESSION_COUNTS?: DurableNamespace;
}

/** What a platform brings beside them. */
export interface Platform {
  readonly modules: KernelModules;
  /** The embedded model. */
  readonly stories: ByteInput | (() => Promise<ByteInput>);
  /** For pieces of files that are far away. */
  readonly cache?: PieceCache;
}

const EMBEDDED = "edgewise-stories-q8_0";

/** @throws {TypeError | RangeError} If a variable is malformed; names it. Nothing is loaded yet. */
export function openApp(
  env: Env,
  platform: Platform,
  models = openModels(env, platform),
): ReturnType<typeof createApp> {
  return createApp({
    ...readSettings(env),
    models,
    defaultModel: env.DEFAULT_MODEL || undefined,
    draftModel: env.DRAFT_MODEL || undefined,
    modules: platform.modules,
    ...(env.SESSIONS && { sessionHost: sessionHosts(env.SESSIONS) }),
  });
}

/**
 * What sessions are served by where they live. It lets everybody in: requests come by way of the app above, over the same
 * models. Only its errors are logged, as that app logs each request.
 */
export function openSessionIsolate(env: Env, platform: Platform, models: ModelRegistry): SessionIsolate {
  const { keys: _, keyLimits: __, rateLimiter: ___, corsOrigins: ____, log, ...settings } = readSettings(env);
  const sessionCaches = new SessionCaches(settings.maxSessionCaches);
  const app = createApp({
    ...settings,
    models,
    defaultModel: env.DEFAULT_MODEL || undefined,
    modules: platform.modules,
    sessionCaches,
    log: (line) => {
      if (line.level === "error") log?.(line);
    },
  });
  return {
    app,
    limits: settings,
    forget: (id) => sessionCaches.drop(id),
    ...(env.SESSION_COUNTS && { counterOf: sessionCounters(env.SESSION_COUNTS) }),
  };
}

/**
 * The models that a worker has, none loaded yet.
 *
 * @throws {TypeError | RangeError} If `PLANS`, `SERVERS` or `MODEL_KEYS` is malformed.
 */
export function openModels(env: Env, platform: Platform): ModelRegistry {
  const plans = readVariable("PLANS", env.PLANS);
  const servers = readVariable("SERVERS", env.SERVERS);
  const files = readVariable("MODEL_KEYS", env.MODEL_KEYS);
  const own = modelName(env);
  const known = [own, ...Object.keys(plans), ...Object.keys(servers)];
  const sources: unknown[] = Object.values(plans).flatMap((plan) => Object.values(plan?.sources ?? {}));
  if (env.DRAFT_MODEL) sources.push(env.DRAFT_MODEL);
  const keys = [...new Set(sources)].filter(
    (name): name is string => typeof name === "string" && !known.includes(name),
  );
  const parts = 1 + keys.length;
  const loader = (name: string, key: string | undefined) => () => load(env, platform, { name, key, parts });
  if (Object.hasOwn(servers, own)) {
    throw new RangeError(`"SERVERS.${own}" must have a name of its own, there is a model of that name`);
  }
  const models = lazyModels(
    {
      [own]: loader(own, env.MODEL),
      ...Object.fromEntries(keys.map((key) => [key, loader(key, files[key] ?? key)])),
      ...serverLoaders(servers, {
        variable: (name) => (env as unknown as Record<string, unknown>)[name],
        model: async (name = own) => {
          if (!models.names.includes(name) || Object.hasOwn(servers, name)) {
            throw new RangeError(`"like" must be a model that is here, got "${name}"`);
          }
          // Whoever waits for the server's model keeps this going.
          return await models.get(name, () => {});
        },
      }),
    },
    { plans, readInput: (key) => readInput(env, key) },
  );
  return models;
}

function modelName({ MODEL, MODEL_NAME }: Env): string {
  if (MODEL_NAME) return MODEL_NAME;
  if (!MODEL) return EMBEDDED;
  return MODEL.slice(MODEL.lastIndexOf("/") + 1).replace(/\.gguf$/i, "");
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

/** @param which `key` is of the file; none: the embedded model. `parts`: models that share the memory. */
async function load(
  env: Env,
  { modules, stories, cache }: Platform,
  { name, key, parts }: { name: string; key: string | undefined; parts: number },
): Promise<Model> {
  const mebibytes = integerVariable("MAX_MEMORY_MIB", env.MAX_MEMORY_MIB, 4096) ?? 100;
  const contextLength = integerVariable("CONTEXT_LENGTH", env.CONTEXT_LENGTH, 2 ** 31 - 1);
  const embedded = async () => (typeof stories === "function" ? await stories() : stories);
  return loadModel(key ? await openFile(env, key, cache) : await embedded(), {
    modules,
    name,
    maxMemoryBytes: Math.floor((mebibytes * 2 ** 20) / parts),
    contextLength,
  });
}
