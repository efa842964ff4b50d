import { describe, expect, it } from "vitest";
import { type GenerateSettings, generate } from "../../src/decoding/generate.ts";
import { type Choice, createPipeline } from "../../src/decoding/pipeline.ts";

const GREEDY = createPipeline([{ step: "temperature", temperature: 0 }]);
const VOCAB = 50;

/** After a token comes the next one: the row of t has its maximum at t + 1. Writes down what it was asked. */
class Counting {
  length = 0;
  readonly capacity: number;
  readonly calls: { tokens: number[]; rows: number }[] = [];

  constructor(capacity = 1000) {
    this.capacity = capacity;
  }

  truncate(length: number) {
    this.length = length;
  }

  async forward(tokens: ArrayLike<number>, rows = 1) {
    this.calls.push({ tokens: Array.from(tokens), rows });
    this.length += tokens.length;
    const last = tokens[tokens.length - 1];
    return {
      count: rows,
      vocab: VOCAB,
      row: () => Float32Array.from({ length: VOCAB }, (_, id) => (id === (last + 1) % VOCAB ? 1 : 0)),
    };
  }
}

async function run(session: Counting, prompt: number[], settings: Partial<GenerateSettings> = {}) {
  const steps = generate(session, prompt, {
    pipeline: GREEDY,
    seed: 1,
    maxTokens: 5,
    endTokens: new Set(),
    ...settings,
  });
  const tokens: number[] = [];
  for (;;) {
    const step = await steps.next();
    if (step.done) return { tokens, finish: step.value };
    tokens.push(step.value.token);
  }
}

describe("generate", () => {
  it("reads the prompt once, then one token at a time", async () => {
    const session = new Counting();
    expect(await run(session, [1, 2, 3], { maxTokens: 3 })).toEqual({ tokens: [4, 5, 6], finish: "length" });
    expect(session.calls.map(({ tokens }) => tokens)).toEqual([[1, 2, 3], [4], [5]]);
  });

  it("reads a long prompt in pieces, and asks for a row after the last one only", async () => {
    for (const length of [63, 64, 65, 128, 129, 200]) {
      const session = new Counting();
      const prompt = Array.from({ length }, (_, i) => i % VOCAB);
      expect((await run(session, prompt, { maxTokens: 1 })).tokens).toEqual([length % VOCAB]);
      expect(session.calls.flatMap(({ tokens }) => tokens)).toEqual(prompt);
      expect(session.calls.map(({ rows }) => rows)).toEqual([...session.calls.slice(1).map(() => 0), 1]);
      expect(Math.max(...session.calls.map(({ tokens }) => tokens.length))).toBeLessThanOrEqual(64);
    }
  });

  it("ends before an end token, and does not compute on it", async () => {
    const session = new Counting();
    expect(await run(session, [1], { endTokens: new Set([4, 40]) })).toEqual({
      tokens: [2, 3],
      finish: "end",
    });
    expect(session.length).toBe(3);
  });

  it("ends when the session is full, with the last token emitted", async () => {
    expect(await run(new Counting(4), [1, 2], { maxTokens: 99 })).toEqual({
      tokens: [3, 4, 5],
      finish: "length",
    });
    expect(await run(new Counting(2), [1, 2], { maxTokens: 99 })).toEqual({ tokens: [3], finish: "length" });
  });

  it("computes nothing if nothing is asked for", async () => {
    const session = new Counting();
    expect(await run(session, [1, 2], { maxTokens: 0 })).toEqual({ tokens: [], finish: "length" });
    expect(session.calls).toEqual([]);
  });

  it("counts its own tokens as seen for the repetition penalty", async () => {
    const pipeline = createPipeline([{ step: "repetition-penalty", penalty: 100 }, ...GREEDY.steps]);
    const flat = {
      length: 0,
      capacity: 99,
      forward: async () => ({ count: 1, vocab: 3, row: () => Float32Array.of(3, 2.5, 2) }),
      truncate: () => {},
    };
    const steps = generate(flat, [0], { pipeline, seed: 1, maxTokens: 2, endTokens: new Set() });
    const choices = [(await steps.next()).value, (await steps.next()).value] as Choice[];
    expect(choices.map(({ token }) => token)).toEqual([1, 2]);
  });

  it.each([
    ["in a long prompt", 500, 2, 128],
    ["between tokens", 10, 4, 13],
  ])("stops %s when the signal fires", async (_, promptLength, calls, length) => {
    const controller = new AbortController();
    const session = new Counting();
    const forward = session.forward.bind(session);
    session.forward = (tokens, rows) => {
      if (session.calls.length === calls - 1) controller.abort();
      return forward(tokens, rows);
    };
    const prompt = Array.from({ length: promptLength }, () => 1);
    const running = run(session, prompt, { maxTokens: 999, signal: controller.signal });
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    // The call during which it fired is the last one.
    expect([session.calls.length, session.length]).toEqual([calls, length]);
  });
});
