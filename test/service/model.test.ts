/** The service over a real model: what it offers keeps its promises beyond shapes. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DRAFTER_NAMES } from "../../src/decoding/drafter/registry.ts";
import type { Model } from "../../src/engine/model.ts";
import { loadModel } from "../../src/node.ts";
import { createApp } from "../../src/service/app.ts";
import type { SpeculationReport, Usage } from "../../src/service/usage.ts";
import { framesOf } from "./fake-model.ts";

const FILE = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));
const PROMPT = "Once upon a time there was a little dog. The little dog";

interface Choice {
  index: number;
  text: string;
  finish_reason: string;
  logprobs: {
    tokens: string[];
    token_logprobs: number[];
    top_logprobs: Record<string, number>[];
    text_offset: number[];
  };
}
interface Answer {
  choices: Choice[];
  usage: Usage;
  speculation?: SpeculationReport;
  system_fingerprint: string;
  error?: { code: string; param: string | null; type: string };
}

let model: Model;
let app: ReturnType<typeof createApp>;
const errors: unknown[] = [];

beforeAll(async () => {
  model = await loadModel(FILE);
  app = createApp({
    models: { names: ["stories"], get: async () => model },
    onError: (error) => errors.push(error),
  });
});
afterAll(() => model?.close());

const post = (body: object) =>
  app.request("/v1/completions", {
    method: "POST",
    body: JSON.stringify({ prompt: PROMPT, max_tokens: 24, seed: 7, ...body }),
  });

async function ask(body: object): Promise<Answer> {
  const answer = (await (await post(body)).json()) as Answer;
  expect(errors).toEqual([]);
  return answer;
}

const textOf = async (body: object) => (await ask(body)).choices[0].text;

async function streamed(body: object): Promise<Answer[]> {
  return framesOf(await (await post({ ...body, stream: true })).text()) as Answer[];
}

describe("log-probabilities", () => {
  it("belong to the text, and the likeliest comes first", async () => {
    const { choices } = await ask({ logprobs: 3 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs;
    expect(tokens.join("")).toBe(choices[0].text);
    for (const [i, token] of tokens.entries()) {
      expect(choices[0].text.startsWith(token, text_offset[i])).toBe(true);
      expect(top_logprobs[i][token]).toBe(token_logprobs[i]);
      const others = Object.values(top_logprobs[i]);
      expect(others.length).toBeGreaterThanOrEqual(3);
      expect(others.reduce((sum, one) => sum + Math.exp(one), 0)).toBeLessThan(1 + 1e-9);
    }
  });

  it("are those of the row that was really used", async () => {
    const { choices } = await ask({ logprobs: 5, top_k: 2 });
    for (const top of choices[0].logprobs.top_logprobs) {
      const sum = Object.values(top).reduce((total, one) => total + Math.exp(one), 0);
      expect(sum).toBeCloseTo(1, 9);
      expect(Object.keys(top).length).toBeLessThanOrEqual(2);
    }
    const greedy = await ask({ logprobs: 5, temperature: 0 });
    expect(greedy.choices[0].logprobs.token_logprobs.every((one) => one === 0)).toBe(true);
  });

  it("are the same in a stream, with or without a draft", async () => {
    const { choices } = await ask({ logprobs: 2 });
    const frames = await streamed({ logprobs: 2, draft: "suffix" });
    const parts = frames.flatMap((frame) => frame.choices.flatMap(({ logprobs }) => logprobs ?? []));
    expect(parts.flatMap(({ tokens }) => tokens)).toEqual(choices[0].logprobs.tokens);
    expect(parts.flatMap(({ top_logprobs }) => top_logprobs)).toEqual(choices[0].logprobs.top_logprobs);
  });
});

describe("several texts of one prompt", () => {
  it("are those that seed, seed + 1, ... give alone", async () => {
    const alone = [await textOf({ seed: 7 }), await textOf({ seed: 8 }), await textOf({ seed: 9 })];
    const { choices } = await ask({ n: 3 });
    expect(choices.map(({ text }) => text)).toEqual(alone);
    const texts = ["", "", ""];
    for (const frame of await streamed({ n: 3 })) {
      for (const { index, text } of frame.choices) texts[index] += text;
    }
    expect(texts).toEqual(alone);
  });

  it("best_of gives the likeliest per token", async () => {
    const all = [];
    for (const seed of [7, 8, 9, 10]) all.push((await ask({ seed, logprobs: 0 })).choices[0]);
    const mean = ({ logprobs }: Choice) =>
      logprobs.token_logprobs.reduce((sum, one) => sum + one, 0) / logprobs.token_logprobs.length;
    const expected = all.sort((a, b) => mean(b) - mean(a)).slice(0, 2);
    const { choices } = await ask({ n: 2, best_of: 4 });
    expect(choices.map(({ text }) => text)).toEqual(expected.map(({ text }) => text));
  });
});

describe("speculation", () => {
  it.each(DRAFTER_NAMES)("%s changes no text, and says what it did", async (draft) => {
    const body = { temperature: 0.7, repetition_penalty: 1.1, top_k: 40, max_tokens: 80 };
    const plain = await ask(body);
    const drafted = await ask({ ...body, draft, speculation: { adaptive: false } });
    expect(drafted.choices).toEqual(plain.choices);
    expect(drafted.system_fingerprint).toBe(plain.system_fingerprint);
    expect(plain.speculation).toBeUndefined();
    const { accepted, drafted: count, accepted_at, tested_at, ...report } = drafted.speculation!;
    expect(report).toMatchObject({ drafter: draft, verifier: "match", reproducible: true, lossless: true });
    expect(count).toBeGreaterThan(0);
    expect(accepted_at.reduce((sum, one) => sum + one, 0)).toBe(accepted);
    expect(accepted_at.length).toBe(tested_at.length);
    expect(drafted.usage.completion_tokens_details).toMatchObject({
      accepted_prediction_tokens: accepted,
      rejected_prediction_tokens: count - accepted,
    });
    // All tokens but the prompt's own come from those calls; an end token is not told.
    const tokens = drafted.usage.completion_tokens - 1;
    const emitted = report.tokens_per_call * report.target_calls;
    expect([tokens, tokens + 1]).toContain(Math.round(emitted));
  });

  it("a right prediction is accepted", async () => {
    const expected = await textOf({ max_tokens: 40 });
    const prediction = { type: "content", content: expected };
    const { choices, speculation } = await ask({
      max_tokens: 40,
      prediction,
      speculation: { adaptive: false },
    });
    expect(choices[0].text).toBe(expected);
    expect(speculation!.accepted).toBeGreaterThan(10);
    expect(speculation!.tokens_per_call).toBeGreaterThan(1.5);
  });

  it.each(["token", "block", "typical"])("the verifier %s says what it is", async (verifier) => {
    const { speculation } = await ask({ draft: "ngram", verifier });
    expect(speculation).toMatchObject({ verifier, reproducible: false, lossless: verifier !== "typical" });
  });
});

describe("guided_choice", () => {
  const choice = [" was happy.", " was very sad.", " ran away"];

  it("gives one of the texts, and ends", async () => {
    const { choices, usage } = await ask({ guided_choice: choice, n: 4 });
    for (const { text, finish_reason } of choices) {
      expect(choice).toContain(text);
      expect(finish_reason).toBe("stop");
    }
    expect(usage.prompt_tokens).toBe(model.tokenizer.encode(PROMPT).length);
    const frames = await streamed({ guided_choice: choice });
    expect(frames.map((frame) => frame.choices[0].text).join("")).toBe(choices[0].text);
  });
});

describe("what leaves no token", () => {
  const nothing = { allowed_token_ids: [5], logit_bias: [[5, false]] };

  it("is the request's doing, in a stream too", async () => {
    const error = { type: "invalid_request_error", param: null, code: "no_token_left" };
    const response = await post(nothing);
    expect([response.status, await response.json()]).toMatchObject([400, { error }]);
    expect((await streamed(nothing)).at(-1)).toMatchObject({ error });
    expect(errors).toEqual([]);
  });
});

it("/metrics tells what beginnings that are kept were good for, as `cached_tokens` does", async () => {
  const scrape = async () => {
    const text = await (await app.request("/metrics")).text();
    return (name: string) =>
      Number(
        new RegExp(`^edgewise:prefix_cache_${name}\\{model_name="stories"\\} (.*)$`, "m").exec(text)![1],
      );
  };
  const prompt = Array.from({ length: 150 }, (_, i) => 20 + ((i * 13) % 200));
  const before = await scrape();
  const first = await ask({ prompt, max_tokens: 2 });
  const second = await ask({ prompt, max_tokens: 2 });
  const after = await scrape();
  expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
  expect(second.usage.prompt_tokens_details.cached_tokens).toBe(128);
  expect(after("queries_total") - before("queries_total")).toBe(300);
  expect(after("hits_total") - before("hits_total")).toBe(128);
  expect(after("evictions_total")).toBe(before("evictions_total"));
  expect(after("bytes")).toBeGreaterThan(before("bytes"));
});
