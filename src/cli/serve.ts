/** `edgewise serve`: the edge worker on this machine, in workerd, as it runs when deployed, or in this process. */
import { open } from "node:fs/promises";
import { createServer } from "node:net";
import { basename } from "node:path";
import { isServer } from "../engine/remote/connect.ts";
import { expectInteger, UnsupportedError } from "../errors.ts";
import type { Env } from "../service/worker-app.ts";
import { type AccessArguments, accessVariables, asServer } from "./serve-access.ts";
import { namedPlans, type PlansArguments, servedFiles, servedServers } from "./serve-plans.ts";

const RUNTIMES = ["workerd", "node"] as const;

export interface ServeOptions {
  /** Path of a GGUF. Default: the embedded model. */
  model?: string;
  /** 0 takes any free port. Default 8787. */
  port?: number;
  /** Address to listen on. Default 127.0.0.1: this machine only. */
  host?: string;
  /** Positions to hold at most. Default: the model's own. */
  contextLength?: number;
  /** Plans to serve as models; the first one answers requests that name no model, unless `model` is given. */
  plans?: PlansArguments;
  /** Path of a GGUF that drafts for requests which say `draft: "model"`; it is served too. */
  draftModel?: string;
  /** Who may use it, and how much of it. Default: everybody who reaches it, as much as there is. */
  access?: AccessArguments;
  /** Whether to print a line of JSON for each request. Default false. */
  log?: boolean;
  /** "workerd", as deployed, or "node", this process. Default: workerd where miniflare and esbuild are installed. */
  runtime?: (typeof RUNTIMES)[number];
}

/** What a runtime serves, and where. */
export interface ServiceOptions {
  readonly host: string;
  readonly port: number;
  /** As the worker has them. */
  readonly env: Env & Readonly<Record<string, unknown>>;
  /** Keys of files are paths from it. */
  readonly folder: string | undefined;
}

/** A service that runs. */
export interface RunningService {
  readonly url: URL;
  /** Asks it without a socket. */
  fetch(
    url: string,
    init: { method: string; headers: Record<string, string>; body: string },
  ): Promise<{ json(): Promise<unknown> }>;
  close(): Promise<void>;
}

export interface Server {
  readonly url: URL;
  /** The name the model goes by in requests. */
  readonly model: string;
  readonly wantsKey: boolean;
  /** Whether others than this machine may use it, without a key. */
  readonly isOpen: boolean;
  close(): Promise<void>;
}

/** What the worker calls its own model. */
const EMBEDDED = "edgewise-stories-q8_0";

/**
 * Serves until Ctrl-C, and prints where, with a request to paste.
 *
 * @throws As `startServer` does.
 */
export async function serve(options: ServeOptions = {}): Promise<void> {
  const server = await startServer(options);
  if (server.isOpen) {
    console.log(
      "No API key is set, and not only this machine can connect: anyone may use it (see --api-key-file)",
    );
  }
  const body = JSON.stringify({ prompt: "Once upon a time", max_tokens: 60 });
  console.log(`${server.model} is served at ${server.url.origin}/v1 until Ctrl-C. Try:`);
  const header = server.wantsKey ? ' -H "authorization: Bearer $API_KEY"' : "";
  console.log(`curl ${server.url.origin}/v1/completions${header} -d '${body}'`);
  await new Promise<void>((stop) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.prependOnceListener(signal, () => {
        // Miniflare's own listener comes next: it ends workerd and this process, as if a stop were a failure.
        process.once("exit", () => {
          process.exitCode = 0;
        });
        stop();
      });
    }
  });
  await server.close();
}

/**
 * Starts the worker and decodes one token, so that a model which cannot run is known now.
 *
 * @throws {RangeError} If the port is taken, or the file is missing or no GGUF that can run.
 * @throws {UnsupportedError} If a package that the runtime needs is not installed: miniflare and esbuild, or
 *   `@hono/node-server`.
 */
export async function startServer(options: ServeOptions = {}): Promise<Server> {
  const { port = 8787, host = "127.0.0.1", contextLength } = options;
  expectInteger("port", port, 0, 65535);
  const model = options.model === undefined ? undefined : await findModel(options.model);
  const sources = [...new Set(options.plans?.sources.values())].filter((place) => !isServer(place));
  for (const source of sources) await findModel(source);
  const { draftModel } = options;
  if (draftModel !== undefined) await findModel(draftModel);
  const reserved = [...(model === undefined ? [EMBEDDED] : []), ...(options.plans?.plans.keys() ?? [])];
  const files = await servedFiles(
    [options.model, ...sources, draftModel].filter((file) => file !== undefined),
    reserved,
  );
  const remote = await servedServers(
    options.plans ?? { sources: new Map(), keys: new Map() },
    [...reserved, ...Object.keys(files.keys)],
    files.names.get(sources[0] ?? options.model ?? ""),
  );
  const nameOf = (place: string) => files.names.get(place) ?? remote.names.get(place)!;
  const plans = options.plans && (await namedPlans(options.plans, nameOf));
  const [firstPlan] = Object.keys(plans ?? {});
  const drafter = draftModel && files.names.get(draftModel);
  if (drafter !== undefined && drafter === model) {
    throw new RangeError(`Cannot serve "${draftModel}": a model must not draft for itself`);
  }
  const access = await accessVariables(options.access);
  const own = asServer(access);
  await expectFree(port, host);
  const running = await start(options.runtime, {
    host,
    port,
    folder: files.folder,
    env: {
      ...own.variables,
      ...remote.variables,
      SERVERS: JSON.parse(JSON.stringify(remote.servers)),
      LOG: options.log ? "all" : "none",
      ...(contextLength !== undefined && { CONTEXT_LENGTH: contextLength }),
      ...(model !== undefined && { MODEL: files.keys[model], MODEL_NAME: model }),
      MODEL_KEYS: files.keys,
      ...(plans && { PLANS: JSON.parse(JSON.stringify(plans)) }),
      ...(drafter && { DRAFT_MODEL: drafter }),
      ...(model === undefined && firstPlan !== undefined && { DEFAULT_MODEL: firstPlan }),
      // Of files of the user's, this machine sets the ceiling, up to what 32-bit Wasm can address.
      ...(files.folder !== undefined && { MAX_MEMORY_MIB: 4095 }),
    },
  });
  try {
    return {
      url: reachable(running.url, host),
      model: await tryOut(running, own.headers, {
        path: options.model,
        plans: Object.keys(plans ?? {}),
        drafter,
      }),
      wantsKey: access.API_KEYS.length > 0,
      isOpen: access.API_KEYS.length === 0 && !isLoopback(host),
      close: () => running.close(),
    };
  } catch (error) {
    await running.close();
    throw error;
  }
}

/** The name of a model's file. @throws {RangeError} If there is none that could be one. */
async function findModel(path: string): Promise<string> {
  const refuse = (reason: string) => new RangeError(`Cannot serve "${path}": ${reason}`);
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code === "ENOENT" ? "there is no such file" : error.message);
  });
  try {
    if (!(await file.stat()).isFile()) throw refuse("it is not a file");
    const magic = Buffer.alloc(4);
    await file.read(magic, 0, 4, 0);
    if (magic.toString("latin1") !== "GGUF") {
      throw refuse(
        `a GGUF file begins with "GGUF", this one with ${JSON.stringify(magic.toString("latin1"))}`,
      );
    }
  } finally {
    await file.close();
  }
  return basename(path).replace(/\.gguf$/i, "");
}

/** workerd's own word on a taken port is a stack trace. */
function expectFree(port: number, host: string): Promise<void> {
  return new Promise((done, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === "EADDRINUSE" ? "the port is in use; choose another with --port" : error.message;
      reject(new RangeError(`Cannot listen on ${host}:${port}: ${reason}`));
    });
    probe.listen(port, host, () => probe.close(() => done()));
  });
}

async function start(runtime: ServeOptions["runtime"], options: ServiceOptions): Promise<RunningService> {
  if (runtime !== undefined && !RUNTIMES.includes(runtime)) {
    throw new RangeError(`"runtime" must be "workerd" or "node", got "${runtime}"`);
  }
  try {
    if (runtime !== "node") return await startWorkerd(options);
  } catch (error) {
    if (runtime !== undefined || !(error instanceof UnsupportedError)) throw error;
  }
  const { startNode } = await needed(() => import("./serve-node.ts"), "@hono/node-server");
  return await startNode(options);
}

async function startWorkerd(options: ServiceOptions): Promise<RunningService> {
  const { Miniflare } = await needed(() => import("miniflare"), "miniflare");
  const esbuild = await needed(() => import("esbuild"), "esbuild");
  const { runWorkerd } = await import("./serve-workerd.ts");
  return await runWorkerd(options, Miniflare, esbuild);
}

async function needed<T>(load: () => Promise<T>, name: string): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new UnsupportedError(
      `Cannot serve: the package "${name}" is not installed; npm install --save-dev ${name}`,
    );
  }
}

/** One token of each, which loads the models. Returns the name of the one that answers who names none. */
async function tryOut(
  running: RunningService,
  headers: Record<string, string>,
  {
    path = "the embedded model",
    plans,
    drafter,
  }: { path: string | undefined; plans: readonly string[]; drafter: string | undefined },
): Promise<string> {
  const names: string[] = [];
  for (const name of [undefined, ...plans, ...(drafter ? [drafter] : [])]) {
    const response = await running.fetch("http://localhost/v1/completions", {
      method: "POST",
      headers,
      body: JSON.stringify({ model: name, max_tokens: 1 }),
    });
    const answer = (await response.json()) as { model: string; error?: { message: string } };
    const what = name ?? (plans.length > 0 ? `plan ${plans[0]}` : path);
    if (answer.error) throw new RangeError(`Cannot serve ${what}: ${answer.error.message}`);
    names.push(answer.model);
  }
  return names[0];
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}

/** An address to paste: a server that listens everywhere is reached at this machine's own. */
function reachable(url: URL, host: string): URL {
  const everywhere = host === "0.0.0.0" || host === "::" || host === "*";
  return everywhere ? new URL(`http://127.0.0.1:${url.port}`) : url;
}
