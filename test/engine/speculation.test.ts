/** Speculation never changes the text: the same tokens with every drafter, at every temperature, in every build. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VERIFIERS } from "../../src/decoding/verify/registry.ts";
import type { DraftMethod, GenerateOptions, Model } from "../../src/node.ts";
import { loadModel } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ToyGrammar } from "../support/toy-grammar.ts";
import { ENGINES } from "./engines.ts";
import { randomPair, textOf } from "./on-off.ts";

const embedded = (name: string) => new URL(`../../models/${name}.gguf`, import.meta.url);
/** Has another vocabulary. */
const STORIES_260K = new URL("../../../shared/models/stories260K-f16.gguf", import.meta.url);

/** Drafts whether it pays or not, so that what happens does not depend on the clock. */
const FIXED = { adaptive: false, gamma: 4 };

const REPEATS = "Lily had a red ball. Tom had a blue ball. Lily had a red ball. Tom had a";

describe.each(ENGINES)("speculation on %s", (_, options) => {
  const isReference = options.backend === "reference";
  let model: Model;
  let small: Model;
  const drafts: Model[] = [];
  beforeAll(async () => {
    model = await loadModel(embedded("edgewise-stories-q8_0"), options);
    small = await loadModel(embedded("edgewise-stories-q4_0"), options);
    const other = existsSync(fileURLToPath(STORIES_260K))
      ? STORIES_260K
      : syntheticModelBytes({ vocab: 300 });
    drafts.push(small, await loadModel(other, options));
  });
  afterAll(() => {
    for (const one of [model, ...drafts]) one?.close();
  });

  it("gives the tokens of plain decoding, whatever is asked and whoever drafts", {
    timeout: 300_000,
  }, async () => {
    const random = createRandom(2027);
    const trials = isReference ? 20 : 2000;
    const met = new Map<string, number>();
    for (let trial = 0; trial < trials; trial++) {
      const { what, plain, drafted } = await randomPair(model, drafts, random);
      expect(drafted.tokens, what).toEqual(plain.tokens);
      expect([drafted.text, drafted.finishReason, drafted.error], what).toEqual([
        plain.text,
        plain.finishReason,
        plain.error,
      ]);
      if (drafted.speculation === undefined) continue;
      const { drafter, accepted } = drafted.speculation;
      met.set(drafter, (met.get(drafter) ?? 0) + accepted);
    }
    // What never accepts anything proves nothing.
    if (!isReference) for (const [drafter, accepted] of met) expect(accepted, drafter).toBeGreaterThan(0);
  });

  it("says what it did, and takes fewer passes on a text that repeats itself", async () => {
    const asked: GenerateOptions = { maxTokens: 80, temperature: 0, draft: "suffix", speculation: FIXED };
    const { speculation, tokens } = await textOf(model, REPEATS.repeat(2), asked);
    const { drafter, verifier, drafted, tested, accepted, targetCalls, tokensPerCall } = speculation!;
    expect([drafter, verifier]).toEqual(["suffix", "match"]);
    expect(speculation).toMatchObject({ lossless: true, reproducible: true });
    expect(accepted).toBeLessThanOrEqual(tested);
    expect(tested).toBeLessThanOrEqual(drafted);
    expect(speculation!.acceptedAt.reduce((sum, count) => sum + count, 0)).toBe(accepted);
    // Beside the first token, which comes out of the prompt's pass.
    expect(targetCalls + accepted).toBe(tokens.length - 1);
    expect(tokensPerCall).toBeCloseTo((tokens.length - 1) / targetCalls, 10);
    expect(tokensPerCall).toBeGreaterThan(1.2);
  });

  it("with a draft model that nearly agrees takes most tokens from drafts, by chain and by tree", async () => {
    for (const tree of [false, true]) {
      for (const temperature of [0, 1]) {
        const asked = { maxTokens: isReference ? 12 : 60, temperature, seed: 5, ignoreEos: true };
        const plain = await textOf(model, "Once upon a time", asked);
        const drafted = await textOf(model, "Once upon a time", {
          ...asked,
          draft: small,
          speculation: { ...FIXED, tree, gamma: tree ? 12 : 4 },
        });
        expect(drafted.tokens).toEqual(plain.tokens);
        expect(drafted.speculation!.drafter).toBe("model:edgewise-stories-q4_0");
        expect(drafted.speculation!.verifier).toBe("gumbel");
        expect(drafted.speculation!.tokensPerCall).toBeGreaterThan(2);
      }
    }
  });

  it("with every other verifier gives a text and says whether it is that of the model", async () => {
    const needsOptions = {
      threshold: { threshold: 0.3 },
      reverse: { threshold: 0.1 },
      "target-only-threshold": { acceptThreshold: 0.9, singleThreshold: 0.9 },
    } as Record<string, object>;
    for (const [name, { lossless, reproducible, shape }] of Object.entries(VERIFIERS)) {
      const verifier = { verifier: name, ...needsOptions[name] } as GenerateOptions["verifier"];
      for (const tree of shape === "tree" ? [false, true] : [false]) {
        const { tokens, speculation } = await textOf(model, "Once upon a time", {
          maxTokens: isReference ? 6 : 30,
          topK: 40,
          minP: 0.02,
          seed: 3,
          ignoreEos: true,
          draft: small,
          verifier,
          speculation: { ...FIXED, tree },
        });
        expect(tokens, name).toHaveLength(isReference ? 6 : 30);
        expect(speculation, name).toMatchObject({ verifier: name, lossless, reproducible });
        expect(speculation!.accepted, name).toBeGreaterThan(0);
      }
    }
  });

  it("tells of what it cannot do", async () => {
    const fails = (asked: GenerateOptions, message: string) =>
      expect(textOf(model, "Once", asked), message).rejects.toThrow(message);
    const { vocab } = model;
    await fails(
      { draft: "crystal-ball" as DraftMethod },
      '"draft" must be one of none, self, prompt-lookup, ngram, ngram-cache, suffix, recycling, recycling-tree, or a model, got "crystal-ball"',
    );
    await fails({ draft: null as never }, '"draft" must be a name or a model, got null');
    await fails({ draft: {} as never }, '"draft" must be a name or a model, got object');
    await fails({ prediction: null as never }, '"prediction" must be a text or token ids, got null');
    await fails({ prediction: [1, vocab] }, `"prediction[1]" must be an integer from 0 to ${vocab - 1}`);
    await fails({ verifier: "trust" as never, draft: "suffix" }, '"verifier" must be one of greedy');
    await fails({ verifier: 7 as never }, '"verifier" must be a name, or an object that has one, got number');
    await fails(
      { verifier: null as never },
      '"verifier" must be a name, or an object that has one, got null',
    );
    await fails({ verifier: {} as never }, '"verifier" must be a name');
    await fails(
      { verifier: { verifier: "typical", epsilon: 2 } },
      '"verifier.epsilon" must be a number from 0 to 1, got 2',
    );
    await fails({ verifier: { verifier: "threshold" } as never }, '"verifier.threshold" must be a number');
    await fails(
      { verifier: { verifier: "relaxed", boundary: vocab } },
      `"verifier.boundary" must be an integer from 0 to ${vocab - 1}, got ${vocab}`,
    );
    await fails({ speculation: null as never }, '"speculation" must be an object, got null');
    await fails(
      { speculation: { adaptive: "no" } as never },
      '"speculation.adaptive" must be true or false, got string',
    );
    await fails(
      { speculation: { tree: 1 } as never },
      '"speculation.tree" must be true or false, got number',
    );
    await fails({ verifier: "traversal", draft: "suffix" }, "must have a draft model");
    await fails({ verifier: "token", draft: "recycling-tree" }, "must have a drafter of chains");
    await fails({ speculation: { gamma: 0 } }, '"speculation.gamma" must be an integer from 1 to 64, got 0');
    await fails({ constraint: new ToyGrammar(7, 1) }, '"constraint.vocab" must be');
    await fails({ draft: drafts[1], verifier: "traversal" }, "must be a model of the target's vocabulary");
  });
});
