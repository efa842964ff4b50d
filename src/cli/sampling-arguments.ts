import { openPipeline, seedOf } from "../engine/options.ts";
import type { SamplingOptions } from "../node.ts";
import { SAMPLING_DEFAULTS } from "./generate-usage.ts";
import type { Values } from "./values.ts";

/** Which option says which field of `SamplingOptions`. */
const FIELDS: readonly (readonly [option: string, field: string])[] = [
  ["temperature", "temperature"],
  ["dynatemp-range", "dynamicTemperature.range"],
  ["dynatemp-exp", "dynamicTemperature.exponent"],
  ["top-k", "topK"],
  ["top-p", "topP"],
  ["min-p", "minP"],
  ["typical", "typicalP"],
  ["top-nsigma", "topNSigma"],
  ["top-h", "topH"],
  ["epsilon-cutoff", "epsilonCutoff"],
  ["eta-cutoff", "etaCutoff"],
  ["max-probability", "confidenceLimit.maxProbability"],
  ["min-entropy", "confidenceLimit.minEntropy"],
  ["xtc-probability", "xtc.probability"],
  ["xtc-threshold", "xtc.threshold"],
  ["mirostat", "mirostat.version"],
  ["mirostat-tau", "mirostat.tau"],
  ["mirostat-lr", "mirostat.eta"],
  ["repetition-penalty", "repetitionPenalty"],
  ["presence-penalty", "presencePenalty"],
  ["frequency-penalty", "frequencyPenalty"],
  ["repeat-last-n", "penaltyLastN"],
  ["no-repeat-ngram", "noRepeatNgram"],
  ["dry-multiplier", "dry.multiplier"],
  ["dry-base", "dry.base"],
  ["dry-allowed-length", "dry.allowedLength"],
  ["dry-penalty-last-n", "dry.lastN"],
  ["dry-sequence-breaker", "dry.breakers"],
  ["logit-bias", "logitBias"],
  ["min-tokens", "minTokens"],
  ["seed", "seed"],
];

/** What is nothing without another: the other, and those. */
const PARTS: readonly (readonly [whole: string, ...parts: string[]])[] = [
  ["dynatemp-range", "dynatemp-exp"],
  ["xtc-probability", "xtc-threshold"],
  ["mirostat", "mirostat-tau", "mirostat-lr"],
  ["dry-multiplier", "dry-base", "dry-allowed-length", "dry-penalty-last-n", "dry-sequence-breaker"],
];

/** Those that are no numbers. */
const TEXTS = ["dry-sequence-breaker", "logit-bias"];

/** llama.cpp's. */
const XTC_THRESHOLD = 0.1;
const DRY_BREAKERS = ["\n", ":", '"', "*"];
const MAX_LENGTH = 2 ** 31 - 1;

export interface SamplingArguments {
  sampling: SamplingOptions;
  /** Path of a file with `SamplingOptions.pipeline`. */
  pipelineFile?: string;
  /** Texts that end DRY's repetitions: which tokens those are, the model's tokenizer says. */
  dryBreakers?: readonly string[];
}

/**
 * How tokens are chosen.
 *
 * @throws {TypeError | RangeError} If an option is out of range, or nothing without another that is missing.
 */
export function samplingArguments(values: Values): SamplingArguments {
  for (const [whole, ...parts] of PARTS) values.expectBeside(parts, [whole]);
  const pipelineFile = values.text("pipeline");
  const seed = values.number("seed");
  withOptionNames(values, () => seedOf({ seed }));
  if (pipelineFile !== undefined) {
    const other = ["preset", ...FIELDS.map(([option]) => option)].find(
      (option) => option !== "seed" && values.has(option),
    );
    if (other !== undefined) {
      const why = 'beside "--pipeline", which says all that is done to a row';
      throw new TypeError(`"${values.label(other)}" must be left out ${why}`);
    }
    return { pipelineFile, sampling: { seed } };
  }
  const sampling = { ...defaults(values), ...chosen(values), seed };
  withOptionNames(values, () => openPipeline(sampling));
  if (sampling.dry === undefined || sampling.dry.multiplier === 0) return { sampling };
  const breakers = values.has("dry-sequence-breaker") ? values.texts("dry-sequence-breaker") : DRY_BREAKERS;
  return { sampling, dryBreakers: breakers.filter((text) => text !== "none") };
}

/** The engine checks ranges and names what is wrong as in a program: "topP" is "--top-p" here. */
export function withOptionNames<T>(values: Values, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(
        /^"([a-zA-Z][\w.-]*)/,
        (_, path: string) => `"${values.label(optionOf(path))}`,
      );
    }
    throw error;
  }
}

/** The option behind a field, as in "topK", "mirostat-2.tau" or "logit-bias.bias.7"; others are spelled like theirs. */
function optionOf(path: string): string {
  const field = camel(path.replace(/^mirostat-2\b/, "mirostat"));
  const known = FIELDS.find(([, name]) => field === name || field.startsWith(`${name}.`));
  return known?.[0] ?? kebab(path);
}

/** Whoever names a preset wants its values; mirostat cuts off by itself, as in llama.cpp. */
function defaults(values: Values): SamplingOptions {
  if (values.has("preset")) return { preset: values.text("preset") };
  if (!values.number("mirostat")) return SAMPLING_DEFAULTS;
  const { temperature, repetitionPenalty } = SAMPLING_DEFAULTS;
  return { temperature, repetitionPenalty };
}

/** What was given, with llama.cpp's values for "off". */
function chosen(values: Values): SamplingOptions {
  const { xtc, mirostat, dry, ...others } = numbers(values);
  const dryLastN = values.integer("dry-penalty-last-n", -1, MAX_LENGTH) ?? -1;
  return {
    ...others,
    ...(xtc && { xtc: { ...xtc, threshold: xtc.threshold ?? XTC_THRESHOLD } }),
    ...(mirostat?.version && { mirostat }),
    // In a step 0 is all.
    ...(dry && dryLastN !== 0 && { dry: { ...dry, lastN: Math.max(0, dryLastN) } }),
    ...(values.has("logit-bias") && { logitBias: logitBias(values) }),
  };
}

/** The fields that are numbers. They may be out of range, and those of an object may miss some. */
function numbers(values: Values): SamplingOptions {
  const fields: Record<string, number | Record<string, number>> = {};
  for (const [option, field] of FIELDS) {
    if (!values.has(option) || TEXTS.includes(option)) continue;
    const value = values.number(option)!;
    const [name, part] = field.split(".");
    fields[name] = part === undefined ? value : { ...(fields[name] as object), [part]: value };
  }
  return fields as SamplingOptions;
}

/** `15043=-5`, or `15043-5` as in llama.cpp. */
function logitBias(values: Values): Record<string, number> {
  return Object.fromEntries(
    values.texts("logit-bias").map((text) => {
      const [, token, bias] = /^(\d+)(?:=|(?=[+-]))([^=]+)$/.exec(text) ?? [];
      if (token === undefined || Number.isNaN(Number(bias))) {
        const example = "a token id and a number, as in 15043=-5";
        throw new TypeError(`"${values.label("logit-bias")}" must be ${example}, got "${text}"`);
      }
      return [String(Number(token)), Number(bias)];
    }),
  );
}

function camel(text: string): string {
  return text.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function kebab(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
