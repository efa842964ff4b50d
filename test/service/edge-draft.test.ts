/** examples/draft-at-the-edge: the text is the server's own, whatever happens to drafts, answers and servers on the way. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error: as its users have it, in plain JavaScript.
import { draftAtTheEdge as untyped } from "../../examples/draft-at-the-edge/edge-client.js";
// @ts-expect-error: the same.
import { servePage as untypedPage } from "../../examples/draft-at-the-edge/serve.js";
import { presetSteps, type Step } from "../../src/decoding/pipeline.ts";
import type { Model } from "../../src/engine/model.ts";
import { createPipeline, loadModel } from "../../src/node.ts";
import { createApp } from "../../src/service/app.ts";
import { serveNode } from "../../src/service/node.ts";
import { chromiumInstalled, launchChromium } from "../runtimes/chromium.ts";
import { dryRun, ROOT, runWorker } from "../worker/miniflare.ts";

interface Stats {
  tokens: number;
  drafted: number;
  accepted: number;
  rounds: number;
  bytesUp: number;
  bytesDown: number;
  sessions: number;
}
type Fetch = (url: URL, init: RequestInit) => Promise<Response>;
const draftAtTheEdge = untyped as (
  options: object,
) => AsyncGenerator<{ token: number; text: string }, Stats, void>;

const servePage = untypedPage as (options: { port: number; url: string }) => Promise<Server>;

const PROMPT = "Once upon a time";
const DRAFT = "models/edgewise-draft-q8_0.gguf";
const TARGET = "models/edgewise-stories-q8_0.gguf";
const steps = presetSteps("edgewise", { temperature: 0.8, topP: 0.95, repetitionPenalty: 1.1 });

let draft: Model;
let target: Model;
beforeAll(async () => {
  draft = await loadModel(join(ROOT, DRAFT));
  target = await loadModel(join(ROOT, TARGET));
});
afterAll(() => {
  draft?.close();
  target?.close();
});

async function run(options: object) {
  let text = "";
  const pieces = draftAtTheEdge({
    url: "http://edge",
    model: draft,
    tools: { createPipeline },
    prompt: PROMPT,
    steps,
    seed: 3,
    maxTokens: 60,
    waitMs: 20,
    ...options,
  });
  for (;;) {
    const { done, value } = await pieces.next();
    if (done) return { text, stats: value };
    text += value.text;
  }
}

/** The large model's text without a service. */
async function alone(seed: number, own: readonly Step[] = steps, maxTokens = 60): Promise<string> {
  let text = "";
  for await (const piece of target.generate(PROMPT, { pipeline: own, seed, maxTokens })) text += piece.text;
  return text;
}

const open = (options: object = {}) =>
  createApp({ models: { names: ["stories"], get: async () => target }, log: () => {}, ...options });

const fetchFrom = (app: ReturnType<typeof open>) =>
  ((url: URL, init: RequestInit) => app.request(url.href, init)) as Fetch;

describe("against the app", () => {
  it("gives the text of the server alone, in far fewer round trips, for about two bytes per drafted token", async () => {
    const fetch = fetchFrom(open());
    const total = { drafted: 0, up: 0, rounds: 0, tokens: 0, down: 0 };
    for (const seed of [1, 2, 3]) {
      const { text, stats } = await run({ fetch, seed });
      expect(text).toBe(await alone(seed));
      total.drafted += stats.drafted;
      total.up += stats.bytesUp;
      total.down += stats.bytesDown;
      total.rounds += stats.rounds;
      total.tokens += stats.tokens;
    }
    // Ids below 4,096 take two bytes or one; the position one or two more a round.
    expect(total.up).toBeLessThanOrEqual(2 * total.drafted + 2 * total.rounds);
    expect(total.down).toBeLessThanOrEqual(3 * total.rounds);
    expect(total.rounds).toBeLessThan(0.8 * total.tokens);
    console.log(
      `${(total.up / total.drafted).toFixed(2)} bytes up per drafted token, ${(total.down / total.tokens).toFixed(2)} down per token, ${(total.tokens / total.rounds).toFixed(2)} tokens per round trip`,
    );
  });

  it("is greedy where both are, and ends where the text ends", async () => {
    const greedy = presetSteps("edgewise", { temperature: 0 });
    const options = { steps: greedy, maxTokens: 230, fetch: fetchFrom(open()) };
    const { text, stats } = await run(options);
    expect(text).toBe(await alone(3, greedy, 230));
    expect(stats.tokens).toBeLessThanOrEqual(230);
    const one = await run({ ...options, maxTokens: 1 });
    expect(one.stats).toMatchObject({ tokens: 1, drafted: 0, rounds: 1 });
  });

  it("asks again when an answer is lost, and makes its session anew when the server was restarted", async () => {
    let fetch = fetchFrom(open());
    let requests = 0;
    const flaky: Fetch = async (url, init) => {
      requests++;
      // The server has done its part: the session has moved on.
      const response = await fetch(url, init);
      if (requests % 4 === 3) throw new TypeError("fetch failed");
      if (requests === 12) fetch = fetchFrom(open());
      return response;
    };
    const { text, stats } = await run({ fetch: flaky, maxTokens: 30 });
    expect(text).toBe(await alone(3, steps, 30));
    expect(stats.sessions).toBe(2);
  });

  it("says what the server refuses", async () => {
    const app = open({ keys: ["alice:alice-secret"] });
    const fetch = fetchFrom(app);
    await expect(run({ fetch })).rejects.toThrow("The server answers 401: An API key must be sent");
    await expect(run({ fetch, key: "alice-secret", maxTokens: 1e6 })).rejects.toThrow('"capacity" must be');
    expect((await run({ fetch, key: "alice-secret", maxTokens: 5 })).text).toBe(await alone(3, steps, 5));
  });
});

describe("against the worker, in workerd", () => {
  it("gives the same text, through a restart of the worker in its middle", async () => {
    const folder = await mkdtemp(join(tmpdir(), "edgewise-edge-"));
    const uploads = await dryRun();
    const start = () =>
      runWorker(uploads, {
        durableObjects: { SESSIONS: { className: "SessionObject", useSQLite: true } },
        durableObjectsPersist: folder,
        bindings: { LOG: "none" },
      } as Parameters<typeof runWorker>[1]);
    let worker: Miniflare = start();
    let url = await worker.ready;
    let requests = 0;
    const restarting: Fetch = async ({ pathname }, init) => {
      if (++requests === 6) {
        // Killed while it works on this request, which is lost.
        const lost = fetch(new URL(pathname, url), init).then((response) => response.arrayBuffer());
        const gone = Promise.allSettled([lost]);
        await worker.dispose();
        await gone;
        worker = start();
        url = await worker.ready;
        throw new TypeError("fetch failed");
      }
      return fetch(new URL(pathname, url), init);
    };
    try {
      const { text, stats } = await run({ fetch: restarting, maxTokens: 40 });
      expect(requests).toBeGreaterThan(8);
      expect(text).toBe(await alone(3, steps, 40));
      // What the session was stood in its object's storage.
      expect(stats.sessions).toBe(1);
    } finally {
      await worker.dispose();
      await rm(folder, { recursive: true });
    }
  });
});

// The page is bundled of what is built, as its users have it.
const canShowPage = chromiumInstalled() && existsSync(join(ROOT, "dist/web.js"));
if (!canShowPage) console.log("skipped: the page of the example needs dist/, and Chromium of test/runtimes");

describe.skipIf(!canShowPage)("in a browser", () => {
  it("gives the same text", async () => {
    const server = await serveNode(open(), { port: 0 });
    const page = await servePage({ port: 0, url: server.url.href });
    await using chromium = await launchChromium();
    try {
      await chromium.page.goto(`http://127.0.0.1:${(page.address() as AddressInfo).port}/`);
      const [text, stats] = await chromium.page.evaluate(async () => {
        const told = (id: string) => document.getElementById(id)!.textContent!;
        document.querySelector("button")!.click();
        while (told("stats") === "") await new Promise((resolve) => setTimeout(resolve, 20));
        return [told("text"), told("stats")];
      });
      const own = presetSteps("edgewise", { temperature: 0.8, topP: 0.95 });
      expect(text).toBe(PROMPT + (await alone(1, own, 100)));
      expect(stats).toMatch(/^\d+ tokens in \d+ round trips/);
    } finally {
      page.close();
      await server.close(0);
    }
  });
});
