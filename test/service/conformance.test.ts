import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll } from "vitest";
import { loadModel } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { conformance, type Served } from "./conformance.case.ts";

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));

let served: Served;

beforeAll(async () => {
  const bytes = await readFile(join(MODEL));
  const key = "key-of-the-suite";
  const app = createApp({
    models: lazyModels({ stories: () => loadModel(bytes) }),
    keys: [key],
    log: () => {},
  });
  const send = async (url: string | URL | Request, init?: RequestInit) => app.request(String(url), init);
  served = { url: "http://service", fetch: send, key, model: "stories" };
});

conformance("the app", () => served);
