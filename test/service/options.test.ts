/** From the fields of a request to the options of the engine. */
import { describe, expect, it } from "vitest";
import { Lease } from "../../src/engine/lease.ts";
import type { GenerateManyOptions } from "../../src/engine/model.ts";
import { createTokenizer } from "../../src/model/tokenizer.ts";
import { spellings } from "../../src/service/options/tokens.ts";
import { fakeModel, fakeService } from "./fake-model.ts";

interface Refusal {
  message: string;
  param: string;
  code: string;
}

const { post, model } = fakeService();
const complete = (body: object) => post("/v1/completions", { prompt: "a", ...body });

/** What the engine was asked, without what it is asked each time. */
async function optionsOf(body: object): Promise<GenerateManyOptions> {
  model.asked.length = 0;
  const response = await complete(body);
  expect(await response.json()).toMatchObject({ choices: expect.any(Array) });
  const { signal, lease, ...options } = model.asked[0].options;
  expect(signal).toBeInstanceOf(AbortSignal);
  expect(lease).toBeInstanceOf(Lease);
  return options;
}

async function refusal(body: object): Promise<Refusal> {
  const response = await complete(body);
  const { error } = (await response.json()) as { error: Refusal };
  expect(response.status).toBe(400);
  return error;
}

const bytes = (text: string) => [...new TextEncoder().encode(text)];
const BREAKERS = ["\n", " \n", ":", " :", '"', ' "', "*", " *"].map(bytes);

describe("every field reaches the engine", () => {
  it.each<[object, GenerateManyOptions]>([
    [{ max_tokens: 2 }, { maxTokens: 2 }],
    [{ max_completion_tokens: 3 }, { maxTokens: 3 }],
    [{ max_tokens: 1e9 }, { maxTokens: 64 }],
    [{ stop: "x" }, { stop: ["x"] }],
    [{ stop: ["x", "y"] }, { stop: ["x", "y"] }],
    [{ ignore_eos: true }, { ignoreEos: true }],
    [{ n: 3 }, { n: 3 }],
    [
      { n: 2, best_of: 3 },
      { n: 2, bestOf: 3 },
    ],
    [{ logprobs: 0 }, { logProbabilities: 0 }],
    [{ logprobs: 20 }, { logProbabilities: 20 }],
    [{ seed: 3 }, { seed: 3 }],
    [{ seed: -1 }, {}],
    [{ sampler_preset: "llamacpp" }, { preset: "llamacpp" }],
    [{ pipeline: [{ step: "top-k", k: 2 }] }, { pipeline: [{ step: "top-k", k: 2 }] }],
    [{ temperature: 0 }, { temperature: 0 }],
    [{ dynatemp_range: 0.5 }, { dynamicTemperature: { range: 0.5 } }],
    [
      { temperature: 1.5, dynatemp_range: 0.5, dynatemp_exponent: 2 },
      { temperature: 1.5, dynamicTemperature: { range: 0.5, exponent: 2 } },
    ],
    [{ top_k: 7 }, { topK: 7 }],
    [{ top_k: -1 }, { topK: 0 }],
    [{ top_k: 2 ** 40 }, { topK: 258 }],
    [{ top_p: 0.9 }, { topP: 0.9 }],
    [{ top_p: 0 }, { topP: 1e-9 }],
    [{ min_p: 0.1 }, { minP: 0.1 }],
    [{ typical_p: 0.2 }, { typicalP: 0.2 }],
    [{ top_n_sigma: 1.5 }, { topNSigma: 1.5 }],
    [{ top_h: 0.4 }, { topH: 0.4 }],
    [{ epsilon_cutoff: 0.001 }, { epsilonCutoff: 0.001 }],
    [{ eta_cutoff: 0.002 }, { etaCutoff: 0.002 }],
    [{ xtc_probability: 0.5, xtc_threshold: 0.2 }, { xtc: { probability: 0.5, threshold: 0.2 } }],
    [{ xtc_probability: 0.5 }, { xtc: { probability: 0.5, threshold: 0.1 } }],
    [{ mirostat: 1 }, { mirostat: { version: 1 } }],
    [{ mirostat: 2, mirostat_tau: 4, mirostat_eta: 0.2 }, { mirostat: { version: 2, tau: 4, eta: 0.2 } }],
    [{ confidence_limit: { max_probability: 0.9 } }, { confidenceLimit: { maxProbability: 0.9 } }],
    [{ confidence_limit: { min_entropy: 0.5 } }, { confidenceLimit: { minEntropy: 0.5 } }],
    [{ repetition_penalty: 1.2 }, { repetitionPenalty: 1.2 }],
    [{ repeat_penalty: 1.2 }, { repetitionPenalty: 1.2 }],
    [{ repeat_penalty: 1.2, repetition_penalty: 1.2 }, { repetitionPenalty: 1.2 }],
    [{ repeat_last_n: 0 }, { penaltyLastN: 0 }],
    [{ repeat_last_n: -1 }, { penaltyLastN: -1 }],
    [{ presence_penalty: -2 }, { presencePenalty: -2 }],
    [{ frequency_penalty: 0.1 }, { frequencyPenalty: 0.1 }],
    [{ no_repeat_ngram_size: 3 }, { noRepeatNgram: 3 }],
    [{ dry_multiplier: 0.8 }, { dry: { multiplier: 0.8, breakers: BREAKERS } }],
    [
      {
        dry_multiplier: 0.8,
        dry_base: 2,
        dry_allowed_length: 3,
        dry_penalty_last_n: 9,
        dry_sequence_breakers: ["ab"],
      },
      {
        dry: { multiplier: 0.8, base: 2, allowedLength: 3, lastN: 9, breakers: [bytes("ab"), bytes(" ab")] },
      },
    ],
    [
      { dry_multiplier: 0.8, dry_penalty_last_n: -1, dry_sequence_breakers: [] },
      { dry: { multiplier: 0.8, lastN: 0, breakers: [] } },
    ],
    [{ logit_bias: { 5: -100, "97": 2.5 } }, { logitBias: { 5: -100, 97: 2.5 } }],
    [
      {
        logit_bias: [
          [5, 1],
          ["ab", 0.5],
          [97, 1],
        ],
      },
      { logitBias: { 5: 1, 97: 1.5, 98: 0.5 } },
    ],
    [
      {
        logit_bias: [
          ["ab", false],
          [5, 1],
        ],
      },
      { logitBias: { 5: 1 }, badWords: [[97], [98]] },
    ],
    [{ bad_words: ["ab", " c"] }, { badWords: [bytes("ab"), bytes(" ab"), bytes(" c")] }],
    [{ allowed_token_ids: [1, 257] }, { allowedIds: [1, 257] }],
    [{ min_tokens: 4 }, { minTokens: 4 }],
    [{ draft: "none" }, { draft: "none" }],
    [{ draft: "recycling-tree" }, { draft: "recycling-tree" }],
    [{ prediction: { type: "content", content: "x" } }, { prediction: "x" }],
    [
      {
        prediction: {
          type: "content",
          content: [
            { type: "text", text: "x" },
            { type: "text", text: "y" },
          ],
        },
      },
      { prediction: "xy" },
    ],
    [
      { draft: "suffix", verifier: "match" },
      { draft: "suffix", verifier: { verifier: "match" } },
    ],
    [
      { draft: "suffix", verifier: { verifier: "typical", epsilon: 0.2 } },
      { draft: "suffix", verifier: { verifier: "typical", epsilon: 0.2, delta: 0.3 } },
    ],
    [
      { verifier: { verifier: "relaxed", topK: 4, boundary: 9 } },
      { verifier: { verifier: "relaxed", topK: 4, ratio: 0.5, boundary: 9 } },
    ],
    [
      { verifier: { verifier: "threshold", threshold: 0.5 } },
      { verifier: { verifier: "threshold", threshold: 0.5 } },
    ],
    [
      { verifier: { verifier: "target-only-threshold", acceptThreshold: 0.5, singleThreshold: 0.9 } },
      { verifier: { verifier: "target-only-threshold", acceptThreshold: 0.5, singleThreshold: 0.9 } },
    ],
    [{ speculation: { gamma: 4 } }, { speculation: { gamma: 4 } }],
    [{ speculation: { tree: false, adaptive: true } }, { speculation: { tree: false, adaptive: true } }],
  ])("%j", async (body, options) => {
    expect(await optionsOf(body)).toEqual({ maxTokens: 16, n: 1, ...options });
  });

  it("nothing: the engine's defaults", async () => {
    expect(await optionsOf({})).toEqual({ maxTokens: 16, n: 1 });
    await post("/v1/chat/completions", { messages: [{ role: "user", content: "a" }] });
    expect(model.asked.at(-1)!.options).toEqual({
      n: 1,
      signal: expect.any(AbortSignal),
      lease: expect.any(Lease),
    });
  });

  it("null is nothing", async () => {
    const names = Object.keys((await import("../../src/service/schemas/sampling.ts")).samplingFields);
    const all = [
      ...names,
      "draft",
      "prediction",
      "verifier",
      "speculation",
      "stop",
      "n",
      "best_of",
      "logprobs",
    ];
    expect(await optionsOf(Object.fromEntries(all.map((name) => [name, null])))).toEqual({
      maxTokens: 16,
      n: 1,
    });
  });

  it("what is switched off is nothing, and no preset minds it", async () => {
    const off = {
      typical_p: 1,
      top_n_sigma: -1,
      epsilon_cutoff: 0,
      eta_cutoff: 0,
      repetition_penalty: 1,
      presence_penalty: 0,
      frequency_penalty: 0,
      no_repeat_ngram_size: 0,
      min_tokens: 0,
      dynatemp_range: 0,
      xtc_probability: 0,
      xtc_threshold: 0.1,
      mirostat: 0,
      mirostat_tau: 5,
      dry_multiplier: 0,
      dry_base: 1.75,
      bad_words: [],
      logit_bias: {},
    };
    for (const preset of ["edgewise", "llamacpp", "vllm", "hf", "webllm"] as const) {
      expect(await optionsOf({ sampler_preset: preset, ...off })).toEqual({ preset, maxTokens: 16, n: 1 });
    }
    expect(await optionsOf({ dry_multiplier: 1, dry_penalty_last_n: 0 })).toEqual({ maxTokens: 16, n: 1 });
  });
});

describe("a wrong value is refused under the request's name", () => {
  it.each<[object, string, string]>([
    // By the schema.
    [{ temperature: 2.1 }, "temperature", "invalid_value"],
    [{ top_p: 1.1 }, "top_p", "invalid_value"],
    [{ top_k: -2 }, "top_k", "invalid_value"],
    [{ typical_p: "x" }, "typical_p", "invalid_type"],
    [{ mirostat: 3 }, "mirostat", "invalid_value"],
    [{ presence_penalty: 2.1 }, "presence_penalty", "invalid_value"],
    [{ sampler_preset: "mine" }, "sampler_preset", "invalid_value"],
    [{ confidence_limit: { max_prob: 1 } }, "confidence_limit.max_prob", "unknown_parameter"],
    [{ repeat_penalty: 1.1, repetition_penalty: 1.2 }, "repeat_penalty", "invalid_value"],
    [{ bad_words: ["a", ""] }, "bad_words[1]", "invalid_value"],
    [{ dry_multiplier: 1, dry_sequence_breakers: [5] }, "dry_sequence_breakers[0]", "invalid_type"],
    [{ draft: "guess" }, "draft", "invalid_value"],
    [{ prediction: "x" }, "prediction", "invalid_type"],
    [{ prediction: { type: "content" } }, "prediction.content", "missing_required_parameter"],
    [{ speculation: { gamma: 65 } }, "speculation.gamma", "invalid_value"],
    [{ speculation: { depth: 5 } }, "speculation.depth", "unknown_parameter"],
    // Against the model's vocabulary.
    [{ logit_bias: [["a".repeat(101), 1]] }, "logit_bias[0][0]", "invalid_value"],
    [{ bad_words: "a".repeat(101) }, "bad_words[0]", "invalid_value"],
    [{ logit_bias: 5 }, "logit_bias", "invalid_value"],
    [{ logit_bias: { 258: 1 } }, "logit_bias", "invalid_value"],
    [{ logit_bias: { x: 1 } }, "logit_bias", "invalid_value"],
    [{ logit_bias: { 5: 101 } }, "logit_bias.5", "invalid_value"],
    [{ logit_bias: { 5: null } }, "logit_bias.5", "invalid_value"],
    [{ logit_bias: [[1]] }, "logit_bias[0]", "invalid_value"],
    [{ logit_bias: [[1, true]] }, "logit_bias[0][1]", "invalid_value"],
    [{ logit_bias: [[-1, 1]] }, "logit_bias[0][0]", "invalid_value"],
    [{ allowed_token_ids: [] }, "allowed_token_ids", "invalid_value"],
    [{ allowed_token_ids: [1, 258] }, "allowed_token_ids[1]", "invalid_value"],
    // By the engine.
    [{ dynatemp_range: -1 }, "dynatemp_range", "invalid_value"],
    [{ dynatemp_range: 1, dynatemp_exponent: 0 }, "dynatemp_exponent", "invalid_value"],
    [{ typical_p: 0 }, "typical_p", "invalid_value"],
    [{ top_n_sigma: 1001 }, "top_n_sigma", "invalid_value"],
    [{ top_h: 2 }, "top_h", "invalid_value"],
    [{ epsilon_cutoff: 2 }, "epsilon_cutoff", "invalid_value"],
    [{ eta_cutoff: -1 }, "eta_cutoff", "invalid_value"],
    [{ xtc_probability: 2 }, "xtc_probability", "invalid_value"],
    [{ xtc_probability: 1, xtc_threshold: 2 }, "xtc_threshold", "invalid_value"],
    [{ mirostat: 1, mirostat_tau: -1 }, "mirostat_tau", "invalid_value"],
    [{ mirostat: 2, mirostat_eta: 2 }, "mirostat_eta", "invalid_value"],
    [{ confidence_limit: { max_probability: 0 } }, "confidence_limit.max_probability", "invalid_value"],
    [{ confidence_limit: { min_entropy: 21 } }, "confidence_limit.min_entropy", "invalid_value"],
    [{ repeat_last_n: 2 ** 31 }, "repeat_last_n", "invalid_value"],
    [{ no_repeat_ngram_size: 65 }, "no_repeat_ngram_size", "invalid_value"],
    [{ min_tokens: 2 ** 31 }, "min_tokens", "invalid_value"],
    [{ dry_multiplier: -1 }, "dry_multiplier", "invalid_value"],
    [{ dry_multiplier: 1, dry_base: 0 }, "dry_base", "invalid_value"],
    [{ dry_multiplier: 1, dry_allowed_length: 0 }, "dry_allowed_length", "invalid_value"],
    [{ dry_multiplier: 1, dry_penalty_last_n: 2 ** 31 }, "dry_penalty_last_n", "invalid_value"],
    [
      { dry_multiplier: 1, dry_sequence_breakers: ["a".repeat(21)] },
      "dry_sequence_breakers",
      "invalid_value",
    ],
    [{ bad_words: ["€".repeat(100)] }, "bad_words", "invalid_value"],
    // By preset and pipeline.
    [{ sampler_preset: "vllm", xtc_probability: 0.5 }, "xtc_probability", "invalid_value"],
    [{ sampler_preset: "webllm", top_k: 5 }, "top_k", "invalid_value"],
    [{ pipeline: [], temperature: 0.5 }, "temperature", "invalid_type"],
    [{ pipeline: [], logit_bias: [[5, false]] }, "logit_bias", "invalid_type"],
    [{ pipeline: [], sampler_preset: "hf" }, "sampler_preset", "invalid_type"],
    [{ pipeline: 5 }, "pipeline", "invalid_type"],
    [{ pipeline: [{ step: "magic" }] }, "pipeline[0].step", "invalid_value"],
    [{ pipeline: [{ step: "top-k", k: -1 }] }, "pipeline[0].k", "invalid_value"],
    [{ pipeline: [{ step: "top-k", k: 1, z: 1 }] }, "pipeline[0]", "invalid_type"],
    // The verifier.
    [{ verifier: "guess" }, "verifier", "invalid_value"],
    [{ verifier: 5 }, "verifier", "invalid_type"],
    [{ verifier: {} }, "verifier.verifier", "invalid_type"],
    [{ verifier: { verifier: "typical", epsilon: 2 } }, "verifier.epsilon", "invalid_value"],
    [{ verifier: { verifier: "typical", sample: 2 } }, "verifier", "invalid_type"],
    [{ verifier: { verifier: "match", sample: 2 } }, "verifier", "invalid_type"],
    [{ verifier: "threshold" }, "verifier.threshold", "invalid_type"],
    [{ verifier: { verifier: "relaxed", boundary: 258 } }, "verifier.boundary", "invalid_value"],
    [{ verifier: "sequoia" }, "verifier", "invalid_value"],
    [{ draft: "recycling-tree", verifier: "block" }, "verifier", "invalid_value"],
  ])("%j -> %s", async (body, param, code) => {
    model.asked.length = 0;
    const error = await refusal(body);
    expect(error).toMatchObject({ param, code, type: "invalid_request_error" });
    expect(error.message).toContain(`"${param}"`);
    // A stream is refused as early.
    expect((await complete({ ...body, stream: true })).status).toBe(400);
    expect(model.asked).toEqual([]);
  });

  it("bounds what must be tokenized", async () => {
    const pair = ["word", 1];
    expect(await refusal({ logit_bias: Array(4097).fill(pair) })).toMatchObject({ param: "logit_bias" });
    expect(await refusal({ bad_words: Array(1001).fill("word") })).toMatchObject({ param: "bad_words" });
    expect(await refusal({ guided_choice: Array(257).fill("word") })).toMatchObject({
      param: "guided_choice",
    });
  });

  it("with the engine's reason", async () => {
    expect((await refusal({ min_p: -1 })).message).toBe('"min_p" must be a number from 0 to 1, got -1');
    expect((await refusal({ typical_p: 0 })).message).toBe(
      '"typical_p" must be above 0 and at most 1, got 0',
    );
    expect((await refusal({ sampler_preset: "webllm", min_p: 0.1 })).message).toBe(
      '"min_p" must be left out with preset "webllm", which has no step for it',
    );
  });
});

describe("system_fingerprint", () => {
  const fingerprint = async (body: object) =>
    ((await (await complete(body)).json()) as { system_fingerprint: string }).system_fingerprint;

  it("is that of model and steps, their order included", async () => {
    const steps = [
      { step: "top-k", k: 5 },
      { step: "top-p", p: 0.5 },
    ];
    const all = [
      await fingerprint({}),
      await fingerprint({ temperature: 0.5 }),
      await fingerprint({ sampler_preset: "hf" }),
      await fingerprint({ pipeline: steps }),
      await fingerprint({ pipeline: [...steps].reverse() }),
    ];
    expect(new Set(all).size).toBe(5);
    expect(all[1]).toBe(model.requestFingerprint({ temperature: 0.5 }));
    expect(await fingerprint({ seed: 5, draft: "suffix", max_tokens: 1 })).toBe(all[0]);
  });
});

describe("texts as tokens", () => {
  /** SentencePiece, which puts a space before a text. */
  const sentencePiece = createTokenizer(
    new Map<string, unknown>([
      ["tokenizer.ggml.model", "llama"],
      ["tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "▁a", "▁ab", "ab", ":"]],
      ["tokenizer.ggml.scores", [0, 0, 0, 0, -9, -9, -9, -3, -1, -2, -9]],
      ["tokenizer.ggml.token_type", [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1]],
    ]) as never,
  );

  it("are spelled as in the middle of a text, and as a word", () => {
    expect(spellings(sentencePiece, ["ab"])).toEqual([[9], [8]]);
    expect(spellings(sentencePiece, [" ab", "ab"])).toEqual([[8], [9]]);
    expect(spellings(sentencePiece, ["\n", ":"])).toEqual([[3], [4, 3], [10], [4, 10]]);
    expect(spellings(fakeModel().tokenizer, ["é"])).toEqual([bytes("é"), bytes(" é")]);
  });
});
