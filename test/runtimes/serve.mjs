/**
 * The service of the built package, on the HTTP server of whatever runtime this is: Node, Deno or Bun. Prints its address.
 *
 *   node test/runtimes/serve.mjs
 */
import { loadModel } from "../../dist/node.js";
import { createApp, lazyModels } from "../../dist/service/app.js";
import { serveNode } from "../../dist/service/node.js";

const MODEL = new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url);

const app = createApp({ models: lazyModels({ stories: () => loadModel(MODEL) }), log: () => {} });
console.log((await serve()).href);

async function serve() {
  const address = { port: 0, hostname: "127.0.0.1" };
  if (globalThis.Deno !== undefined) {
    const { addr } = Deno.serve({ ...address, onListen() {} }, app.fetch);
    return new URL(`http://${addr.hostname}:${addr.port}`);
  }
  if (globalThis.Bun !== undefined) return Bun.serve({ ...address, fetch: app.fetch }).url;
  return (await serveNode(app, { port: 0 })).url;
}
