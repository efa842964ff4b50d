/** The worker on this machine, in workerd: what `wrangler deploy` would upload, under Miniflare. */
import { readFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type * as Esbuild from "esbuild";
import type { Miniflare, WorkerOptions } from "miniflare";
import type { RunningService, ServiceOptions } from "./serve.ts";

/** As in `wrangler.toml`. */
export const COMPATIBILITY = { date: "2026-04-01", flags: ["enable_request_signal"] };

/**
 * The folder is bound to the worker as a disk service: workerd reads files itself, piece by piece, and no other process
 * holds a byte of them.
 */
export async function runWorkerd(
  { host, port, env, folder }: ServiceOptions,
  Runner: typeof Miniflare,
  esbuild: typeof Esbuild,
): Promise<RunningService> {
  // This file runs from src/ as TypeScript and from dist/ as JavaScript; the worker lies beside it in both.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const entry = fileURLToPath(new URL(`../service/worker.${extension}`, import.meta.url));
  const miniflare = new Runner({
    host,
    port,
    // Or Miniflare asks Cloudflare for a sample of request metadata.
    cf: false,
    modules: await bundleWorker(entry, esbuild),
    compatibilityDate: COMPATIBILITY.date,
    compatibilityFlags: COMPATIBILITY.flags,
    bindings: { ...env } as WorkerOptions["bindings"],
    ...(folder !== undefined && { serviceBindings: { MODEL_FILES: { disk: { path: folder } } } }),
  });
  try {
    return {
      url: await miniflare.ready,
      fetch: (url, init) => miniflare.dispatchFetch(url, init),
      close: () => miniflare.dispose(),
    };
  } catch (error) {
    await miniflare.dispose();
    throw error;
  }
}

/** A worker and what it imports, as `wrangler deploy` would upload it. */
export async function bundleWorker(
  entry: string,
  esbuild: typeof Esbuild,
): Promise<Extract<WorkerOptions, { modules: object[] }>["modules"]> {
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
