/** More requests than memory: some get it, the others are told to come back, and none is wrong or lost. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));
const MIB = 1 << 20;

it("keeps to its ceiling under more requests than fit, and serves all who come back", async () => {
  const bytes = await readFile(MODEL);
  const free = await loadModel(bytes);
  const maxMemoryBytes = free.weightBytes + 3 * MIB;
  free.close();
  const model = await loadModel(bytes, { maxMemoryBytes });
  const app = createApp({
    models: lazyModels({ stories: async () => model }),
    maxRunning: 12,
    maxWaiting: 20,
    log: () => {},
  });
  const ask = async (seed: number) => {
    const body = { prompt: "Once upon a time", max_tokens: 200, ignore_eos: true, n: 4, seed };
    const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(body) });
    const answer = (await response.json()) as { choices?: { text: string }[]; error?: { code: string } };
    return {
      status: response.status,
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
  const together = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i % 3)));
  const refused = together.filter(({ status }) => status !== 200);
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(12);
  for (const { status, code } of refused) expect([status, code]).toEqual([503, "out_of_memory"]);
  for (const { status, texts } of together.filter((_, i) => i % 3 === 0)) {
    if (status === 200) expect(texts).toEqual(alone.texts);
  }
  expect(await used()).toBeLessThanOrEqual(1);
  expect((await ask(0)).texts).toEqual(alone.texts);
  model.close();
});
