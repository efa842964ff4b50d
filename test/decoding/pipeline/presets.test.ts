import { describe, expect, it } from "vitest";
import {
  createPipeline,
  fingerprint,
  PRESET_NAMES,
  type PresetName,
  type PresetOptions,
  presetSteps,
} from "../../../src/decoding/pipeline.ts";
import { expectLaw, law, normalized, rowOf, support } from "./support.ts";

const orderOf = (name: PresetName, options: PresetOptions) =>
  createPipeline(presetSteps(name, options)).steps.map(({ step }) => step);

const CONSTRAINTS: PresetOptions = {
  logitBias: { 1: 1 },
  badWords: [[1]],
  allowedIds: [1, 2],
  minTokens: 1,
  endTokens: [2],
  repetitionPenalty: 1.1,
  temperature: 0.7,
  topP: 0.9,
};
const PENALTIES: PresetOptions = { presencePenalty: 1, frequencyPenalty: 1 };

describe("presets", () => {
  it("llamacpp: temperature last", () => {
    const options: PresetOptions = {
      ...CONSTRAINTS,
      ...PENALTIES,
      topNSigma: 2,
      typicalP: 0.9,
      xtc: { probability: 0.5, threshold: 0.1 },
      dry: { multiplier: 0.8 },
    };
    expect(orderOf("llamacpp", options)).toEqual([
      "bitmask",
      "allowed-ids",
      "bad-words",
      "min-tokens",
      "logit-bias",
      "repetition-penalty",
      "frequency-penalty",
      "presence-penalty",
      "dry",
      "top-n-sigma",
      "top-k",
      "typical",
      "top-p",
      "min-p",
      "xtc",
      "temperature",
    ]);
    expect(orderOf("llamacpp", { dynamicTemperature: { range: 0.5 } })).toEqual([
      "bitmask",
      "top-k",
      "top-p",
      "min-p",
      "dynamic-temperature",
    ]);
  });

  it("llamacpp: mirostat replaces all but the temperature", () => {
    const mirostat = { version: 2, tau: 6 } as const;
    expect(orderOf("llamacpp", { mirostat, topK: 5, repetitionPenalty: 2 })).toEqual([
      "bitmask",
      "temperature",
      "mirostat-2",
    ]);
    expect(presetSteps("llamacpp", { mirostat: { version: 1 } }).at(-1)).toEqual({ step: "mirostat" });
  });

  it("vllm: temperature before truncation", () => {
    expect(orderOf("vllm", { ...CONSTRAINTS, ...PENALTIES, topK: 9, minP: 0.1 })).toEqual([
      "bitmask",
      "allowed-ids",
      "bad-words",
      "min-tokens",
      "logit-bias",
      "repetition-penalty",
      "frequency-penalty",
      "presence-penalty",
      "temperature",
      "min-p",
      "top-k",
      "top-p",
    ]);
  });

  it("hf: processors, then warpers", () => {
    const options: PresetOptions = {
      ...CONSTRAINTS,
      topK: 9,
      minP: 0.1,
      typicalP: 0.9,
      topH: 0.5,
      epsilonCutoff: 0.01,
      etaCutoff: 0.01,
      noRepeatNgram: 3,
    };
    expect(orderOf("hf", options)).toEqual([
      "logit-bias",
      "repetition-penalty",
      "no-repeat-ngram",
      "bitmask",
      "allowed-ids",
      "bad-words",
      "min-tokens",
      "temperature",
      "top-h",
      "top-k",
      "top-p",
      "min-p",
      "typical",
      "epsilon-cutoff",
      "eta-cutoff",
    ]);
  });

  it("webllm: subtracted penalties first", () => {
    expect(orderOf("webllm", { ...CONSTRAINTS, ...PENALTIES })).toEqual([
      "bitmask",
      "allowed-ids",
      "bad-words",
      "min-tokens",
      "logit-bias",
      "presence-penalty",
      "frequency-penalty",
      "repetition-penalty",
      "temperature",
      "top-p",
    ]);
  });

  it("have the defaults of their runtimes", () => {
    expect(createPipeline(presetSteps("llamacpp")).steps).toEqual([
      { step: "bitmask" },
      { step: "top-k", k: 40, ties: "lowest" },
      { step: "top-p", p: 0.95 },
      { step: "min-p", p: 0.05 },
      { step: "temperature", temperature: 0.8 },
    ]);
    expect(createPipeline(presetSteps("vllm")).steps).toEqual([{ step: "bitmask" }]);
    expect(createPipeline(presetSteps("hf")).steps).toEqual([
      { step: "bitmask" },
      { step: "top-k", k: 50, ties: "all" },
    ]);
    expect(createPipeline(presetSteps("webllm")).steps).toEqual([{ step: "bitmask" }]);
  });

  it("differ where their orders do", () => {
    const row = rowOf(0.4, 0.3, 0.2, 0.1);
    const options = { temperature: 0.5, topP: 0.75, topK: 0, minP: 0 };
    // Sharpened first, two tokens reach 0.75 of 16 + 9 + 4 + 1; else it takes three of 0.4 + 0.3 + 0.2.
    expectLaw(law(row, presetSteps("hf", options)), normalized(16, 9, 0, 0), 1e-12);
    expectLaw(law(row, presetSteps("vllm", options)), normalized(16, 9, 0, 0), 1e-12);
    expectLaw(law(row, presetSteps("llamacpp", options)), normalized(16, 9, 4, 0), 1e-12);
  });

  it("differ in scopes, ties and lowest temperatures", () => {
    const penalty = { presencePenalty: 50 };
    const where = { history: [0, 1], promptLength: 1 };
    const row = new Float64Array(3);
    const lost = (name: PresetName, options: PresetOptions) =>
      law(row, presetSteps(name, options), where).flatMap((p, id) => (p < 0.1 ? [id] : []));
    expect(lost("llamacpp", { ...penalty, minP: 0, topP: 1 })).toEqual([0, 1]);
    expect(lost("llamacpp", { ...penalty, minP: 0, topP: 1, penaltyLastN: 1 })).toEqual([1]);
    expect(lost("llamacpp", { ...penalty, minP: 0, topP: 1, penaltyLastN: 0 })).toEqual([]);
    expect(lost("llamacpp", { ...penalty, minP: 0, topP: 1, penaltyLastN: -1 })).toEqual([0, 1]);
    expect(lost("vllm", penalty)).toEqual([1]);
    expect(lost("webllm", penalty)).toEqual([1]);
    expect(support(row, presetSteps("vllm", { topK: 1 }))).toEqual([0, 1, 2]);
    expect(support(row, presetSteps("hf", { topK: 1 }))).toEqual([0, 1, 2]);
    expect(support(row, presetSteps("llamacpp", { topK: 1 }))).toEqual([0]);
    expect(presetSteps("vllm", { temperature: 0.001 })).toContainEqual({
      step: "temperature",
      temperature: 0.01,
    });
    expect(presetSteps("vllm", { temperature: 0 })).toContainEqual({ step: "temperature", temperature: 0 });
    expect(presetSteps("webllm", { temperature: 0 })).toContainEqual({
      step: "temperature",
      temperature: 1e-6,
    });
  });

  it("limit confidence last of all", () => {
    const confidenceLimit = { maxProbability: 0.6 };
    for (const name of PRESET_NAMES) {
      expect(orderOf(name, { ...CONSTRAINTS, confidenceLimit }).at(-1), name).toBe("confidence-limit");
      const limited = law(
        rowOf(0.9, 0.06, 0.04),
        presetSteps(name, { temperature: 1, topP: 1, confidenceLimit }),
      );
      expect(Math.max(...limited), name).toBeCloseTo(0.6, 9);
    }
    const mirostat = { version: 2 } as const;
    expect(orderOf("llamacpp", { mirostat, confidenceLimit }).at(-1)).toBe("confidence-limit");
  });

  it("refuse options that their runtime has no step for", () => {
    expect(() => presetSteps("vllm", { dry: { multiplier: 1 } })).toThrow(
      '"dry" must be left out with preset "vllm", which has no step for it',
    );
    expect(() => presetSteps("hf", { presencePenalty: 1 })).toThrow(RangeError);
    expect(() => presetSteps("webllm", { topK: 5 })).toThrow(RangeError);
    expect(presetSteps("webllm", { topK: undefined })).toHaveLength(8);
    expect(() => presetSteps("ollama" as PresetName)).toThrow(
      '"preset" must be one of edgewise, llamacpp, vllm, hf, webllm',
    );
    for (const name of ["vllm", "webllm"] as const) {
      expect(() => createPipeline(presetSteps(name, { temperature: -1 })), name).toThrow(RangeError);
      expect(() => createPipeline(presetSteps(name, { temperature: NaN })), name).toThrow(RangeError);
    }
  });

  it("have fingerprints that tell them apart, though their steps be the same", () => {
    const options = { ...CONSTRAINTS, temperature: 0.5 };
    const prints = PRESET_NAMES.map((name) => fingerprint(createPipeline(presetSteps(name, options))));
    expect(new Set(prints).size).toBe(PRESET_NAMES.length);
  });
});
