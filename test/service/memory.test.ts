/** More requests than memory: they wait for each other, what can never fit is refused, and none is wrong or lost. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { backendOf } from "../../src/engine/model-backend.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));
const MIB = 1 << 20;

it("keeps to its ceiling under more requests than fit, and serves all of them", async () => {
  const bytes = await readFile(MODEL);
  const free = await loadModel(bytes);
  const maxMemoryBytes = free.weightBytes + 1.5 * MIB;
  free.close();
  const model = await loadModel(bytes, { maxMemoryBytes });
  let begun = 0;
  const generateMany = model.generateMany.bind(model);
  model.generateMany = (...given) => {
    begun++;
    return generateMany(...given);
  };
  const app = createApp({
    models: lazyModels({ stories: async () => model }),
    maxRunning: 12,
    maxWaiting: 20,
    log: () => {},
  });
  const ask = async (seed: number, n = 4, max_tokens = 24) => {
    const body = { prompt: "Once upon a time", max_tokens, ignore_eos: true, n, seed };
    const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(body) });
    const answer = (await response.json()) as { choices?: { text: string }[]; error?: { code: string } };
    return {
      status: response.status,
      retryAfter: response.headers.get("retry-after"),
      code: answer.error?.code,
      texts: answer.choices?.map(({ text }) => text),
    };
  };
  const used = async () => {
    const text = await (await app.request("/metrics")).text();
    return Number(/^edgewise:kv_cache_usage_perc\{[^}]*\} (.*)$/m.exec(text)![1]);
  };

  const alone = await ask(0);
  expect(alone.status).toBe(200);
  // The second of them fits in no moment, and holds up the others but for a while.
  const together = await Promise.all(
    Array.from({ length: 12 }, (_, i) => (i === 1 ? ask(i, 16, 250) : ask(i % 3))),
  );
  const [tooLarge] = together.splice(1, 1);
  expect([tooLarge.status, tooLarge.code, tooLarge.retryAfter]).toEqual([503, "out_of_memory", "1"]);
  expect(together.map(({ status }) => status)).toEqual(new Array(11).fill(200));
  for (const { texts } of [together[2], together[5], together[8]]) expect(texts).toEqual(alone.texts);
  // Some had to try more than once.
  expect(begun).toBeGreaterThan(13);
  expect(await used()).toBeLessThanOrEqual(1);
  expect((await ask(0)).texts).toEqual(alone.texts);
  model.close();
});

/** A service whose memory is for two texts of 250 tokens, and not for three; a request is for two. */
async function narrowService(options: object = {}, of: (model: Model) => Model = (model) => model) {
  const bytes = await readFile(MODEL);
  const free = await loadModel(bytes);
  const before = backendOf(free)!.usedBytes;
  free.open({ capacity: 256 });
  const maxMemoryBytes = before + Math.floor(2.5 * (backendOf(free)!.usedBytes - before));
  free.close();
  const model = await loadModel(bytes, { maxMemoryBytes, prefixCacheBytes: 0 });
  const app = createApp({
    models: lazyModels({ stories: async () => of(model) }),
    log: () => {},
    ...options,
  });
  const post = async (path: string, body: object) => {
    const response = await app.request(path, { method: "POST", body: JSON.stringify(body) });
    const answer = (await response.json()) as { id?: string; tokens?: number[] };
    return { status: response.status, ...answer };
  };
  const two = { prompt: "Once upon a time", max_tokens: 245, ignore_eos: true, n: 2 };
  const complete = (seed = 1) => post("/v1/completions", { ...two, seed });
  return { model, app, post, two, complete };
}

it("what is kept of sessions gives way to what is decoded, and is made again", async () => {
  const ask = { prompt: "Once upon a time", capacity: 250, seed: 3, ignore_eos: true };
  const verify = { max_tokens: 20 };
  const undisturbed = await narrowService();
  const { id } = await undisturbed.post("/v1/sessions", ask);
  const first = await undisturbed.post(`/v1/sessions/${id}/verify`, verify);
  const second = await undisturbed.post(`/v1/sessions/${id}/verify`, verify);
  expect(second.status).toBe(200);

  const { model, post, complete } = await narrowService();
  const session = await post("/v1/sessions", ask);
  expect((await post(`/v1/sessions/${session.id}/verify`, verify)).tokens).toEqual(first.tokens);
  const kept = backendOf(model)!.usedBytes;
  expect((await complete()).status).toBe(200);
  // It went when there was too little beside it.
  expect(backendOf(model)!.usedBytes).toBeLessThan(kept - 100_000);
  expect((await post(`/v1/sessions/${session.id}/verify`, verify)).tokens).toEqual(second.tokens);
  undisturbed.model.close();
  model.close();
});

it("gives memory of requests that were cut off to others, and not that of a slow reader", async () => {
  let isCut = true;
  const cutOff = (model: Model): Model => {
    const generateMany = model.generateMany.bind(model);
    model.generateMany = (...given) => {
      const texts = generateMany(...given);
      if (!isCut) return texts;
      // Nothing of it ever runs again: what is asked for does not come, and its end does not either.
      let left = 3;
      const next = () => (left-- > 0 ? texts.next() : new Promise<never>(() => {}));
      const hang = () => new Promise<never>(() => {});
      return { next, return: hang, throw: hang } as unknown as typeof texts;
    };
    return model;
  };
  const { model, app, two, complete } = await narrowService({ stallMs: 1500 }, cutOff);
  const begin = async () => {
    const body = { ...two, seed: 1, stream: true };
    const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(body) });
    const reader = response.body!.getReader();
    await reader.read();
    return reader;
  };
  const lost = await begin();
  await lost.read();
  await lost.read();
  isCut = false;
  // Nobody knows yet.
  const early = complete();
  expect((await early).status).toBe(200);
  const slow = await begin();
  const other = complete(2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const read: string[] = [];
  for (let step = await slow.read(); !step.done; step = await slow.read())
    read.push(new TextDecoder().decode(step.value));
  expect(read.at(-1)).toBe("data: [DONE]\n\n");
  expect(read.join("")).not.toContain("error");
  expect((await other).status).toBe(200);
  model.close();
});
