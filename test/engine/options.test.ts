import { describe, expect, it } from "vitest";
import type { SamplingOptions } from "../../src/engine/model.ts";
import { samplingSettings, stopTexts } from "../../src/engine/options.ts";

describe("samplingSettings", () => {
  it("has neutral defaults and a seed of its own each time", () => {
    const { seed, ...rest } = samplingSettings({});
    expect(rest).toEqual({ temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 });
    const seeds = Array.from({ length: 100 }, () => samplingSettings({}).seed);
    expect(new Set([seed, ...seeds]).size).toBe(101);
    expect(seeds.every((drawn) => Number.isSafeInteger(drawn) && drawn >= 0)).toBe(true);
    // They use the upper bits too.
    expect(Math.max(...seeds)).toBeGreaterThan(2 ** 48);
  });

  it("keeps what is given", () => {
    const given = { temperature: 0, topK: 5, topP: 0.5, minP: 0.1, repetitionPenalty: 1.5, seed: 0 };
    expect(samplingSettings(given)).toEqual(given);
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
    [{ seed: 2 ** 53 }, '"seed" must be an integer from 0 to 9007199254740991, got 9007199254740992'],
    [{ seed: -1 }, '"seed" must be an integer'],
  ])("refuses %j", (options, message) => {
    expect(() => samplingSettings(options)).toThrow(RangeError);
    expect(() => samplingSettings(options)).toThrow(message);
  });

  it("refuses values of another kind", () => {
    const wrong = (name: string) => () => samplingSettings({ [name]: "1" } as SamplingOptions);
    for (const name of ["temperature", "topK", "topP", "minP", "repetitionPenalty", "seed"]) {
      expect(wrong(name), name).toThrow(TypeError);
      expect(wrong(name), name).toThrow(/got string$/);
    }
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
