/** Texts under a grammar: valid with every sampler, and the same whoever drafts. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import {
  compileGrammar,
  fuseModels,
  fusePreset,
  type GenerateOptions,
  type GrammarSpec,
  loadModel,
  type Model,
} from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { randomPair, textOf } from "./on-off.ts";

const embedded = (name: string) => new URL(`../../models/${name}.gguf`, import.meta.url);

const Story = z.object({
  title: z.string().max(30),
  kind: z.enum(["sad", "funny"]),
  pages: z.int().min(1).max(99),
  hero: z.union([z.object({ name: z.string().max(12), age: z.number().min(0).max(9) }), z.null()]),
  tags: z.array(z.string().max(8)).max(2),
});

/** What a text must be, and whether one is. */
const KINDS: readonly (readonly [GrammarSpec, (text: string) => boolean])[] = [
  [{ jsonSchema: z.toJSONSchema(Story) }, (text) => Story.safeParse(JSON.parse(text)).success],
  [{ jsonSchema: { type: "object" } }, (text) => typeof JSON.parse(text) === "object"],
  [
    { regex: "(Tom|Lily) (ran|sat)( and (ran|sat)){0,3}\\." },
    (text) => /^(Tom|Lily) (ran|sat)( and (ran|sat)){0,3}\.$/.test(text),
  ],
  [{ choice: ["yes", "yesterday", "no"] }, (text) => ["yes", "yesterday", "no"].includes(text)],
];

const SAMPLERS: readonly GenerateOptions[] = [
  { temperature: 0 },
  { temperature: 1 },
  { temperature: 1.5, topK: 40, minP: 0.02 },
  { temperature: 1, xtc: { probability: 1, threshold: 0.05 }, dry: { multiplier: 0.8 } },
  { temperature: 0.8, mirostat: { version: 2, tau: 4 } },
  { preset: "llamacpp", temperature: 1, repetitionPenalty: 1.3 },
  { preset: "vllm", temperature: 1, topP: 0.9, presencePenalty: 1 },
];

let model: Model;
let small: Model;
let other: Model;
beforeAll(async () => {
  model = await loadModel(embedded("edgewise-stories-q8_0"));
  small = await loadModel(embedded("edgewise-stories-q4_0"));
  other = await loadModel(syntheticModelBytes({ vocab: 300 }));
});
afterAll(() => {
  for (const one of [model, small, other]) one?.close();
});

describe("a text under a grammar", () => {
  it("is what it must be, or cut off, with every sampler", async () => {
    let ended = 0;
    for (const [i, [spec, isValid]] of KINDS.entries()) {
      const grammar = compileGrammar(spec, model);
      for (const [j, sampling] of SAMPLERS.entries()) {
        const result = await textOf(model, "Once upon a time", {
          ...sampling,
          seed: 10 * i + j,
          maxTokens: 160,
          constraint: grammar.open(),
        });
        if (result.finishReason === "length") continue;
        ended++;
        expect(isValid(result.text), result.text).toBe(true);
      }
    }
    expect(ended).toBeGreaterThan(20);
  });

  it("is the same with drafts of every kind as without", async () => {
    const grammars = KINDS.map(([spec]) => compileGrammar(spec, model));
    const random = createRandom(71);
    const met = new Map<string, number>();
    for (let trial = 0; trial < 100; trial++) {
      const { what, plain, drafted } = await randomPair(model, [small, other], random, grammars);
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
    expect([...met.values()].filter((accepted) => accepted > 0).length).toBeGreaterThan(4);
  });

  it("that can be only one comes from drafts", async () => {
    // No two of these bytes are one token, so each token is the only one.
    const text = "\u0001\u0002\u0003".repeat(5);
    const grammar = compileGrammar({ choice: [text] }, model);
    const asked = {
      constraint: () => grammar.open(),
      speculation: { adaptive: false, gamma: 4 },
      draft: "ngram",
    } as const;
    const result = await textOf(model, "Once", asked);
    expect([result.text, result.finishReason]).toEqual([text, "stop"]);
    expect(result.speculation!.accepted).toBeGreaterThan(8);
    expect(result.speculation!.acceptanceRate).toBe(1);
  });

  it("may be one of several, each with its own", async () => {
    const grammar = compileGrammar(KINDS[0][0], model);
    const many = model.generateMany("Once", {
      n: 3,
      seed: 4,
      maxTokens: 160,
      constraint: () => grammar.open(),
    });
    let step = await many.next();
    while (!step.done) step = await many.next();
    expect(step.value).toHaveLength(3);
    for (const { text, finishReason } of step.value) {
      if (finishReason === "stop") expect(KINDS[0][1](text), text).toBe(true);
    }
    expect(new Set(step.value.map(({ text }) => text)).size).toBe(3);
  });

  it("may come from a fused model", async () => {
    const fused = fuseModels(fusePreset("mixture", { sources: ["a", "b"] }), { a: model, b: small });
    const grammar = compileGrammar(KINDS[0][0], fused);
    for (let seed = 0; seed < 3; seed++) {
      const { text, finishReason } = await textOf(fused, "Once", {
        seed,
        maxTokens: 160,
        constraint: grammar.open(),
      });
      if (finishReason === "stop") expect(KINDS[0][1](text), text).toBe(true);
      else expect(finishReason).toBe("length");
    }
  });

  it("ends where it is complete, and says where it was cut off", async () => {
    const grammar = compileGrammar({ regex: "a{3}" }, model);
    const ended = await textOf(model, "Once", { constraint: grammar.open() });
    expect([ended.text, ended.finishReason]).toEqual(["aaa", "stop"]);
    const cut = await textOf(model, "Once", {
      constraint: compileGrammar({ regex: "(a ){99}" }, model).open(),
      maxTokens: 5,
    });
    expect([cut.tokens.length, cut.finishReason]).toEqual([5, "length"]);
  });
});
