/**
 * The process that bench/load.ts loads: the service on Node's HTTP server, and the bare engine behind the same socket.
 *
 *   node --import ./bench/register.mjs bench/load-server.ts model.gguf
 *
 * Prints its URL. `POST /bare` with `{prompts, n}` decodes that many texts at once without the service, and answers with
 * when their tokens came; `GET /cpu` tells the seconds of computing so far.
 */
import { Hono } from "hono";
import type { Model } from "../src/engine/model.ts";
import { loadModel } from "../src/node.ts";
import { createApp, lazyModels } from "../src/service/app.ts";
import { serveNode } from "../src/service/node.ts";
import type { Stream } from "./peer.ts";

const MOST_STREAMS = 64;

// Nothing is kept of prompts: every round computes on them anew, as the peer does.
const model = await loadModel(process.argv[2], { prefixCacheBytes: 0 });
const app = createApp({
  models: lazyModels({ model: async () => model }),
  maxRunning: MOST_STREAMS,
  maxWaiting: MOST_STREAMS,
  log: () => {},
});
const server = new Hono()
  .get("/cpu", (c) => {
    const { user, system } = process.cpuUsage();
    return c.json((user + system) / 1e6);
  })
  .post("/bare", async (c) => {
    const { prompts, n } = await c.req.json<{ prompts: number[][]; n: number }>();
    const started = performance.now();
    return c.json(await Promise.all(prompts.map((prompt) => decode(model, prompt, n, started))));
  })
  .route("/", app);
const { url, close } = await serveNode(server, { port: 0 });
console.log(url.href);
process.stdin.on("end", () => void close(0)).resume();

async function decode(of: Model, prompt: number[], n: number, started: number): Promise<Stream> {
  const times: number[] = [];
  for await (const _ of of.generate(prompt, { maxTokens: n, temperature: 0, ignoreEos: true }))
    times.push(performance.now());
  return { firstMs: times[0] - started, gapsMs: times.slice(1).map((time, i) => time - times[i]) };
}
