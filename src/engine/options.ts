import {
  createPipeline,
  fingerprint,
  OPTION_NAMES,
  type Pipeline,
  type PresetOptions,
  presetSteps,
  type Step,
} from "../decoding/pipeline.ts";
import { expectInteger, expectNumber } from "../errors.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import type { SamplingOptions } from "./model.ts";

/** Ranges of the options that are one number; what is in the others is checked by the steps. */
const NUMBERS: readonly (readonly [name: keyof PresetOptions, min: number, max: number])[] = [
  ["temperature", 0, 100],
  ["topP", 0, 1],
  ["minP", 0, 1],
  ["typicalP", 0, 1],
  ["topNSigma", 0, 1000],
  ["topH", 0, 1],
  ["epsilonCutoff", 0, 1],
  ["etaCutoff", 0, 1],
  ["repetitionPenalty", 0.01, 100],
  ["presencePenalty", -100, 100],
  ["frequencyPenalty", -100, 100],
];
const INTEGERS: readonly (readonly [name: keyof PresetOptions, min: number, max: number])[] = [
  ["topK", 0, 2 ** 31 - 1],
  ["penaltyLastN", -1, 2 ** 31 - 1],
  ["noRepeatNgram", 0, 256],
  ["minTokens", 0, 2 ** 31 - 1],
];
/** Of nothing there is no best part. */
const ABOVE_ZERO = ["topP", "typicalP", "topH"] as const;

/**
 * The pipeline that sampling options ask for.
 *
 * @param endTokens What `minTokens` holds back, unless the options say.
 * @throws {TypeError | RangeError} If an option is wrong, or the preset has no step for it; the message names it.
 */
export function openPipeline(options: SamplingOptions, endTokens: Iterable<number> = []): Pipeline {
  const given = OPTION_NAMES.filter((name) => options[name] !== undefined);
  if (options.pipeline !== undefined) {
    const other = options.preset === undefined ? given[0] : "preset";
    if (other !== undefined) {
      throw new TypeError(
        `"${other}" must be left out beside "pipeline", which says all that is done to a row`,
      );
    }
    return createPipeline(options.pipeline);
  }
  for (const [name, min, max] of NUMBERS) {
    if (options[name] !== undefined) expectNumber(name, options[name], min, max);
  }
  for (const [name, min, max] of INTEGERS) {
    if (options[name] !== undefined) expectInteger(name, options[name], min, max);
  }
  const zero = ABOVE_ZERO.find((name) => options[name] === 0);
  if (zero !== undefined) throw new RangeError(`"${zero}" must be above 0 and at most 1, got 0`);
  const chosen: PresetOptions = Object.fromEntries(given.map((name) => [name, options[name]]));
  if (chosen.minTokens && chosen.endTokens === undefined) chosen.endTokens = [...endTokens];
  return fromSteps(presetSteps(options.preset ?? "edgewise", chosen));
}

/** The seed of the options, or one drawn by the host. */
export function seedOf({ seed }: SamplingOptions): number {
  return expectInteger("seed", seed ?? randomSeed(), 0, Number.MAX_SAFE_INTEGER);
}

/** seed + i among the 53-bit integers; past the largest comes 0. */
export function seedAfter(seed: number, i: number): number {
  const left = Number.MAX_SAFE_INTEGER - seed;
  return i <= left ? seed + i : i - left - 1;
}

/** Of a request: the model's fingerprint and the steps, in order. */
export function requestFingerprint(model: string, pipeline: Pipeline): string {
  const hash = new Fingerprint();
  hash.addText(model);
  hash.addText(fingerprint(pipeline));
  return hash.toString();
}

/** A wrong field of a step is named by the step, as its caller never saw the list. */
function fromSteps(steps: readonly Step[]): Pipeline {
  try {
    return createPipeline(steps);
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/^"pipeline\[(\d+)\]/, (_, index) => `"${steps[index].step}`);
    }
    throw error;
  }
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
