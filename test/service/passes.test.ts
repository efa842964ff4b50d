/** How many passes over the weights streams take: together as few as can be, and none before the token before is told. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { LocalSession } from "../../src/engine/session.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { framesOf } from "./fake-model.ts";

const MODEL = fileURLToPath(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));
const TOKENS = 60;

let model: Model;
/** Columns of each pass that several sessions shared. */
const shared: number[] = [];
beforeAll(async () => {
  model = await loadModel(await readFile(MODEL));
  const forwardAll = model.forwardAll!.bind(model);
  model.forwardAll = (calls) => {
    shared.push(calls.length);
    return forwardAll(calls);
  };
});
afterAll(() => model?.close());

it("streams that are read at the same time share nearly all passes, also where some tokens have no text", async () => {
  const app = createApp({ models: lazyModels({ stories: async () => model }), log: () => {} });
  // Stop texts that begin like much of what is said hold text back, in some streams and not in others.
  const streams = Array.from({ length: 4 }, async (_, i) => {
    const body = {
      prompt: `Once upon a time there were ${i} dogs`,
      max_tokens: TOKENS,
      ignore_eos: true,
      seed: i,
      stop: i % 2 === 0 ? [" the cat in the hat", "e x"] : null,
      stream: true,
    };
    const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(body) });
    return framesOf(await response.text());
  });
  await Promise.all(streams);
  const full = shared.filter((columns) => columns === 4).length;
  expect(full).toBeGreaterThan(0.8 * TOKENS);
});

it("a stream's token is told before the one behind it is computed", async () => {
  const forward = vi.spyOn(LocalSession.prototype, "forward");
  const texts = model.generateMany([17], { maxTokens: 5, ignoreEos: true, seed: 1 });
  for (let told = 1; told <= 5; told++) {
    expect((await texts.next()).done).toBe(false);
    expect(forward).toHaveBeenCalledTimes(told);
  }
  expect((await texts.next()).done).toBe(true);
  forward.mockRestore();
});
