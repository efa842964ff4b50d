/** Drafts of the target's own hidden states: the text is that of plain decoding, and most of a draft is right. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { aheadOf } from "../../../src/engine/ahead.ts";
import { HeadDrafter } from "../../../src/engine/drafter/head-drafter.ts";
import { readRequest } from "../../../src/engine/request.ts";
import { openSpeculation } from "../../../src/engine/speculation.ts";
import { type GenerateOptions, loadModel, type Model, type Session } from "../../../src/node.ts";
import { syntheticModelBytes } from "../../support/synthetic-model.ts";
import { ToyGrammar } from "../../support/toy-grammar.ts";
import { ENGINES } from "../engines.ts";
import { textOf } from "../on-off.ts";
import { sessionsThatFit } from "../plain.ts";

const EMBEDDED = new URL("../../../models/edgewise-stories-q8_0.gguf", import.meta.url);
const F16 = new URL("../../../models/edgewise-stories-f16.gguf", import.meta.url);
/** Drafts whether it pays or not. */
const SELF: GenerateOptions = { draft: "self", speculation: { adaptive: false, gamma: 4 } };

describe.each(ENGINES)("draft self on %s", (_, options) => {
  const length = options.backend === "reference" ? 20 : 120;
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(EMBEDDED, options);
  });
  afterAll(() => model.close());

  it.each([0, 0.7, 1])(
    "gives the text of plain decoding at temperature %d, mostly from drafts",
    async (temperature) => {
      const asked = { maxTokens: length, temperature, seed: 3, ignoreEos: true };
      const plain = await textOf(model, "Once upon a time", asked);
      const drafted = await textOf(model, "Once upon a time", { ...asked, ...SELF });
      expect(drafted.tokens).toEqual(plain.tokens);
      expect(drafted.speculation).toMatchObject({ drafter: "self", verifier: "match", reproducible: true });
      expect(drafted.speculation!.tokensPerCall).toBeGreaterThan(2.5);
    },
  );

  it("follows penalties and a grammar", async () => {
    const grammar = () => new ToyGrammar(model.vocab, 7);
    for (const asked of [
      { repetitionPenalty: 1.3, presencePenalty: 0.5, topP: 0.9 },
      { constraint: grammar, temperature: 0 },
    ]) {
      const sampling: GenerateOptions = { maxTokens: length, seed: 8, ignoreEos: true, ...asked };
      const plain = await textOf(model, "The dog", sampling);
      const drafted = await textOf(model, "The dog", { ...sampling, ...SELF });
      expect(drafted.tokens).toEqual(plain.tokens);
      expect(drafted.speculation!.accepted).toBeGreaterThan(length / 3);
    }
  });

  it("works up to the end of the context, and with several texts of one prompt", async () => {
    const end = { temperature: 0.8, seed: 1, maxTokens: 9, ignoreEos: true };
    const prompt = Array.from({ length: model.contextLength - 7 }, (__, i) => 300 + (i % 9));
    const long = await textOf(model, prompt as never, { ...end, ...SELF });
    expect(long.tokens).toEqual((await textOf(model, prompt as never, end)).tokens);
    const steps = model.generateMany("Once", { ...end, maxTokens: length / 4, n: 3, ...SELF });
    let step = await steps.next();
    while (!step.done) step = await steps.next();
    for (const [i, { tokens, speculation }] of step.value.entries()) {
      const alone = await textOf(model, "Once", { ...end, maxTokens: length / 4, seed: 1 + i });
      expect(tokens).toEqual(alone.tokens);
      expect(speculation!.accepted).toBeGreaterThan(0);
    }
  });

  it("with other verifiers is what they say", async () => {
    for (const verifier of ["token", "block", "greedy"] as const) {
      const asked: GenerateOptions = { maxTokens: length / 4, temperature: 0.8, seed: 1, ignoreEos: true };
      const { tokens, speculation } = await textOf(model, "Once", { ...asked, ...SELF, verifier });
      expect(tokens).toHaveLength(length / 4);
      expect(speculation).toMatchObject({ verifier, drafter: "self" });
      expect(speculation!.accepted, verifier).toBeGreaterThan(0);
    }
    await expect(textOf(model, "Once", { ...SELF, verifier: "traversal" })).rejects.toThrow(
      '"verifier" traversal must have a draft model',
    );
  });

  it("drafts nothing where its session is not just behind the text", async () => {
    const session = model.open({ capacity: 10 });
    const drafter = new HeadDrafter(session, aheadOf(session)!, {
      vocab: model.vocab,
      steps: [{ step: "temperature", temperature: 0 }],
      seed: 1,
      promptLength: 3,
    });
    expect(await drafter.draft(4)).toMatchObject({ tokens: [] });
    drafter.append([5, 6, 7]);
    await session.forward([5, 6], 0);
    const { tokens } = await drafter.draft(4);
    expect(tokens).toHaveLength(4);
    expect((await drafter.draft(2)).tokens).toEqual(Array.from(tokens).slice(0, 2));
    // Seven positions are left behind the three: the last token drafted needs none.
    expect((await drafter.draft(64)).tokens).toHaveLength(8);
    await session.forward([7], 0);
    expect(await drafter.draft(4)).toMatchObject({ tokens: [] });
    expect(() => drafter.append([model.vocab])).toThrow('"tokens[0]" must be an integer');
    drafter.close();
    session.close();
  });
});

describe("draft self", () => {
  it("needs a session that can run ahead, and room for the rows of the small head", async () => {
    const model = await loadModel(syntheticModelBytes({ vocab: 4000 }), { maxMemoryBytes: 6_000_000 });
    const request = readRequest(model, [1, 2], { draft: "self" });
    const session = { ...model.open() } as Session;
    const bare: Session = { ...session, length: 0, capacity: 9, ahead: undefined } as Session;
    expect(() => openSpeculation(model, bare, request)).toThrow('"draft" must not be "self" here');
    const asked = { draft: "self", maxTokens: 50, speculation: { adaptive: false } } as const;
    // The first text leaves working memory behind that the next ones use again.
    await textOf(model, [1, 2] as never, asked);
    sessionsThatFit(model, 64);
    const fit = sessionsThatFit(model, 64);
    await textOf(model, [1, 2] as never, asked);
    expect(sessionsThatFit(model, 64)).toBe(fit);
    // With all but one session's room taken, its text has none for the rows.
    const held = Array.from({ length: fit - 1 }, () => model.open({ capacity: 64 }));
    await expect(textOf(model, [1, 2] as never, asked)).rejects.toThrow(/bytes are needed|needs/);
    for (const one of held) one.close();
    model.close();
  });

  it("accepts alike with weights of any type, as it has those of the target", async () => {
    const model = await loadModel(F16);
    const asked: GenerateOptions = { maxTokens: 200, temperature: 0, ignoreEos: true, ...SELF };
    const { speculation } = await textOf(model, "One day, a little girl", asked);
    // A quarter of the vocabulary and the words of the text.
    expect(speculation!.acceptanceRate).toBeGreaterThan(0.85);
    model.close();
  });
});
