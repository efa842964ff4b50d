/** Texts at the same time, and texts that begin alike: what is shared never changes a text. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nextTask } from "../../src/decoding/next-task.ts";
import type { GenerateOptions, GenerateResult } from "../../src/engine/model.ts";
import { type LoadOptions, loadModel, type Model } from "../../src/node.ts";
import { createRandom, type Random } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

const VOCAB = 320;
const BYTES = syntheticModelBytes({ type: "Q8_0", vocab: VOCAB });
const STORIES = readFileSync(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

async function text(model: Model, prompt: readonly number[], options: GenerateOptions = {}) {
  const pieces = model.generate(prompt, { seed: 1, ignoreEos: true, ...options });
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
  }
}

const some = (random: Random, count: number) => Array.from({ length: count }, () => random.below(VOCAB));

describe.each(ENGINES)("texts that begin alike on %s", (_, options) => {
  const bytes = options.backend === "reference" ? BYTES : STORIES;
  const fresh = (more: LoadOptions = {}) => loadModel(bytes, { ...options, ...more });
  let model: Model;
  let plain: Model;

  beforeEach(async () => {
    model = await fresh();
    plain = await fresh({ prefixCacheBytes: 0 });
  });
  afterEach(() => {
    model.close();
    plain.close();
  });

  it("compute it once, in whole pages, and never all of it", async () => {
    const prompt = some(createRandom(1), 130);
    const expected = await text(plain, prompt, { maxTokens: 4 });
    expect(expected.cachedTokens).toBe(0);
    const counts: number[] = [];
    for (const tokens of [
      prompt,
      prompt,
      prompt.slice(0, 128),
      prompt.slice(0, 129),
      [...prompt.slice(0, 100), 1],
    ]) {
      const result = await text(model, tokens, { maxTokens: 4 });
      counts.push(result.cachedTokens);
      expect(result.tokens).toEqual((await text(plain, tokens, { maxTokens: 4 })).tokens);
    }
    expect(counts).toEqual([0, 128, 64, 128, 64]);
  });

  it("go on where an earlier one ended, as a conversation does", async () => {
    const random = createRandom(2);
    const first = await text(model, some(random, 60), { maxTokens: 20 });
    // The last token was never computed on: 79 are known, one page of them is whole.
    const next = [...first.promptTokens, ...first.tokens, ...some(random, 10)];
    const second = await text(model, next, { maxTokens: 5 });
    expect(second.cachedTokens).toBe(64);
    expect(second.tokens).toEqual((await text(plain, next, { maxTokens: 5 })).tokens);
  });

  it("wait for who computes it, whether that one is done or gives up", async () => {
    const random = createRandom(3);
    const beginning = some(random, 128);
    const prompts = [0, 1, 2].map(() => [...beginning, ...some(random, 5)]);
    const results = await Promise.all(prompts.map((prompt) => text(model, prompt, { maxTokens: 3 })));
    expect(results.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 128, 128]);
    for (const [i, { tokens }] of results.entries())
      expect(tokens).toEqual((await text(plain, prompts[i], { maxTokens: 3 })).tokens);

    const other = some(random, 200);
    const controller = new AbortController();
    const given = text(model, other, { maxTokens: 3, signal: controller.signal });
    const waiting = text(model, other, { maxTokens: 3 });
    await nextTask();
    controller.abort();
    await expect(given).rejects.toThrow("abort");
    expect((await waiting).tokens).toEqual((await text(plain, other, { maxTokens: 3 })).tokens);
  });

  it("serve several texts of one prompt", async () => {
    const prompt = some(createRandom(4), 100);
    const all = async () => {
      const pieces = model.generateMany(prompt, {
        n: 3,
        seed: 5,
        temperature: 1,
        maxTokens: 6,
        ignoreEos: true,
      });
      for (;;) {
        const step = await pieces.next();
        if (step.done) return step.value;
      }
    };
    const [before, after] = [await all(), await all()];
    expect(before.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 0, 0]);
    expect(after.map(({ cachedTokens }) => cachedTokens)).toEqual([64, 64, 64]);
    expect(after.map(({ tokens }) => tokens)).toEqual(before.map(({ tokens }) => tokens));
  });
});

describe("memory for beginnings", () => {
  it("gives way to whatever else needs it", async () => {
    const tight = { maxMemoryBytes: 3_000_000 };
    const free = await loadModel(BYTES, { ...tight, prefixCacheBytes: 0 });
    const kept = await loadModel(BYTES, { ...tight, prefixCacheBytes: 2_000_000 });
    const sessionsOf = (model: Model) => {
      const sessions = [];
      try {
        for (;;) sessions.push(model.open({ capacity: 256 }));
      } catch (error) {
        expect((error as Error).name).toBe("MemoryError");
      }
      for (const session of sessions) session.close();
      return sessions.length;
    };
    const expected = sessionsOf(free);
    const random = createRandom(6);
    for (let i = 0; i < 20; i++) await text(kept, some(random, 200), { maxTokens: 2 });
    expect(sessionsOf(kept)).toBe(expected);
    // A fork is short of memory too, and a longer text.
    const session = kept.open({ capacity: 256 });
    for (let i = 0; i < 20; i++) await text(kept, some(random, 200), { maxTokens: 2 });
    const forks = Array.from({ length: expected - 1 }, () => session.fork());
    for (const each of [session, ...forks]) each.close();
    free.close();
    kept.close();
  });

  it("is bounded, and the beginning that was used last stays", async () => {
    const model = await loadModel(BYTES, { prefixCacheBytes: 500_000 });
    const random = createRandom(7);
    const favourite = some(random, 70);
    await text(model, favourite, { maxTokens: 1 });
    for (let i = 0; i < 40; i++) {
      await text(model, some(random, 70), { maxTokens: 1 });
      expect((await text(model, favourite, { maxTokens: 1 })).cachedTokens).toBe(64);
    }
    const none = await loadModel(BYTES, { prefixCacheBytes: 0 });
    await text(none, favourite, { maxTokens: 1 });
    expect((await text(none, favourite, { maxTokens: 1 })).cachedTokens).toBe(0);
    await expect(loadModel(BYTES, { prefixCacheBytes: -1 })).rejects.toThrow('"prefixCacheBytes" must be');
    model.close();
    none.close();
  });
});

describe.each(ENGINES)("texts at the same time on %s", (_, options) => {
  it("are what they are alone: samplers, drafters, stops and ends of every kind", async () => {
    const isSlow = options.backend === "reference";
    const model = await loadModel(isSlow ? BYTES : STORIES, options);
    const alone = await loadModel(isSlow ? BYTES : STORIES, { ...options, prefixCacheBytes: 0 });
    const random = createRandom(8);
    const shared = some(random, 90);
    const requests = Array.from({ length: isSlow ? 5 : 24 }, (__, i) => {
      const prompt = [...shared.slice(0, random.below(90)), ...some(random, 1 + random.below(20))];
      const request: GenerateOptions = {
        maxTokens: 1 + random.below(isSlow ? 8 : 40),
        seed: i,
        temperature: random.below(3) / 2,
        draft: (["none", "suffix", "recycling-tree", "self"] as const)[random.below(4)],
        ignoreEos: random.below(2) === 0,
        topP: random.below(2) === 0 ? 0.9 : undefined,
      };
      return { prompt, request, gone: random.below(6) === 0 };
    });
    const outcomes = await Promise.all(
      requests.map(async ({ prompt, request, gone }, i) => {
        for (let tasks = i % 5; tasks > 0; tasks--) await nextTask();
        if (!gone) return await text(model, prompt, request);
        // A client that reads a little and leaves.
        for await (const __ of model.generate(prompt, request)) break;
        return null;
      }),
    );
    for (const [i, result] of outcomes.entries()) {
      const { prompt, request } = requests[i];
      const expected: GenerateResult = await text(alone, prompt, { ...request, draft: "none" });
      if (result !== null) expect([i, result.tokens]).toEqual([i, expected.tokens]);
    }
    model.close();
    alone.close();
  });
});
