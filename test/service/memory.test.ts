/** More requests than memory: they wait for each other, what can never fit is refused, and none is wrong or lost. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
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
