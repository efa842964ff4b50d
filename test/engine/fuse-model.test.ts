/** A fused model decodes as any other, and speculation never changes its text. */
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fuseModels, fusePreset, loadModel, type Model, readPlan } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";
import { membersOf, planZoo } from "./fuse-plans.ts";
import { randomPair, textOf } from "./on-off.ts";

const embedded = (name: string) => new URL(`../../models/${name}.gguf`, import.meta.url);
const shared = (name: string) => new URL(`../../../shared/models/${name}.gguf`, import.meta.url);
const TUNED = ["edgewise-draft-tales-f16", "edgewise-draft-f16"];
const isThere = TUNED.every((name) => existsSync(shared(name)));
if (!isThere)
  console.log(`Plans run on one model in three precisions: ../shared/models has no ${TUNED.join(", ")}`);

const FIXED = { adaptive: false, gamma: 4 };
const PROMPT = "Once upon a time, there was a";

describe.each(ENGINES)("a fused model on %s", (_, options) => {
  const isReference = options.backend === "reference";
  /** Target, expert and anti-expert. */
  const models: Model[] = [];
  let stranger: Model;
  beforeAll(async () => {
    models.push(await loadModel(embedded("edgewise-stories-q8_0"), options));
    const others = isThere
      ? TUNED.map(shared)
      : ["q4_0", "f16"].map((type) => embedded(`edgewise-stories-${type}`));
    for (const other of others) models.push(await loadModel(other, options));
    stranger = await loadModel(syntheticModelBytes({ vocab: 300 }), options);
  });
  afterAll(() => {
    for (const one of [...models, stranger]) one?.close();
  });
  const dlf = () => {
    const [base, expert, anti] = models;
    return fuseModels(fusePreset("dlf"), { base, expert, anti });
  };

  it("gives the tokens of plain decoding, whatever the plan, whatever is asked and whoever drafts", {
    timeout: 300_000,
  }, async () => {
    const random = createRandom(2028);
    const zoo = planZoo(models[0].vocab).map((named) => ({
      what: named.what,
      model: fuseModels(named.plan, membersOf(named, models), named.options),
    }));
    let accepted = 0;
    for (let trial = 0; trial < (isReference ? 2 : 3 * zoo.length); trial++) {
      const { what, model } = zoo[trial % zoo.length];
      // The smaller of the sources, the base, and one that shares no vocabulary.
      const drafts = [models[2], models[0], stranger];
      const pair = await randomPair(model, drafts, random);
      const told = `${what}: ${pair.what}`;
      expect(pair.drafted.tokens, told).toEqual(pair.plain.tokens);
      expect([pair.drafted.text, pair.drafted.finishReason, pair.drafted.error], told).toEqual([
        pair.plain.text,
        pair.plain.finishReason,
        pair.plain.error,
      ]);
      accepted += pair.drafted.speculation?.accepted ?? 0;
    }
    // What never accepts anything proves nothing.
    if (!isReference) expect(accepted).toBeGreaterThan(100);
  });

  it("tells what it is", () => {
    const [base, expert, anti] = models;
    const model = dlf();
    expect(model.name).toBe([...new Set(models.map(({ name }) => name))].join("+"));
    expect(model).toMatchObject({
      vocab: base.vocab,
      contextLength: 256,
      backend: base.backend,
      build: base.build,
    });
    expect(model.weightBytes).toBe(base.weightBytes + expert.weightBytes + anti.weightBytes);
    expect(model.tokenizer).toBe(base.tokenizer);
    expect(fuseModels(fusePreset("dlf"), { base, expert, anti }, { name: "mine" }).name).toBe("mine");
    // Same plan, same models: same fingerprint. Anything else: another.
    const prints = [
      dlf(),
      fuseModels(fusePreset("dlf", { limit: 1 }), { base, expert, anti }),
      fuseModels(fusePreset("dlf"), { base, expert: anti, anti: expert }),
      fuseModels(fusePreset("dlf"), { base, expert, anti: { source: anti, prefix: [3] } }),
      base,
    ].map(({ fingerprint }) => fingerprint);
    expect(new Set(prints).size).toBe(prints.length);
    expect(model.fingerprint).toBe(prints[0]);
    expect(model.requestFingerprint({ topK: 3 })).not.toBe(base.requestFingerprint({ topK: 3 }));
    // Nothing is closed with it.
    model.close();
    expect(base.open({ capacity: 4 }).length).toBe(0);
  });

  it("of one source alone is that model", async () => {
    const [base] = models;
    const alone = fuseModels(readPlan({ sources: ["base"], source: "base" }), { base });
    const asked = { maxTokens: 12, temperature: 0.8, seed: 3, logProbabilities: 2 };
    const [plain, fused] = [await textOf(base, PROMPT, asked), await textOf(alone, PROMPT, asked)];
    expect(fused.tokens).toEqual(plain.tokens);
    expect(fused.logProbabilities).toEqual(plain.logProbabilities);
    expect(fused.audits).toBeUndefined();
  });

  it("makes several texts of a prompt, each with draws of its own seed", async () => {
    const [a, b, c] = models;
    const model = fuseModels(fusePreset("sampled-mixture", { sources: ["a", "b", "c"] }), { a, b, c });
    const asked = { maxTokens: isReference ? 4 : 16, temperature: 0.9, seed: 40, ignoreEos: true };
    const pieces = model.generateMany(PROMPT, { ...asked, n: 3 });
    let step = await pieces.next();
    while (!step.done) step = await pieces.next();
    for (const [index, { tokens }] of step.value.entries()) {
      const alone = await textOf(model, PROMPT, { ...asked, seed: 40 + index });
      expect(tokens).toEqual(alone.tokens);
    }
  });

  it("tells how each token came about, when asked", async () => {
    const model = dlf();
    const asked = { maxTokens: isReference ? 3 : 20, seed: 4, ignoreEos: true, audit: true };
    const plain = await textOf(model, PROMPT, asked);
    expect(plain.audits).toHaveLength(plain.tokens.length);
    for (const { sources, matches, weights } of plain.audits!) {
      expect(sources).toEqual(["base", "expert", "anti"]);
      const [{ alpha }] = matches;
      expect(alpha).toBeGreaterThanOrEqual(0);
      expect(alpha).toBeLessThanOrEqual(2);
      expect(weights[0].weights).toEqual([1, alpha, -alpha]);
    }
    const drafted = await textOf(model, PROMPT, {
      ...asked,
      draft: models[2],
      speculation: { ...FIXED, tree: true },
    });
    expect(drafted.audits).toEqual(plain.audits);
  });

  it("is drafted for by one of its own sources", async () => {
    if (isReference) return;
    const asked = { maxTokens: 60, temperature: 0, ignoreEos: true };
    const drafted = await textOf(dlf(), PROMPT, { ...asked, draft: models[0], speculation: FIXED });
    expect(drafted.tokens).toEqual((await textOf(dlf(), PROMPT, asked)).tokens);
    expect(drafted.speculation!.tokensPerCall).toBeGreaterThan(1.3);
  });

  it("is refused where its sources do not fit together", async () => {
    const [base, expert] = models;
    const plan = fusePreset("mixture");
    expect(() => fuseModels(plan, { a: base } as never)).toThrow(
      '"sources.b" must be a source, got undefined',
    );
    expect(() => fuseModels(plan, { a: base, b: 3 } as never)).toThrow(
      '"sources.b" must be a model, got number',
    );
    expect(() => fuseModels(plan, { a: base, b: expert }, { base: "c" })).toThrow(
      '"base" must be one of a, b, got "c"',
    );
    expect(() => fuseModels(plan, { a: base, b: stranger })).toThrow(
      '"sources.b" must have 4,096 tokens, as "sources.a" has, got 300',
    );
    const other = await loadModel(syntheticModelBytes({ vocab: base.vocab, hidden: 32, layers: 1 }), options);
    expect(() => fuseModels(plan, { a: base, b: other })).toThrow(
      '"sources.b" must have the tokens of "sources.a"',
    );
    other.close();
  });

  it("takes a model of another vocabulary by its text", async () => {
    const [base] = models;
    const map = {
      kind: "projection" as const,
      vocabulary: "other",
      vocab: base.vocab,
      offsets: Array.from({ length: 301 }, (_, i) => i),
      ids: Array.from({ length: 300 }, (_, i) => i),
      values: new Array<number>(300).fill(1),
    };
    const model = fuseModels(
      fusePreset("x-token", { weight: 0.1 }),
      { base, other: stranger },
      { tables: { other: map } },
    );
    const asked = { maxTokens: isReference ? 4 : 24, seed: 11, ignoreEos: true };
    const plain = await textOf(model, PROMPT, asked);
    if (!isReference) expect(plain.tokens).not.toEqual((await textOf(base, PROMPT, asked)).tokens);
    const drafted = await textOf(model, PROMPT, {
      ...asked,
      draft: base,
      speculation: { ...FIXED, tree: true },
    });
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.speculation!.accepted).toBeGreaterThan(0);
  });
});
