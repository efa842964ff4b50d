/** The same service in this process, on Node's HTTP server; Deno and Bun have that too. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { kernelModules, openFile } from "../node.ts";
import { serveNode } from "../service/node.ts";
import { openApp } from "../service/worker-app.ts";
import type { RunningService, ServiceOptions } from "./serve.ts";

const STORIES = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

export async function startNode({ host, port, env, folder }: ServiceOptions): Promise<RunningService> {
  const platform = { modules: await kernelModules(), stories: () => openFile(STORIES) };
  const files = folder === undefined ? {} : { MODEL_FILES: folderFiles(folder) };
  const app = openApp({ ...env, ...files }, platform);
  const { url, close } = await serveNode(app, { host, port });
  return { url, close, fetch: async (url, init) => await app.fetch(new Request(url, init)) };
}

/** Answers with the files of a folder. Only keys that the service is configured with are asked for. */
function folderFiles(folder: string) {
  const fetch = async (url: string): Promise<Response> => {
    const key = new URL(url).pathname.slice(1).split("/").map(decodeURIComponent);
    try {
      return await openFile(join(folder, ...key));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Response(null, { status: 404 });
      throw error;
    }
  };
  return { fetch };
}
