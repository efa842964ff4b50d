/** What an answer says of speculation, and answers that are one of several texts. */

import { describe, expect, it } from "vitest";
import type { Constraint } from "../../src/decoding/constraint.ts";
import type { SpeculationSummary } from "../../src/engine/model.ts";
import { speculationOf, usageOf } from "../../src/service/usage.ts";
import { EOS, fakeModel, fakeService, framesOf } from "./fake-model.ts";

const SUMMARY: SpeculationSummary = {
  drafter: "suffix",
  verifier: "match",
  reproducible: true,
  lossless: true,
  drafted: 10,
  tested: 8,
  accepted: 6,
  targetCalls: 3,
  tokensPerCall: 3,
  acceptanceRate: 0.75,
  testedAt: [3, 3, 2],
  acceptedAt: [3, 2, 1],
  ms: { draft: 0.12345, target: 5, sample: 1 },
};

const REPORT = {
  drafter: "suffix",
  verifier: "match",
  drafted: 10,
  accepted: 6,
  target_calls: 3,
  tokens_per_call: 3,
  acceptance_rate: 0.75,
  accepted_at: [3, 2, 1],
  tested_at: [3, 3, 2],
  reproducible: true,
  lossless: true,
  timings: { draft_ms: 0.123, target_ms: 5, sample_ms: 1 },
};

const DETAILS = {
  accepted_prediction_tokens: 6,
  rejected_prediction_tokens: 4,
  reasoning_tokens: 0,
  audio_tokens: 0,
};

const service = () => fakeService(fakeModel({ reply: "Hi", speculation: SUMMARY }));

async function frames(body: object) {
  const response = await service().post("/v1/completions", { prompt: "a", stream: true, ...body });
  return framesOf(await response.text()) as { usage?: object | null; speculation?: object }[];
}

describe("an answer that was drafted for", () => {
  it.each([
    ["/v1/completions", { prompt: "a", draft: "suffix" }],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: "a" }], prediction: { type: "content", content: "x" } },
    ],
  ])("says what came of it: %s", async (path, body) => {
    const answer = await (await service().post(path, body)).json();
    expect(answer).toMatchObject({ speculation: REPORT, usage: { completion_tokens_details: DETAILS } });
    const plain = await (await service().post(path, { ...body, draft: "none", prediction: null })).json();
    expect(plain).not.toHaveProperty("speculation");
    expect(plain).not.toHaveProperty("usage.completion_tokens_details");
  });

  it("says it on the last chunk of a stream", async () => {
    const alone = await frames({ draft: "suffix", n: 2 });
    expect(alone.map(({ speculation }) => speculation !== undefined)).toEqual([
      ...Array(alone.length - 1).fill(false),
      true,
    ]);
    expect(alone.at(-1)).toMatchObject({ speculation: { drafted: 20 }, choices: [{ index: 1 }] });
    const withUsage = await frames({ draft: "suffix", stream_options: { include_usage: true } });
    expect(withUsage.filter(({ speculation }) => speculation !== undefined)).toEqual([withUsage.at(-1)]);
    expect(withUsage.at(-1)).toMatchObject({
      choices: [],
      speculation: REPORT,
      usage: { completion_tokens_details: DETAILS },
    });
  });
});

describe("several choices", () => {
  const result = (speculation?: SpeculationSummary) => ({
    promptTokens: [1],
    cachedTokens: 0,
    tokens: [1, 2],
    speculation,
  });

  it("add up; rates are of the sums", () => {
    const other: SpeculationSummary = {
      ...SUMMARY,
      drafted: 2,
      tested: 2,
      accepted: 0,
      targetCalls: 2,
      tokensPerCall: 1,
      testedAt: [2],
      acceptedAt: [0],
      lossless: false,
      ms: { draft: 1, target: 1, sample: 0 },
    };
    expect(speculationOf([result(SUMMARY), result(other)])).toEqual({
      ...REPORT,
      drafted: 12,
      accepted: 6,
      target_calls: 5,
      tokens_per_call: 11 / 5,
      acceptance_rate: 0.6,
      accepted_at: [3, 2, 1],
      tested_at: [5, 3, 2],
      lossless: false,
      timings: { draft_ms: 1.123, target_ms: 6, sample_ms: 1 },
    });
    expect(usageOf([[1], [2, 3]], [result(SUMMARY), result(other)])).toEqual({
      prompt_tokens: 3,
      prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
      completion_tokens: 4,
      total_tokens: 7,
      completion_tokens_details: { ...DETAILS, rejected_prediction_tokens: 6 },
    });
  });

  it("without a call are at one token per call", () => {
    const idle = {
      ...SUMMARY,
      tested: 0,
      accepted: 0,
      drafted: 0,
      targetCalls: 0,
      testedAt: [],
      acceptedAt: [],
    };
    expect(speculationOf([result(idle)])).toMatchObject({
      tokens_per_call: 1,
      acceptance_rate: 0,
      accepted_at: [],
    });
    expect(speculationOf([result()])).toBeUndefined();
  });
});

describe("guided_choice", () => {
  const ask = async (body: object) => {
    const { post, model } = fakeService();
    const response = await post("/v1/completions", { prompt: "a", guided_choice: ["yes", "no"], ...body });
    const { error, ...answer } = (await response.json()) as {
      error?: { param: string };
      choices: { index: number }[];
      usage: { prompt_tokens: number };
    };
    return { error, answer, asked: model.asked };
  };

  it("makes a constraint of the texts, one for each answer", async () => {
    const { answer, asked } = await ask({ prompt: ["a", "b"], n: 2, seed: 5 });
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(answer.usage.prompt_tokens).toBe(4);
    expect(asked.map(({ prompt, options }) => [prompt[1], options.seed, options.n])).toEqual([
      [97, 5, 1],
      [97, 6, 1],
      [98, 5, 1],
      [98, 6, 1],
    ]);
    const constraints = asked.map(({ options }) => options.constraint as Constraint);
    for (const constraint of constraints) {
      for (const token of new TextEncoder().encode("no")) constraint.accept(token);
      expect(constraint.onlyToken()).toBe(EOS);
    }
    expect(new Set(constraints).size).toBe(4);
  });

  it("is nothing without texts", async () => {
    for (const nothing of [[], null]) {
      expect((await ask({ guided_choice: nothing })).asked[0].options).not.toHaveProperty("constraint");
    }
  });

  it.each([
    [{ ignore_eos: true }, "ignore_eos"],
    [{ pipeline: [{ step: "temperature", temperature: 0 }] }, "pipeline"],
    [{ best_of: 2 }, "best_of"],
    [{ guided_choice: ["yes", ""] }, "guided_choice[1]"],
    [{ guided_choice: 5 }, "guided_choice"],
  ])("refuses %j", async (body, param) => {
    expect((await ask(body)).error).toMatchObject({ param });
  });
});
