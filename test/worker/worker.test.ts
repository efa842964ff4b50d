import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { gzipSync } from "node:zlib";
import type { Miniflare } from "miniflare";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMPATIBILITY } from "../../src/cli/serve-workerd.ts";
import { dryRun, openRequest, ROOT, runWorker, type Upload } from "./miniflare.ts";

const MODEL = "edgewise-stories-q8_0";
const PROMPT = "Once upon a time";

let uploads: Upload[];
let worker: Miniflare;
let url: URL;

beforeAll(async () => {
  uploads = await dryRun();
  // So few that requests wait, too.
  worker = runWorker(uploads, { bindings: { MAX_RUNNING: 4 } });
  url = await worker.ready;
});
afterAll(() => worker?.dispose());

interface Health {
  running: number;
  waiting: number;
  decoded_tokens: number;
}
const health = async () => (await (await fetch(new URL("/health", url))).json()) as Health;

/** Health once nothing runs any more. */
async function idle(): Promise<Health> {
  for (;;) {
    const now = await health();
    if (now.running === 0 && now.waiting === 0) return now;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function complete(body: object, at = url) {
  const response = await fetch(new URL("/v1/completions", at), {
    method: "POST",
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as {
    choices: { text: string; finish_reason: string }[];
    error?: { message: string };
  };
  return { status: response.status, answer, text: answer.choices?.[0].text };
}

describe("deployment", () => {
  it("is at most 3 MB, gzipped, with its model", () => {
    const sizes = uploads.map(({ name, bytes }) => ({ name, gzip: gzipSync(bytes).length }));
    const total = sizes.reduce((sum, { gzip }) => sum + gzip, 0);
    console.log(`worker upload: ${total} bytes gzipped\n${JSON.stringify(sizes, null, 1)}`);
    expect(total).toBeLessThanOrEqual(3_000_000);
    expect(uploads.map(({ name }) => name.split(".").at(-1)).sort()).toEqual(["gguf", "js", "wasm", "wasm"]);
  });

  it("runs locally with the compatibility settings of wrangler.toml", async () => {
    const toml = await readFile(join(ROOT, "wrangler.toml"), "utf8");
    expect(toml).toContain(`compatibility_date = "${COMPATIBILITY.date}"`);
    expect(toml).toContain(`compatibility_flags = ${JSON.stringify(COMPATIBILITY.flags)}`);
  });
});

describe("in workerd", () => {
  it("decodes its first token after a cold start", async () => {
    const cold = runWorker(uploads);
    const at = await cold.ready;
    const start = performance.now();
    const body = { prompt: PROMPT, temperature: 0, stream: true };
    await openRequest(new URL("/v1/completions", at), body).firstData;
    console.log(`first token ${(performance.now() - start).toFixed(1)} ms after the isolate's first request`);
    await cold.dispose();
  });

  it("completes, the same text in one piece and as a stream", async () => {
    const body = { prompt: PROMPT, max_tokens: 30, seed: 7 };
    const { status, text, answer } = await complete(body);
    expect(answer.error).toBeUndefined();
    expect(status).toBe(200);
    expect(text).toMatch(/[a-z]/);
    const openai = new OpenAI({ apiKey: "any", baseURL: new URL("/v1", url).href });
    let streamed = "";
    for await (const chunk of await openai.completions.create({ model: MODEL, ...body, stream: true })) {
      streamed += chunk.choices[0].text;
    }
    expect(streamed).toBe(text);
  });

  it("chats", async () => {
    const openai = new OpenAI({ apiKey: "any", baseURL: new URL("/v1", url).href });
    const messages = [{ role: "user" as const, content: "Tell me a story" }];
    const ask = { model: MODEL, messages, max_tokens: 20, seed: 1 };
    const { choices, usage, system_fingerprint } = await openai.chat.completions.create(ask);
    const gathered = await openai.chat.completions.stream(ask).finalChatCompletion();
    expect(choices[0].message.content).toBe(gathered.choices[0].message.content);
    expect(usage!.completion_tokens).toBeLessThanOrEqual(20);
    expect(system_fingerprint).toBe(gathered.system_fingerprint);
  });

  it("makes several texts of a prompt, with a draft and log-probabilities", async () => {
    const body = { prompt: PROMPT, max_tokens: 20, seed: 3 };
    const alone = [(await complete(body)).text, (await complete({ ...body, seed: 4 })).text];
    const openai = new OpenAI({ apiKey: "any", baseURL: new URL("/v1", url).href });
    const ask = { model: MODEL, ...body, n: 2, logprobs: 1, draft: "recycling" };
    const { choices } = await openai.completions.create(ask);
    expect(choices.map(({ text }) => text)).toEqual(alone);
    expect(choices.map(({ logprobs }) => logprobs!.tokens!.join(""))).toEqual(alone);
    expect((await complete({ ...body, n: 1, best_of: 2 })).status).toBe(200);
  });

  it("flushes a stream token by token", async () => {
    const body = { prompt: PROMPT, max_tokens: 200, ignore_eos: true, stream: true };
    const { chunks } = await openRequest(new URL("/v1/completions", url), body).end;
    expect(chunks).toBeGreaterThan(50);
  });

  it("keeps requests apart that run at once, more than decode at once", async () => {
    const bodies = Array.from({ length: 10 }, (_, seed) => ({ prompt: PROMPT, max_tokens: 40, seed }));
    const alone: string[] = [];
    for (const body of bodies) alone.push((await complete(body)).text);
    const together = await Promise.all(bodies.map(async (body) => (await complete(body)).text));
    expect(together).toEqual(alone);
    expect(new Set(alone).size).toBeGreaterThan(5);
    await idle();
  });

  it.each([true, false])("stops decoding when the client goes, stream: %s", async (stream) => {
    const before = (await idle()).decoded_tokens;
    const most = 16 * 200;
    const body = { prompt: PROMPT, n: 16, max_tokens: 200, ignore_eos: true, stream };
    const client = openRequest(new URL("/v1/completions", url), body);
    while ((await health()).decoded_tokens < before + 5);
    client.leave();
    const decoded = (await idle()).decoded_tokens - before;
    expect(decoded).toBeGreaterThan(4);
    expect(decoded).toBeLessThan(most / 2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await health()).decoded_tokens - before).toBe(decoded);
    // And the service goes on for others.
    expect((await complete({ prompt: PROMPT, max_tokens: 3 })).status).toBe(200);
  });

  it("frees the places of many clients that leave, waiting ones too", async () => {
    await idle();
    const body = { prompt: PROMPT, n: 16, max_tokens: 200, ignore_eos: true };
    const at = new URL("/v1/completions", url);
    const clients = Array.from({ length: 12 }, (_, i) => openRequest(at, { ...body, stream: i % 2 === 0 }));
    while ((await health()).waiting < 8);
    for (const client of clients) client.leave();
    expect(await idle()).toMatchObject({ running: 0, waiting: 0 });
    expect((await complete({ prompt: PROMPT, max_tokens: 3 })).status).toBe(200);
  });

  it("refuses an over-long prompt, an unknown model and malformed JSON", async () => {
    expect((await complete({ prompt: "word ".repeat(2000) })).answer).toMatchObject({
      error: { code: "context_length_exceeded" },
    });
    expect((await complete({ model: "none" })).status).toBe(404);
    const response = await fetch(new URL("/v1/completions", url), { method: "POST", body: "{" });
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { code: "invalid_json" } },
    ]);
  });
});

describe("another model", () => {
  const file = join(ROOT, "models/edgewise-stories-q4_0.gguf");

  it("comes from R2", async () => {
    const worker = runWorker(uploads, { r2Buckets: ["MODELS"], bindings: { MODEL: "some/q4.gguf" } });
    const at = await worker.ready;
    // Not there yet: an error that names it, and the next request tries again.
    const missing = await complete({ prompt: PROMPT }, at);
    expect(missing.status).toBe(500);
    expect(missing.answer.error!.message).toContain('no object "some/q4.gguf"');
    // Miniflare's types leave R2's methods to a package of Workers types.
    const bucket = (await worker.getR2Bucket("MODELS")) as unknown as {
      put(key: string, value: Uint8Array): Promise<unknown>;
    };
    // A copy: Miniflare knows arrays by their class's name, and a Buffer's is not among them.
    await bucket.put("some/q4.gguf", new Uint8Array(await readFile(file)));
    expect((await complete({ model: "q4", prompt: PROMPT, max_tokens: 5 }, at)).status).toBe(200);
    await worker.dispose();
  });

  it("does not fit a smaller ceiling: the error names the bytes", async () => {
    const worker = runWorker(uploads, { bindings: { MAX_MEMORY_MIB: 1 } });
    const { status, answer } = await complete({ prompt: PROMPT }, await worker.ready);
    expect(status).toBe(500);
    expect(answer.error!.message).toMatch(/\d,\d{3}/);
    await worker.dispose();
  });

  it("serves plans over the embedded model and files of a bucket", async () => {
    const plan = { preset: "mixture", options: { weights: [0.3, 0.7] } };
    const PLANS = { both: { plan, sources: { a: MODEL, b: "q4.gguf" } } };
    const worker = runWorker(uploads, { r2Buckets: ["MODELS"], bindings: { PLANS: JSON.stringify(PLANS) } });
    const at = await worker.ready;
    const bucket = (await worker.getR2Bucket("MODELS")) as unknown as {
      put(key: string, value: Uint8Array): Promise<unknown>;
    };
    await bucket.put("q4.gguf", new Uint8Array(await readFile(file)));
    const { data } = (await (await fetch(new URL("/v1/models", at))).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual([MODEL, "q4.gguf", "both"]);
    const body = { model: "both", prompt: PROMPT, max_tokens: 12, temperature: 0 };
    const fused = await complete(body, at);
    expect([fused.status, fused.text]).toEqual([200, expect.stringMatching(/[a-z]/)]);
    expect((await complete({ ...body, draft: "suffix" }, at)).text).toBe(fused.text);
    await worker.dispose();
  });

  it.each([
    ["{", '"PLANS" must be JSON: '],
    [{ x: { plan: { preset: "nope" } } }, '"plans.x.plan.preset" must be one of '],
  ])("names what is wrong with plans: %j", async (PLANS, message) => {
    const worker = runWorker(uploads, { bindings: { PLANS } });
    const { status, answer } = await complete({ prompt: PROMPT }, await worker.ready);
    expect(status).toBe(500);
    expect(answer.error!.message).toContain(message);
    await worker.dispose();
  });

  it("fuses and scores rows without a model", async () => {
    const rows = { base: [2, 1, 0], expert: [0, 1, 0], anti: [0, 0, 0] };
    const post = async (path: string, body: object) =>
      (await fetch(new URL(path, url), { method: "POST", body: JSON.stringify(body) })).json();
    const plan = { preset: "proxy-tuning" };
    const answer = await post("/v1/fuse", { plan, rows, return: ["logits"], sampling: { top_k: 1 } });
    expect(answer).toMatchObject({ logits: [2, 2, 0], token: 0, logprob: 0 });
    const scores = await post("/v1/score", { scores: ["rank"], rows: { row: [1, 3, 2] }, target: 2 });
    expect(scores).toEqual({ scores: { rank: 2 } });
  });

  it("is missed with a clear error where no bucket is bound", async () => {
    const worker = runWorker(uploads, { bindings: { MODEL: "q4.gguf" } });
    const { answer } = await complete({ prompt: PROMPT }, await worker.ready);
    expect(answer.error!.message).toContain('no bucket is bound as "MODELS"');
    await worker.dispose();
  });
});
