import type { PipelineSettings } from "../decoding/pipeline.ts";
import { expectInteger, expectNumber } from "../errors.ts";
import type { SamplingOptions } from "./model.ts";

/** Checks sampling options and fills in what is missing. */
export function samplingSettings(options: SamplingOptions): PipelineSettings {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed } = options;
  if (topP === 0) throw new RangeError('"topP" must be above 0 and at most 1, got 0');
  return {
    temperature: expectNumber("temperature", temperature, 0, 100),
    topK: expectInteger("topK", topK, 0, 2 ** 31 - 1),
    topP: expectNumber("topP", topP, 0, 1),
    minP: expectNumber("minP", minP, 0, 1),
    repetitionPenalty: expectNumber("repetitionPenalty", repetitionPenalty, 0.01, 100),
    seed: expectInteger("seed", seed ?? randomSeed(), 0, Number.MAX_SAFE_INTEGER),
  };
}

function randomSeed(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high & 0x1fffff) * 2 ** 32 + low;
}

/** The texts that end a generation; at most 16 of them, none empty. */
export function stopTexts(stop: string | readonly string[] | undefined): readonly string[] {
  const texts = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(texts))
    throw new TypeError(`"stop" must be a string or an array of strings, got ${typeof stop}`);
  if (texts.length > 16) throw new RangeError(`"stop" must have at most 16 texts, got ${texts.length}`);
  texts.forEach((text, index) => {
    if (typeof text !== "string")
      throw new TypeError(`"stop[${index}]" must be a string, got ${typeof text}`);
    if (text === "") throw new RangeError(`"stop[${index}]" must not be empty`);
  });
  return texts;
}
