/** `edgewise serve`: the edge worker on this machine, in workerd, as it runs when deployed. */
import { open, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Miniflare, WorkerOptions } from "miniflare";
import { expectInteger, UnsupportedError } from "../errors.ts";
import { type AccessArguments, accessVariables, asServer } from "./serve-access.ts";
import { namedPlans, type PlansArguments, servedFiles } from "./serve-plans.ts";

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
  /** Who may use it, and how much of it. Default: everybody who reaches it, as much as there is. */
  access?: AccessArguments;
  /** Whether to print a line of JSON for each request. Default false. */
  log?: boolean;
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

/** As in `wrangler.toml`. */
export const COMPATIBILITY = { date: "2026-04-01", flags: ["enable_request_signal"] };

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
 * The model's folder is bound to the worker as a disk service: workerd reads the file itself, piece by piece, and
 * no other process holds a byte of it.
 *
 * @throws {RangeError} If the port is taken, or the file is missing or no GGUF that can run.
 * @throws {UnsupportedError} If miniflare or esbuild, which are development dependencies, are not installed.
 */
export async function startServer(options: ServeOptions = {}): Promise<Server> {
  const { port = 8787, host = "127.0.0.1", contextLength } = options;
  expectInteger("port", port, 0, 65535);
  const model = options.model === undefined ? undefined : await findModel(options.model);
  const sources = [...new Set(options.plans?.sources.values())];
  for (const source of sources) await findModel(source);
  const files = await servedFiles(
    [...(options.model === undefined ? [] : [options.model]), ...sources],
    [...(model === undefined ? [EMBEDDED] : []), ...(options.plans?.plans.keys() ?? [])],
  );
  const plans = options.plans && (await namedPlans(options.plans, (file) => files.names.get(file)!));
  const [firstPlan] = Object.keys(plans ?? {});
  const access = await accessVariables(options.access);
  const own = asServer(access);
  await expectFree(port, host);
  const miniflare = await start(host, port, {
    modules: await bundle(),
    compatibilityDate: COMPATIBILITY.date,
    compatibilityFlags: COMPATIBILITY.flags,
    bindings: {
      ...own.variables,
      LOG: options.log ? "all" : "none",
      ...(contextLength !== undefined && { CONTEXT_LENGTH: contextLength }),
      ...(model !== undefined && { MODEL: files.keys[model], MODEL_NAME: model }),
      MODEL_KEYS: files.keys,
      ...(plans && { PLANS: JSON.parse(JSON.stringify(plans)) }),
      ...(model === undefined && firstPlan !== undefined && { DEFAULT_MODEL: firstPlan }),
      // Of files of the user's, this machine sets the ceiling, up to what 32-bit Wasm can address.
      ...(files.folder !== undefined && { MAX_MEMORY_MIB: 4095 }),
    },
    ...(files.folder !== undefined && {
      serviceBindings: { MODEL_FILES: { disk: { path: files.folder } } },
    }),
  });
  try {
    const url = await miniflare.ready;
    return {
      url: reachable(url, host),
      model: await tryOut(miniflare, own.headers, options.model, Object.keys(plans ?? {})),
      wantsKey: access.API_KEYS.length > 0,
      isOpen: access.API_KEYS.length === 0 && !isLoopback(host),
      close: () => miniflare.dispose(),
    };
  } catch (error) {
    await miniflare.dispose();
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

async function start(host: string, port: number, worker: WorkerOptions): Promise<Miniflare> {
  const { Miniflare } = await needed(() => import("miniflare"), "miniflare");
  // cf: false, or Miniflare asks Cloudflare for a sample of request metadata.
  return new Miniflare({ host, port, cf: false, ...worker });
}

/** The worker and what it imports, as `wrangler deploy` would upload it. */
async function bundle(): Promise<Extract<WorkerOptions, { modules: object[] }>["modules"]> {
  const esbuild = await needed(() => import("esbuild"), "esbuild");
  // This file runs from src/ as TypeScript and from dist/ as JavaScript; the worker lies beside it in both.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const entry = fileURLToPath(new URL(`../service/worker.${extension}`, import.meta.url));
  const assets = new Map<string, string>();
  const { outputFiles } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    conditions: ["workerd", "worker", "browser"],
    plugins: [
      {
        name: "assets",
        setup(build) {
          build.onResolve({ filter: /\.(wasm|gguf)$/ }, ({ path, resolveDir }) => {
            assets.set(basename(path), resolve(resolveDir, path));
            return { path: `./${basename(path)}`, external: true };
          });
        },
      },
    ],
  });
  const files = [...assets].map(async ([path, file]) => ({
    type: path.endsWith(".wasm") ? ("CompiledWasm" as const) : ("Data" as const),
    path,
    contents: await readFile(file),
  }));
  return [
    { type: "ESModule", path: "worker.js", contents: outputFiles[0].text },
    ...(await Promise.all(files)),
  ];
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
  miniflare: Miniflare,
  headers: Readonly<Record<string, string>>,
  path = "the embedded model",
  plans: readonly string[] = [],
): Promise<string> {
  const names: string[] = [];
  for (const name of [undefined, ...plans]) {
    const response = await miniflare.dispatchFetch("http://localhost/v1/completions", {
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
