import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";
import { loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { conformance, type Served } from "./conformance.case.ts";

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));

let model: Model;
let served: Served;

beforeAll(async () => {
  // Here, and not at the first request: a build that is broken is no error of a route.
  model = await loadModel(await readFile(MODEL));
  const key = "key-of-the-suite";
  const app = createApp({
    models: lazyModels({ stories: async () => model }),
    keys: [key],
    log: () => {},
  });
  const send = async (url: string | URL | Request, init?: RequestInit) => app.request(String(url), init);
  served = { url: "http://service", fetch: send, key, model: "stories" };
});
afterAll(() => model?.close());

conformance("the app", () => served);
