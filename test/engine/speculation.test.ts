/** Speculation never changes the text: the same tokens with every drafter, at every temperature, in every build. */
import { beforeAll, describe, expect, it } from "vitest";
import type { DraftMethod, GenerateOptions, GenerateResult, Model } from "../../src/node.ts";
import { loadModel } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

const METHODS: readonly DraftMethod[] = ["prompt-lookup", "suffix"];
const TRIALS = 40;

/** Prompts that repeat themselves, so that there is something to copy, and some that do not. */
const PROMPTS = [
  "Once upon a time",
  "Lily had a red ball. Tom had a blue ball. Lily had a red ball. Tom had a",
  "One day, the dog and the cat went to the park. The dog saw a bird. The cat saw a bird. One day, the dog and",
  "",
];

async function run(model: Model, prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  const steps = model.generate(prompt, options);
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

describe.each(ENGINES)("speculation on %s", (_, options) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url), options);
  });

  it.each(METHODS)("with %s gives the tokens of plain decoding", async (draft) => {
    const random = createRandom(11);
    const trials = options.backend === "reference" ? 4 : TRIALS;
    for (let trial = 0; trial < trials; trial++) {
      const asked: GenerateOptions = {
        maxTokens: 1 + random.below(90),
        temperature: [0, 0.4, 0.8, 1.2][random.below(4)],
        topK: [0, 5, 40][random.below(3)],
        topP: [1, 0.9, 0.5][random.below(3)],
        minP: [0, 0.05][random.below(2)],
        repetitionPenalty: [1, 1.2][random.below(2)],
        seed: random.below(2 ** 31),
        ignoreEos: random.below(2) === 1,
        stop: random.below(3) === 0 ? [" the", "."] : [],
      };
      const prompt = PROMPTS[random.below(PROMPTS.length)];
      const plain = await run(model, prompt, asked);
      const drafted = await run(model, prompt, { ...asked, draft });
      const context = JSON.stringify({ prompt, ...asked });
      expect(drafted.tokens, context).toEqual(plain.tokens);
      expect([drafted.text, drafted.finishReason], context).toEqual([plain.text, plain.finishReason]);
    }
  });

  it("says what it did, and takes fewer passes on a text that repeats itself", async () => {
    const prompt = PROMPTS[1].repeat(2);
    const result = await run(model, prompt, { maxTokens: 100, temperature: 0, draft: "suffix" });
    const { drafter, drafted, accepted, targetCalls, tokensPerCall } = result.speculation!;
    expect(drafter).toBe("suffix");
    expect(accepted).toBeLessThanOrEqual(drafted);
    // Beside the first token, which comes out of the prompt's pass.
    expect(targetCalls + accepted).toBe(result.tokens.length - 1);
    expect(tokensPerCall).toBeCloseTo((result.tokens.length - 1) / targetCalls, 10);
  });

  it("with a draft model gives the tokens of plain decoding, most of them by drafts", async () => {
    // The same story model in fewer bits: it nearly always agrees.
    const draft = await loadModel(
      new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url),
      options,
    );
    const random = createRandom(12);
    for (let trial = 0; trial < (options.backend === "reference" ? 2 : 12); trial++) {
      const asked: GenerateOptions = {
        maxTokens: 1 + random.below(120),
        temperature: [0, 0.8, 1.2][trial % 3],
        topK: [0, 40][random.below(2)],
        seed: random.below(2 ** 31),
        ignoreEos: true,
      };
      const prompt = PROMPTS[random.below(PROMPTS.length)];
      const plain = await run(model, prompt, asked);
      const drafted = await run(model, prompt, { ...asked, draft });
      expect(drafted.tokens, JSON.stringify({ prompt, ...asked })).toEqual(plain.tokens);
      const { drafter, drafted: count, acceptanceRate } = drafted.speculation!;
      expect(drafter).toBe("model:edgewise-stories-q4_0");
      if (count > 20) expect(acceptanceRate).toBeGreaterThan(0.5);
    }
    draft.close();
  });

  it("refuses a draft model of another vocabulary", async () => {
    const draft = await loadModel(syntheticModelBytes({}), options);
    await expect(run(model, "Once", { draft })).rejects.toThrow(
      '"draft" must be a model of the same vocabulary',
    );
  });

  it("knows the drafters it has", async () => {
    const asked = { draft: "crystal-ball" as DraftMethod };
    await expect(run(model, "Once", asked)).rejects.toThrow(
      '"draft" must be one of none, prompt-lookup, suffix',
    );
  });
});
