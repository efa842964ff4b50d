import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GenerateOptions, type GenerateResult, loadModel, type Model } from "../../src/node.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";
import { ENGINES } from "./engines.ts";

interface Run extends GenerateResult {
  pieces: string[];
}

async function run(model: Model, prompt: string | number[], options: GenerateOptions = {}): Promise<Run> {
  const pieces: string[] = [];
  const steps = model.generate(prompt, { temperature: 0, ...options });
  for (;;) {
    const step = await steps.next();
    if (step.done) return { ...step.value, pieces };
    pieces.push(step.value.text);
  }
}

describe("generate of the embedded model", () => {
  let model: Model;
  let story: Run;
  beforeAll(async () => {
    model = await loadModel(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));
    story = await run(model, "Once upon a time", { maxTokens: 30 });
  });
  afterAll(() => model.close());

  it("tells a story", () => {
    expect(story.text).toMatch(/^, there was a little girl named /);
    expect(story).toMatchObject({ finishReason: "length", promptTokens: [0, 446, 438, 259, 404] });
    expect(story.tokens.length).toBe(30);
    expect(story.text).toBe(model.tokenizer.decode(story.tokens));
    expect(story.pieces.length).toBe(30);
  });

  it("takes token ids as they are, and text by the tokenizer", async () => {
    expect((await run(model, [...story.promptTokens], { maxTokens: 30 })).tokens).toEqual(story.tokens);
    expect((await run(model, [446, 438, 259, 404], { maxTokens: 1 })).promptTokens).toEqual([
      446, 438, 259, 404,
    ]);
  });

  it("agrees with rows of a session", async () => {
    const session = model.open();
    const rows = await session.forward([...story.promptTokens, ...story.tokens], 31);
    const best = Array.from({ length: 31 }, (_, index) => rows.argmax(index));
    expect(best.slice(0, 30)).toEqual(story.tokens);
    session.close();
  });

  it("ends at an end token, which is not emitted, unless told to go on", async () => {
    const settings = { temperature: 1, seed: 2 };
    const whole = await run(model, "Once upon a time", settings);
    expect(whole.finishReason).toBe("stop");
    expect(whole.tokens.length).toBeLessThan(251);
    expect(whole.tokens.some((token) => model.tokenizer.endTokens.has(token))).toBe(false);
    const on = await run(model, "Once upon a time", { ...settings, ignoreEos: true });
    expect(on.finishReason).toBe("length");
    expect(on.tokens.slice(0, whole.tokens.length)).toEqual(whole.tokens);
    expect(model.tokenizer.endTokens.has(on.tokens[whole.tokens.length])).toBe(true);
    // Prompt and text fill the context.
    expect(on.tokens.length + on.promptTokens.length).toBe(256);
  });

  it("ends before a stop text, and emits nothing of it", async () => {
    const stopped = await run(model, "Once upon a time", { maxTokens: 30, stop: ["never", " little girl"] });
    expect(stopped).toMatchObject({ text: ", there was a", finishReason: "stop" });
    expect(stopped.pieces.join("")).toBe(", there was a");
    expect(stopped.tokens).toEqual(story.tokens.slice(0, stopped.tokens.length));
    const within = await run(model, "Once upon a time", { maxTokens: 30, stop: "ttle gi" });
    expect(within.text).toBe(", there was a li");
  });

  it("gives in the end what it held back for a stop text that did not come", async () => {
    const end = story.text.slice(-4);
    const held = await run(model, "Once upon a time", { maxTokens: 30, stop: `${end}!` });
    expect([held.text, held.finishReason]).toEqual([story.text, "length"]);
    expect(story.text.startsWith(held.pieces.join(""))).toBe(true);
  });

  it("gives a piece per token, which together are the text, whatever is held back at the end", async () => {
    const stops = ["there was a king", "y.", "One day it", "\n\n", "named Lilz", "She loved to be"];
    for (let maxTokens = 1; maxTokens <= 24; maxTokens++) {
      for (const options of [{ temperature: 0 }, { temperature: 3, seed: maxTokens, ignoreEos: true }]) {
        const { pieces, text, tokens } = await run(model, "Once upon a time", {
          ...options,
          maxTokens,
          stop: stops,
        });
        expect(pieces.join("")).toBe(text);
        expect(pieces.length).toBe(tokens.length);
      }
    }
  });

  it("depends on the seed alone, not on what ran before", async () => {
    const draw = (seed: number) => run(model, "The cat", { maxTokens: 20, temperature: 1, seed });
    const first = await draw(1);
    expect((await draw(2)).tokens).not.toEqual(first.tokens);
    expect((await draw(1)).tokens).toEqual(first.tokens);
    expect((await draw(Number.MAX_SAFE_INTEGER)).tokens).not.toEqual(first.tokens);
  });

  it("does not mix up texts that are made at the same time", async () => {
    const prompts = ["The cat", "A dog", "Once upon a time", "She said"];
    const alone: number[][] = [];
    for (const prompt of prompts) alone.push([...(await run(model, prompt, { maxTokens: 20 })).tokens]);
    const together = await Promise.all(prompts.map((prompt) => run(model, prompt, { maxTokens: 20 })));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
  });

  it("makes seen tokens rarer with a repetition penalty", async () => {
    const distinct = async (repetitionPenalty: number) =>
      new Set((await run(model, "The", { maxTokens: 100, ignoreEos: true, repetitionPenalty })).tokens).size;
    expect(await distinct(1.5)).toBeGreaterThan(await distinct(1));
  });

  it("begins a text where the prompt is empty", async () => {
    expect((await run(model, "", { maxTokens: 3 })).promptTokens).toEqual([0]);
    expect((await run(model, [], { maxTokens: 3 })).promptTokens).toEqual([0]);
  });

  it("can be asked for nothing, and for one token", async () => {
    expect(await run(model, "The", { maxTokens: 0 })).toMatchObject({
      tokens: [],
      text: "",
      finishReason: "length",
    });
    expect((await run(model, "The", { maxTokens: 1 })).tokens.length).toBe(1);
  });

  it("tells times that are not negative, and rates that follow from them", () => {
    const { prompt_ms, prompt_tokens_per_second, decode_ms, tokens_per_second } = story.timings;
    expect(prompt_ms).toBeGreaterThan(0);
    expect(decode_ms).toBeGreaterThan(0);
    expect((prompt_tokens_per_second * prompt_ms) / 1000).toBeCloseTo(5, 1);
    expect((tokens_per_second * decode_ms) / 1000).toBeCloseTo(29, 1);
  });

  it("refuses a prompt that is too long, and options out of range, before it decodes", async () => {
    const refused = (prompt: unknown, options: GenerateOptions, message: string) =>
      expect(run(model, prompt as string, options)).rejects.toThrow(message);
    await refused(
      new Array(257).fill(5),
      {},
      '"prompt" must have at most 256 tokens, the context of the model, got 257',
    );
    await refused([5, 4096], {}, '"prompt[1]" must be an integer from 0 to 4095, got 4096');
    await refused([-1], {}, '"prompt[0]" must be an integer');
    await refused(7, {}, '"prompt" must be a string or an array of token ids, got number');
    await refused("a", { maxTokens: -1 }, '"maxTokens" must be an integer from 0');
    await refused("a", { topP: 0 }, '"topP" must be above 0');
    await refused("a", { stop: [""] }, '"stop[0]" must not be empty');
  });

  it("stops when the signal fires, before, in the prompt and between tokens", async () => {
    const abort = { name: "AbortError" };
    await expect(run(model, "a", { signal: AbortSignal.abort() })).rejects.toMatchObject(abort);
    const controller = new AbortController();
    const steps = model.generate("Once upon a time", { signal: controller.signal, ignoreEos: true });
    await steps.next();
    controller.abort();
    await expect(steps.next()).rejects.toMatchObject(abort);
    const soon = new AbortController();
    setTimeout(() => soon.abort(), 1);
    const long = Array.from({ length: 250 }, (_, i) => i);
    await expect(run(model, long, { signal: soon.signal, ignoreEos: true })).rejects.toMatchObject(abort);
  });
});

describe.each(ENGINES)("generate on %s", (_, options) => {
  it("gives its memory back, whether it ends, is left or fails", async () => {
    // Enough for one full context of 2.1 MB beside the rest, not for two.
    const bytes = syntheticModelBytes({ contextLength: 4096, layers: 4 });
    const model = await loadModel(bytes, { ...options, maxMemoryBytes: 4_000_000 });
    const two = () => [model.open(), model.open()];
    expect(two).toThrow("bytes are needed");
    const bounded = await loadModel(bytes, { ...options, maxMemoryBytes: 4_000_000 });
    for (let i = 0; i < 4; i++) {
      for await (const piece of bounded.generate([1, 2, 3], { ignoreEos: true })) {
        expect(piece.token).toBeLessThan(512);
        break;
      }
      const controller = new AbortController();
      const steps = bounded.generate([1, 2, 3], { ignoreEos: true, signal: controller.signal });
      await steps.next();
      controller.abort();
      await expect(steps.next()).rejects.toThrow();
      expect((await run(bounded, [1, 2, 3], { maxTokens: 2, ignoreEos: true })).tokens.length).toBe(2);
    }
    bounded.close();
    model.close();
  });
});

describe("chatPrompt", () => {
  it("follows the template of the file, special tokens and all", async () => {
    const chatTemplate =
      "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    const model = await loadModel(syntheticModelBytes({ chatTemplate }));
    const { tokenizer } = model;
    const tokens = model.chatPrompt([
      { role: "system", content: "be brief" },
      { role: "user", content: "hi" },
    ]);
    expect(tokenizer.decode(tokens)).toBe("<system>be brief<user>hi<assistant>");
    const { bos } = tokenizer;
    expect(model.chatText([{ role: "user", content: "hi" }])).toMatch(/^(<[^>]*>)?<user>hi<assistant>$/);
    expect(tokens[0]).toBe(bos);
    expect(() => model.chatPrompt([])).toThrow('"messages" must hold');
    model.close();
  });
});
