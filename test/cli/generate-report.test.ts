import { describe, expect, it } from "vitest";
import { statistics, summary } from "../../src/cli/generate-report.ts";
import type { GenerateResult, Model, SpeculationSummary } from "../../src/node.ts";

const model = {
  name: "tiny",
  backend: "wasm",
  build: "simd",
  loadMs: 12.34,
  tokenizer: { vocab: 3, decode: ([token]: number[]) => `<${token}>` },
} as Partial<Model> as Model;

const suffix: SpeculationSummary = {
  drafter: "suffix",
  verifier: "match",
  reproducible: true,
  lossless: true,
  drafted: 52,
  tested: 40,
  accepted: 38,
  targetCalls: 36,
  tokensPerCall: 2.1,
  acceptanceRate: 0.95,
  testedAt: [30, 10],
  acceptedAt: [29, 9],
  ms: { draft: 1, target: 2, sample: 3 },
};

function result(fields: Partial<GenerateResult> = {}): GenerateResult {
  return {
    promptTokens: [0, 1],
    cachedTokens: 0,
    tokens: [2, 1],
    text: "ab",
    finishReason: "length",
    logProbability: -1.5,
    timings: { prompt_ms: 1, prompt_tokens_per_second: 2000, decode_ms: 4, tokens_per_second: 250 },
    fingerprint: "00ff",
    backend: "wasm",
    seed: 7,
    ...fields,
  };
}

describe("statistics", () => {
  it("says model, prompt, text, end and seed", () => {
    expect(statistics(model, [result()], false)).toBe(
      "tiny on wasm simd: loaded in 12.3 ms; prompt 2 tokens in 1.0 ms (2000.0/s); " +
        "2 tokens in 4.0 ms (250.0/s); finish: length; seed 7",
    );
  });

  it("says why a model is not where it was to be", () => {
    const fallback = "Cannot use WebGPU: there is no adapter";
    const moved = { ...model, fallback };
    expect(statistics(moved, [result()], true)).toContain(`loaded in 12.3 ms; ${fallback}; prompt`);
    expect(summary(moved, [result()], false)).toMatchObject({ backend: "wasm", build: "simd", fallback });
    expect(summary(moved, [result(), result()], true)).toMatchObject({ fallback });
    expect(summary(model, [result()], false)).not.toHaveProperty("fallback");
  });

  it("has no seed where none was used, and no build where there is none", () => {
    const line = statistics({ ...model, backend: "reference", build: null }, [result()], true);
    expect(line).toMatch(/^tiny on reference: .*; finish: length$/);
  });

  it.each([
    ["suffix: 38 of 52 drafted accepted, 2.1 tokens per pass", {}],
    ["suffix with block: 38", { verifier: "block", reproducible: false }],
    ["suffix with typical (lossy): 38", { verifier: "typical", reproducible: false, lossless: false }],
    [
      "0 of 0 drafted accepted, 1.0 tokens per pass",
      { drafted: 0, accepted: 0, targetCalls: 0, tokensPerCall: 1 },
    ],
  ] as const)("mentions speculation: %s", (words, fields) => {
    expect(statistics(model, [result({ speculation: { ...suffix, ...fields } })], true)).toContain(words);
  });

  it("adds several texts up", () => {
    const other = result({ tokens: [1, 1, 1], seed: 8, finishReason: "stop" });
    const slower = { ...other, timings: { ...other.timings, decode_ms: 8, tokens_per_second: 300 } };
    const twice = { ...suffix, drafted: 8, accepted: 2, targetCalls: 12, tokensPerCall: 1.4 };
    const line = statistics(
      model,
      [result({ speculation: suffix }), { ...slower, speculation: twice }],
      false,
    );
    expect(line).toContain("; 2 texts of 5 tokens in 8.0 ms (550.0/s); ");
    // (36 · 2.1 + 12 · 1.4) / 48
    expect(line).toContain("; suffix: 40 of 60 drafted accepted, 1.9 tokens per pass; ");
    expect(line).toMatch(/; finish: length, stop; seed 7, 8$/);
  });
});

describe("summary", () => {
  const common = { prompt_tokens: [0, 1], backend: "wasm", build: "simd", fingerprint: "00ff" };
  const timings = { prompt_ms: 1, prompt_tokens_per_second: 2000, decode_ms: 4, tokens_per_second: 250 };
  const text = { tokens: [2, 1], text: "ab", finish_reason: "length", seed: 7 };

  it("has one text on its own", () => {
    expect(summary(model, [result()], false)).toEqual({
      ...common,
      ...text,
      timings: { load_ms: 12.34, ...timings },
    });
  });

  it("has several texts as choices, and one if that was asked for", () => {
    expect(summary(model, [result(), result({ seed: 8 })], true)).toEqual({
      ...common,
      choices: [
        { index: 0, ...text, timings },
        { index: 1, ...text, timings, seed: 8 },
      ],
      timings: { load_ms: 12.34 },
    });
    expect(summary(model, [result()], true)).toMatchObject({ choices: [{ index: 0 }] });
  });

  it("tells log-probabilities with the tokens' texts; ids beside the vocabulary have none", () => {
    const logProbabilities = [
      { token: 2, logProbability: -0.5, top: [{ token: 3, logProbability: -0.1 }] },
      { token: 1, logProbability: -1, top: [] },
    ];
    expect(summary(model, [result({ logProbabilities })], false)).toMatchObject({
      logprobs: [
        { token: 2, text: "<2>", logprob: -0.5, top: [{ token: 3, text: "", logprob: -0.1 }] },
        { token: 1, text: "<1>", logprob: -1, top: [] },
      ],
    });
  });

  it("tells what speculation did", () => {
    expect(summary(model, [result({ speculation: suffix })], false)).toMatchObject({
      speculation: {
        drafter: "suffix",
        verifier: "match",
        drafted: 52,
        accepted: 38,
        target_calls: 36,
        tokens_per_call: 2.1,
        acceptance_rate: 0.95,
        reproducible: true,
        lossless: true,
        tested_at: [30, 10],
        accepted_at: [29, 9],
        timings: { draft_ms: 1, target_ms: 2, sample_ms: 3 },
      },
    });
  });
});
