/** Several texts of one prompt: each is what it would be alone. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GenerateManyOptions, GenerateResult, IndexedPiece, Model } from "../../src/node.ts";
import { loadModel } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { ENGINES } from "./engines.ts";
import { textOf } from "./on-off.ts";

const PROMPT = "Once upon a time there was a";

async function manyOf(model: Model, prompt: string, options: GenerateManyOptions) {
  const steps = model.generateMany(prompt, options);
  const pieces: IndexedPiece[] = [];
  for (;;) {
    const step = await steps.next();
    if (step.done) return { pieces, results: step.value };
    pieces.push(step.value);
  }
}

const meanOf = ({ logProbability, tokens }: GenerateResult) => logProbability / Math.max(1, tokens.length);

describe.each(ENGINES)("generateMany on %s", (_, engine) => {
  let model: Model;
  const maxTokens = engine.backend === "reference" ? 8 : 40;
  beforeAll(async () => {
    model = await loadModel(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url), engine);
  });
  afterAll(() => model?.close());

  it("gives the texts of seed, seed + 1, …", async () => {
    const random = createRandom(5);
    for (let trial = 0; trial < (engine.backend === "reference" ? 1 : 6); trial++) {
      const options: GenerateManyOptions = {
        maxTokens,
        temperature: [0.5, 1, 1.3][trial % 3],
        topK: [0, 20][random.below(2)],
        seed: random.below(1000),
        n: 2 + random.below(5),
        stop: [[], ["."]][random.below(2)],
        draft: (["none", "suffix"] as const)[random.below(2)],
        speculation: { adaptive: false },
      };
      const { pieces, results } = await manyOf(model, PROMPT, options);
      expect(results).toHaveLength(options.n!);
      for (const [index, result] of results.entries()) {
        const alone = await textOf(model, PROMPT, { ...options, seed: options.seed! + index, draft: "none" });
        expect(result.tokens).toEqual(alone.tokens);
        expect([result.text, result.finishReason]).toEqual([alone.text, alone.finishReason]);
        expect(result.logProbability).toBe(alone.logProbability);
        const own = pieces.filter((piece) => piece.index === index);
        expect(own.map(({ text }) => text).join("")).toBe(result.text);
      }
    }
  });

  it("returns the most likely of several, best first", async () => {
    const options = { maxTokens, seed: 3, temperature: 1.5 };
    const { results: all } = await manyOf(model, PROMPT, { ...options, n: 5 });
    const { pieces, results } = await manyOf(model, PROMPT, { ...options, n: 2, bestOf: 5 });
    const best = [...all].sort((a, b) => meanOf(b) - meanOf(a)).slice(0, 2);
    expect(results.map(({ text }) => text)).toEqual(best.map(({ text }) => text));
    for (const index of [0, 1]) {
      const own = pieces.filter((piece) => piece.index === index);
      expect(own.map(({ text }) => text).join("")).toBe(results[index].text);
    }
  });

  it("tells them apart as they come", async () => {
    const { pieces } = await manyOf(model, PROMPT, { maxTokens, n: 3, seed: 1 });
    const firsts = [0, 1, 2].map((index) => pieces.findIndex((piece) => piece.index === index));
    // Not one after the other: each has begun before the first has ended.
    const endOfFirst = pieces.findLastIndex((piece) => piece.index === 0);
    expect(Math.max(...firsts)).toBeLessThan(endOfFirst);
  });

  it("can be left, and then others still work", async () => {
    for await (const piece of model.generateMany(PROMPT, { maxTokens, n: 4, seed: 1 })) {
      if (piece.index === 1) break;
    }
    const { results } = await manyOf(model, PROMPT, { maxTokens: 4, n: 4, seed: 1 });
    expect(results).toHaveLength(4);
  });

  it.each<[GenerateManyOptions, string]>([
    [{ n: 0 }, '"n" must be an integer from 1 to 64, got 0'],
    [{ n: 3, bestOf: 2 }, '"bestOf" must be an integer from 3 to 64, got 2'],
  ])("refuses %j", async (options, message) => {
    await expect(manyOf(model, PROMPT, options)).rejects.toThrow(message);
  });

  it("tells log-probabilities of the law that was drawn from", async () => {
    const { logProbabilities, tokens, logProbability } = await textOf(model, PROMPT, {
      maxTokens,
      topK: 3,
      seed: 2,
      logProbabilities: 5,
    });
    expect(logProbabilities).toHaveLength(tokens.length);
    let sum = 0;
    for (const [i, { token, logProbability, top }] of logProbabilities!.entries()) {
      expect(token).toBe(tokens[i]);
      expect(top.length).toBeLessThanOrEqual(3);
      expect(top.map((one) => one.token)).toContain(token);
      expect(top.reduce((mass, one) => mass + Math.exp(one.logProbability), 0)).toBeCloseTo(1, 9);
      sum += logProbability;
    }
    expect(logProbability).toBeCloseTo(sum, 9);
  });
});
