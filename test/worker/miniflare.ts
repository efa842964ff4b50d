/** The worker as it is deployed, running in workerd; the one place that knows Miniflare's options. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Miniflare, type WorkerOptions } from "miniflare";
import { COMPATIBILITY } from "../../src/cli/serve-workerd.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** One file of a deployment. */
export interface Upload {
  name: string;
  bytes: Buffer;
}

/** What `wrangler deploy` would upload. Works offline, and reports nothing to anyone. */
export async function dryRun(): Promise<Upload[]> {
  const folder = await mkdtemp(join(tmpdir(), "edgewise-deploy-"));
  try {
    const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
    await promisify(execFile)(process.execPath, [wrangler, "deploy", "--dry-run", "--outdir", folder], {
      cwd: ROOT,
      env: { ...process.env, WRANGLER_SEND_METRICS: "false", WRANGLER_LOG_PATH: folder, CI: "1" },
    });
    const names = (await readdir(folder)).filter((name) => /\.(js|wasm|gguf)$/.test(name));
    return await Promise.all(
      names.map(async (name) => ({ name, bytes: await readFile(join(folder, name)) })),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs a deployment in workerd. Call `ready` for its address, `dispose` at the end. */
export function runWorker(uploads: readonly Upload[], options: Partial<WorkerOptions> = {}): Miniflare {
  const main = uploads.find(({ name }) => name.endsWith(".js"))!;
  const assets = uploads.filter((upload) => upload !== main);
  return new Miniflare({
    cf: false,
    port: 0,
    modules: [
      { type: "ESModule", path: main.name, contents: main.bytes.toString() },
      ...assets.map(({ name, bytes }) => ({
        type: name.endsWith(".wasm") ? ("CompiledWasm" as const) : ("Data" as const),
        path: name,
        contents: bytes,
      })),
    ],
    compatibilityDate: COMPATIBILITY.date,
    compatibilityFlags: COMPATIBILITY.flags,
    ...options,
  } as WorkerOptions);
}

/** A POST over a socket of its own. */
export interface OpenRequest {
  /** Settles when the first bytes of the body arrive. */
  readonly firstData: Promise<void>;
  /** How many pieces the body came in. */
  readonly end: Promise<{ chunks: number }>;
  /**
   * Closes the connection at once. Locally, workerd learns of it only by a reset or by writing, and an answer in
   * one piece is written when all is over, so that one is reset. (Cloudflare's own network tells it.)
   */
  leave(): void;
}

export function openRequest(url: URL, body: { stream?: boolean }): OpenRequest {
  let chunks = 0;
  let first = () => {};
  let last = () => {};
  const firstData = new Promise<void>((resolve) => {
    first = resolve;
  });
  const end = new Promise<{ chunks: number }>((resolve) => {
    last = () => resolve({ chunks });
  });
  const request = http.request(url, { method: "POST", agent: false }, (response) => {
    response.on("data", () => {
      chunks++;
      first();
    });
    response.on("end", last);
    response.on("error", () => {});
  });
  request.on("error", () => {});
  request.end(JSON.stringify(body));
  const leave = () => {
    if (body.stream) request.destroy();
    else request.socket?.resetAndDestroy();
  };
  return { firstData, end, leave };
}
