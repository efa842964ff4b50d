/** Many clients of one isolate, of whom some leave, and some are cut off by the runtime. */
import { join } from "node:path";
import * as esbuild from "esbuild";
import { Miniflare, type WorkerOptions } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleWorker, COMPATIBILITY } from "../../src/cli/serve-workerd.ts";
import { loadModel } from "../../src/node.ts";
import { openRequest, ROOT } from "./miniflare.ts";

const PROMPT = "The little fox";
const TOKENS = 24;

type Modules = Awaited<ReturnType<typeof bundleWorker>>;

let modules: Modules;
/** What each seed gives, decoded alone in this process. */
const alone: string[] = [];

beforeAll(async () => {
  modules = await bundleWorker(join(ROOT, "test/worker/cut-off-worker.ts"), esbuild);
  const model = await loadModel(join(ROOT, "models/edgewise-stories-q8_0.gguf"));
  for (let seed = 0; seed < 25; seed++) {
    let text = "";
    const options = { maxTokens: TOKENS, seed, temperature: 1, ignoreEos: true };
    for await (const piece of model.generate(PROMPT, options)) text += piece.text;
    alone.push(text);
  }
  model.close();
});

const request = (seed: number, stream = true) => ({
  prompt: PROMPT,
  max_tokens: TOKENS,
  seed,
  temperature: 1,
  ignore_eos: true,
  stream,
});

async function open(bindings: Record<string, unknown> = {}) {
  const miniflare = new Miniflare({
    cf: false,
    modules,
    compatibilityDate: COMPATIBILITY.date,
    compatibilityFlags: COMPATIBILITY.flags,
    bindings: { LOG: "none", ...bindings },
  } as WorkerOptions);
  const url = new URL("/v1/completions", await miniflare.ready);
  const post = (body: object, headers: Record<string, string> = {}) =>
    fetch(url, { method: "POST", body: JSON.stringify(body), headers });
  const health = async () =>
    (await (await fetch(new URL("/health", url))).json()) as Record<
      "running" | "waiting" | "decoded_tokens",
      number
    >;
  const idle = async () => {
    for (;;) {
      const now = await health();
      if (now.running === 0 && now.waiting === 0) return now;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return { miniflare, url, post, health, idle };
}

async function streamed(response: Response): Promise<string> {
  expect(response.status).toBe(200);
  const text = await response.text();
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  const frames = [...text.matchAll(/^data: (\{.*\})$/gm)].map(([, json]) => JSON.parse(json));
  return frames.map(({ choices }) => choices[0].text).join("");
}

describe("200 streams of one worker", () => {
  let worker: Awaited<ReturnType<typeof open>>;
  beforeAll(async () => {
    worker = await open();
  });
  afterAll(() => worker.miniflare.dispose());

  it("have their own texts, whole", async () => {
    const texts = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => await streamed(await worker.post(request(i % 25)))),
    );
    for (const [i, text] of texts.entries()) expect(text, `stream ${i}`).toBe(alone[i % 25]);
    expect(await worker.idle()).toMatchObject({ decoded_tokens: 200 * TOKENS });
  });

  it("have them too when every fourth client leaves in the middle, whose decoding stops", async () => {
    const before = (await worker.idle()).decoded_tokens;
    const long = 200;
    const leave = async (seed: number) => {
      const body = { ...request(seed), max_tokens: long };
      const client = openRequest(worker.url, body);
      await client.firstData;
      client.leave();
    };
    const stay = async (seed: number) => {
      expect(await streamed(await worker.post(request(seed)))).toBe(alone[seed]);
    };
    await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 4 === 0 ? leave(i % 25) : stay(i % 25))));
    const decoded = (await worker.idle()).decoded_tokens - before - 150 * TOKENS;
    console.log(`a client that left cost ${decoded / 50} tokens`);
    expect(decoded).toBeLessThan((50 * long) / 8);
  });
});

describe("more streams than there is memory for", () => {
  it("wait for each other, and none is refused", async () => {
    const worker = await open({ MAX_MEMORY_MIB: 4 });
    const texts = await Promise.all(
      Array.from({ length: 64 }, async (_, i) => await streamed(await worker.post(request(i % 25)))),
    );
    for (const [i, text] of texts.entries()) expect(text, `stream ${i}`).toBe(alone[i % 25]);
    // What no memory would be enough for is refused, and can come again.
    const tooMuch = await worker.post({ ...request(0, false), n: 16, max_tokens: 240 });
    expect([tooMuch.status, tooMuch.headers.get("retry-after")]).toEqual([503, "1"]);
    await worker.miniflare.dispose();
  });
});

describe("a request that the runtime cuts off", () => {
  it("holds nobody up while it has its place, and loses it", async () => {
    const worker = await open({ MAX_RUNNING: 2, STALL_MS: 500 });
    await worker.post(request(0));
    const cut = { ...request(1, false), n: 16, max_tokens: 200 };
    await Promise.all([
      worker.post(cut, { "x-cut-off-after": "30" }),
      ...[2, 3, 4, 5].map(async (seed) =>
        expect(await streamed(await worker.post(request(seed)))).toBe(alone[seed]),
      ),
    ]);
    const { decoded_tokens } = await worker.health();
    expect(await worker.idle()).toMatchObject({ running: 0 });
    // It was in the middle, and has decoded nothing since.
    expect(decoded_tokens - 5 * TOKENS).toBeLessThan(16 * 200);
    expect((await worker.health()).decoded_tokens).toBe(decoded_tokens);
    await worker.miniflare.dispose();
  });

  it("leaves the queue soon if it waited there", async () => {
    // Its place among those that decode would be kept for a minute.
    const worker = await open({ MAX_RUNNING: 1 });
    await worker.post(request(0));
    const running = worker.post({ ...request(1, false), n: 16, max_tokens: 200 });
    while ((await worker.health()).running === 0);
    const cut = worker.post(request(2), { "x-cut-off-after": "30" });
    while ((await worker.health()).waiting === 0);
    const next = worker.post(request(3));
    expect((await cut).status).toBe(200);
    expect((await running).status).toBe(200);
    expect(await streamed(await next)).toBe(alone[3]);
    await worker.miniflare.dispose();
  }, 30_000);

  it("gives back the memory that it held", async () => {
    const worker = await open({ MAX_MEMORY_MIB: 4, STALL_MS: 500 });
    await worker.post(request(0));
    const cut = { ...request(1, false), n: 4, max_tokens: 200 };
    // Of what they were promised, hardly two have room.
    for (let i = 0; i < 5; i++) await worker.post(cut, { "x-cut-off-after": "30" });
    // Who comes before all of them count as gone is told to try again.
    let status = 503;
    for (let tries = 0; status === 503 && tries < 5; tries++) {
      const whole = await worker.post({ ...request(2, false), n: 6, max_tokens: 200 });
      status = whole.status;
      await whole.text();
      if (status === 503) await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    expect(status).toBe(200);
    expect(await streamed(await worker.post(request(3)))).toBe(alone[3]);
    await worker.miniflare.dispose();
  }, 30_000);

  it("lets the next one in where only one may decode", async () => {
    const worker = await open({ MAX_RUNNING: 1, STALL_MS: 500 });
    await worker.post(request(0));
    // On a busy machine it may be cut off before it runs.
    for (let tries = 0; (await worker.health()).running === 0; tries++) {
      expect(tries).toBeLessThan(20);
      await worker.post({ ...request(1, false), n: 16, max_tokens: 200 }, { "x-cut-off-after": "30" });
    }
    const texts = await Promise.all([2, 3].map(async (seed) => streamed(await worker.post(request(seed)))));
    expect(texts).toEqual([alone[2], alone[3]]);
    await worker.miniflare.dispose();
  });
});
