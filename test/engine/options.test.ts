import { describe, expect, it } from "vitest";
import { fingerprint } from "../../src/decoding/pipeline.ts";
import type { SamplingOptions } from "../../src/engine/model.ts";
import { openPipeline, requestFingerprint, seedAfter, seedOf, stopTexts } from "../../src/engine/options.ts";

const stepsOf = (options: SamplingOptions) => openPipeline(options).steps.map(({ step }) => step);

describe("openPipeline", () => {
  it("does nothing to a row by default", () => {
    expect(stepsOf({}).filter((step) => step !== "bitmask")).toEqual([]);
  });

  it("has a step for each option, in the order of the preset", () => {
    const options = { temperature: 0.5, topK: 40, topP: 0.9, minP: 0.05, repetitionPenalty: 1.1 };
    const cuts = ["top-k", "top-p", "min-p"];
    expect(stepsOf(options)).toEqual(["bitmask", "repetition-penalty", "temperature", ...cuts]);
    expect(stepsOf({ preset: "llamacpp", ...options })).toEqual([
      "bitmask",
      "repetition-penalty",
      ...cuts,
      "temperature",
    ]);
  });

  it("has the defaults of another runtime with its preset", () => {
    expect(stepsOf({ preset: "llamacpp" })).toEqual(["bitmask", "top-k", "top-p", "min-p", "temperature"]);
  });

  it("takes the steps themselves", () => {
    const pipeline = [
      { step: "top-k", k: 3 },
      { step: "temperature", temperature: 0.3 },
    ] as const;
    expect(stepsOf({ pipeline })).toEqual(["top-k", "temperature"]);
    expect(() => openPipeline({ pipeline, topK: 3 })).toThrow('"topK" must be left out beside "pipeline"');
    expect(() => openPipeline({ pipeline, preset: "hf" })).toThrow('"preset" must be left out');
  });

  it("holds back the model's end tokens for minTokens", () => {
    const { steps } = openPipeline({ minTokens: 5 }, new Set([2, 7]));
    expect(steps).toContainEqual({ step: "min-tokens", count: 5, endTokens: [2, 7] });
  });

  it.each<[SamplingOptions, string]>([
    [{ temperature: -1 }, '"temperature" must be a number from 0 to 100, got -1'],
    [{ temperature: NaN }, '"temperature" must be a number from 0 to 100, got NaN'],
    [{ topK: -1 }, '"topK" must be an integer from 0 to 2147483647, got -1'],
    [{ topK: 1.5 }, '"topK" must be an integer from 0 to 2147483647, got 1.5'],
    [{ topP: 0 }, '"topP" must be above 0 and at most 1, got 0'],
    [{ topP: 1.01 }, '"topP" must be a number from 0 to 1, got 1.01'],
    [{ minP: -0.1 }, '"minP" must be a number from 0 to 1, got -0.1'],
    [{ repetitionPenalty: 0 }, '"repetitionPenalty" must be a number from 0.01 to 100, got 0'],
    [{ xtc: { probability: 2, threshold: 0.1 } }, '"xtc.probability" must be a number from 0 to 1, got 2'],
    [{ preset: "ollama" as never }, '"preset" must be one of edgewise, llamacpp, vllm, hf, webllm'],
    [{ preset: "webllm", topK: 3 }, '"topK" must be left out with preset "webllm"'],
  ])("refuses %j", (options, message) => {
    expect(() => openPipeline(options)).toThrow(RangeError);
    expect(() => openPipeline(options)).toThrow(message);
  });

  it("refuses values of another kind", () => {
    for (const name of ["temperature", "topK", "topP", "minP", "repetitionPenalty"]) {
      const open = () => openPipeline({ [name]: "1" } as SamplingOptions);
      expect(open, name).toThrow(TypeError);
      expect(open, name).toThrow(/got string$/);
    }
  });
});

describe("seedOf", () => {
  it("keeps what is given", () => expect(seedOf({ seed: 0 })).toBe(0));

  it("draws one of its own each time", () => {
    const seeds = Array.from({ length: 100 }, () => seedOf({}));
    expect(new Set(seeds).size).toBe(100);
    expect(seeds.every((drawn) => Number.isSafeInteger(drawn) && drawn >= 0)).toBe(true);
    // They use the upper bits too.
    expect(Math.max(...seeds)).toBeGreaterThan(2 ** 48);
  });

  it.each([-1, 2 ** 53, 0.5])("refuses %d", (seed) => {
    expect(() => seedOf({ seed })).toThrow('"seed" must be an integer from 0 to 9007199254740991');
  });

  it("counts on, and begins again after the last", () => {
    expect(seedAfter(5, 3)).toBe(8);
    expect(seedAfter(Number.MAX_SAFE_INTEGER, 0)).toBe(Number.MAX_SAFE_INTEGER);
    expect(seedAfter(Number.MAX_SAFE_INTEGER, 2)).toBe(1);
  });
});

describe("requestFingerprint", () => {
  it("depends on the model, the steps and their order", () => {
    const pipeline = (...names: ("top-k" | "top-p")[]) =>
      openPipeline({
        pipeline: names.map((step) => (step === "top-k" ? { step, k: 5 } : { step, p: 0.5 })),
      });
    const all = [
      requestFingerprint("a", pipeline("top-k", "top-p")),
      requestFingerprint("a", pipeline("top-p", "top-k")),
      requestFingerprint("a", pipeline("top-k")),
      requestFingerprint("b", pipeline("top-k", "top-p")),
    ];
    expect(new Set(all).size).toBe(4);
    expect(requestFingerprint("a", pipeline("top-k", "top-p"))).toBe(all[0]);
    expect(fingerprint(pipeline("top-k"))).not.toBe(fingerprint(pipeline("top-p")));
  });
});

describe("stopTexts", () => {
  it("takes none, one or several", () => {
    expect(stopTexts(undefined)).toEqual([]);
    expect(stopTexts("END")).toEqual(["END"]);
    expect(stopTexts(["a", "b"])).toEqual(["a", "b"]);
  });

  it("refuses too many, empty ones and other kinds", () => {
    expect(() => stopTexts(new Array(17).fill("a"))).toThrow('"stop" must have at most 16 texts, got 17');
    expect(() => stopTexts(["a", ""])).toThrow('"stop[1]" must not be empty');
    expect(() => stopTexts("")).toThrow('"stop[0]" must not be empty');
    expect(() => stopTexts(["a", 1 as never])).toThrow('"stop[1]" must be a string, got number');
    expect(() => stopTexts({} as never)).toThrow(
      '"stop" must be a string or an array of strings, got object',
    );
  });
});
