/**
 * Orders of steps by name: our own, and those of other runtimes with their ties, scopes and default values.
 *
 *     edgewise   bias, penalties, DRY, n-grams, temperature, then every cut-off there is, XTC last; all off by default
 *     llamacpp   bias, penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature    temperature last
 *                with mirostat:  bias, temperature, mirostat
 *     vllm       bias, penalties, temperature, min-p, top-k, top-p
 *     hf         bias, penalty, n-grams, temperature, top-h, top-k, top-p, min-p, typical, epsilon, eta
 *     webllm     bias, penalties, temperature, top-p
 *
 * What forbids tokens (a grammar's bitmask, allowed ids, bad words, minimal length) every preset takes, and has it where
 * its runtime does, or at the beginning if that has none.
 *
 * Sources, as of mid-2026: llama.cpp common/sampling.cpp and src/llama-sampling.cpp; vLLM vllm/v1/sample/sampler.py and
 * sampling_params.py; transformers generation/utils.py and logits_process.py; WebLLM src/llm_chat.ts and MLC LLM's
 * attach_logit_processor.py.
 */
import type { DryStep } from "./dry.ts";
import type { Step } from "./steps.ts";

export const PRESET_NAMES = ["edgewise", "llamacpp", "vllm", "hf", "webllm"] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

/** Fields mean what the step of that name says. A field left out has the runtime's default. */
export interface PresetOptions {
  temperature?: number;
  /** Makes the temperature dynamic. */
  dynamicTemperature?: { range: number; exponent?: number };
  topK?: number;
  topP?: number;
  minP?: number;
  typicalP?: number;
  topNSigma?: number;
  topH?: number;
  epsilonCutoff?: number;
  etaCutoff?: number;
  xtc?: { probability: number; threshold: number };
  dry?: Omit<DryStep, "step">;
  mirostat?: { version: 1 | 2; tau?: number; eta?: number };
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** Tokens that llama.cpp's penalties look at: −1 all, 0 none. Default 64. */
  penaltyLastN?: number;
  noRepeatNgram?: number;
  logitBias?: Readonly<Record<string, number>>;
  badWords?: readonly (readonly number[])[];
  allowedIds?: readonly number[];
  minTokens?: number;
  endTokens?: readonly number[];
  /** Every preset has it, as the last of all. */
  confidenceLimit?: { maxProbability?: number; minEntropy?: number };
}

interface Preset {
  /** What it takes beside what every preset does. */
  readonly takes: readonly (keyof PresetOptions)[];
  steps(options: PresetOptions): (Step | null)[];
}

const ALL_TAKE: readonly (keyof PresetOptions)[] = [
  "temperature",
  "topP",
  "repetitionPenalty",
  "logitBias",
  "badWords",
  "allowedIds",
  "minTokens",
  "endTokens",
  "confidenceLimit",
];

/** vLLM raises a temperature above 0 to at least this. */
const VLLM_LEAST_TEMPERATURE = 0.01;
/** WebLLM divides by at least this, so it is never exactly greedy. */
const WEBLLM_LEAST_TEMPERATURE = 1e-6;

const PRESETS: Readonly<Record<PresetName, Preset>> = {
  edgewise: {
    takes: [
      "dynamicTemperature",
      "topK",
      "minP",
      "typicalP",
      "topNSigma",
      "topH",
      "epsilonCutoff",
      "etaCutoff",
      "xtc",
      "dry",
      "mirostat",
      "presencePenalty",
      "frequencyPenalty",
      "penaltyLastN",
      "noRepeatNgram",
    ],
    steps(options) {
      const { temperature = 1, topK = 0, topP = 1, minP = 0, typicalP = 1, topNSigma = 0 } = options;
      const { epsilonCutoff = 0, etaCutoff = 0, noRepeatNgram = 0, penaltyLastN = -1 } = options;
      const { dynamicTemperature, topH, xtc, dry, mirostat } = options;
      const heat: Step =
        dynamicTemperature === undefined
          ? { step: "temperature", temperature }
          : { step: "dynamic-temperature", temperature, ...dynamicTemperature };
      return [
        ...constraints(options, "all"),
        bias(options),
        ...llamaPenalties({ ...options, penaltyLastN }),
        dry === undefined ? null : { step: "dry", ...dry },
        { step: "no-repeat-ngram", size: noRepeatNgram },
        heat,
        { step: "top-n-sigma", n: topNSigma },
        { step: "top-k", k: topK },
        topH === undefined ? null : { step: "top-h", h: topH },
        { step: "typical", p: typicalP },
        { step: "top-p", p: topP },
        { step: "min-p", p: minP },
        { step: "epsilon-cutoff", epsilon: epsilonCutoff },
        { step: "eta-cutoff", epsilon: etaCutoff },
        xtc === undefined ? null : { step: "xtc", ...xtc },
        mirostat === undefined ? null : mirostatStep(mirostat),
      ];
    },
  },

  llamacpp: {
    takes: [
      "dynamicTemperature",
      "topK",
      "minP",
      "typicalP",
      "topNSigma",
      "xtc",
      "dry",
      "mirostat",
      "presencePenalty",
      "frequencyPenalty",
      "penaltyLastN",
    ],
    steps(options) {
      const { temperature = 0.8, topK = 40, topP = 0.95, minP = 0.05, typicalP = 1, topNSigma = 0 } = options;
      const { dynamicTemperature, xtc, dry, mirostat } = options;
      const heat: Step =
        dynamicTemperature === undefined
          ? { step: "temperature", temperature }
          : { step: "dynamic-temperature", temperature, ...dynamicTemperature };
      const first = [...constraints(options, "all"), bias(options)];
      if (mirostat !== undefined) {
        return [...first, heat, mirostatStep(mirostat)];
      }
      return [
        ...first,
        ...llamaPenalties(options),
        dry === undefined ? null : { step: "dry", ...dry },
        { step: "top-n-sigma", n: topNSigma },
        { step: "top-k", k: topK },
        { step: "typical", p: typicalP },
        { step: "top-p", p: topP },
        { step: "min-p", p: minP },
        xtc === undefined ? null : { step: "xtc", ...xtc },
        heat,
      ];
    },
  },

  vllm: {
    takes: ["topK", "minP", "presencePenalty", "frequencyPenalty"],
    steps(options) {
      const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
      const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = options;
      return [
        ...constraints(options, "output"),
        bias(options),
        { step: "repetition-penalty", penalty: repetitionPenalty },
        { step: "frequency-penalty", penalty: frequencyPenalty, scope: "output" },
        { step: "presence-penalty", penalty: presencePenalty, scope: "output" },
        {
          step: "temperature",
          temperature: temperature > 0 ? Math.max(temperature, VLLM_LEAST_TEMPERATURE) : temperature,
        },
        { step: "min-p", p: minP },
        { step: "top-k", k: topK, ties: "all" },
        { step: "top-p", p: topP },
      ];
    },
  },

  hf: {
    takes: ["topK", "minP", "typicalP", "topH", "epsilonCutoff", "etaCutoff", "noRepeatNgram"],
    steps(options) {
      const { temperature = 1, topK = 50, topP = 1, minP = 0, typicalP = 1, topH } = options;
      const { repetitionPenalty = 1, noRepeatNgram = 0, epsilonCutoff = 0, etaCutoff = 0 } = options;
      return [
        bias(options),
        { step: "repetition-penalty", penalty: repetitionPenalty },
        { step: "no-repeat-ngram", size: noRepeatNgram },
        ...constraints(options, "all"),
        { step: "temperature", temperature },
        topH === undefined ? null : { step: "top-h", h: topH },
        { step: "top-k", k: topK, ties: "all" },
        { step: "top-p", p: topP },
        { step: "min-p", p: minP },
        { step: "typical", p: typicalP },
        { step: "epsilon-cutoff", epsilon: epsilonCutoff },
        { step: "eta-cutoff", epsilon: etaCutoff },
      ];
    },
  },

  webllm: {
    takes: ["presencePenalty", "frequencyPenalty"],
    steps(options) {
      const { temperature = 1, topP = 1 } = options;
      const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = options;
      return [
        ...constraints(options, "output"),
        bias(options),
        { step: "presence-penalty", penalty: presencePenalty, scope: "output" },
        { step: "frequency-penalty", penalty: frequencyPenalty, scope: "output" },
        { step: "repetition-penalty", penalty: repetitionPenalty, scope: "output" },
        {
          step: "temperature",
          temperature: temperature >= 0 ? Math.max(temperature, WEBLLM_LEAST_TEMPERATURE) : temperature,
        },
        { step: "top-p", p: topP },
      ];
    },
  },
};

/** All options there are. */
export const OPTION_NAMES: readonly (keyof PresetOptions)[] = [...ALL_TAKE, ...PRESETS.edgewise.takes];

/**
 * Steps for `createPipeline`, in the order of another runtime.
 *
 * @throws {RangeError} If the runtime has no step for an option.
 *
 * @example
 * ```ts
 * const pipeline = createPipeline(presetSteps("llamacpp", { temperature: 0.7, xtc: { probability: 0.5, threshold: 0.1 } }));
 * ```
 */
export function presetSteps(name: PresetName, options: PresetOptions = {}): readonly Step[] {
  if (!PRESET_NAMES.includes(name)) {
    throw new RangeError(`"preset" must be one of ${PRESET_NAMES.join(", ")}, got "${name}"`);
  }
  const { takes, steps } = PRESETS[name];
  const given = Object.keys(options) as (keyof PresetOptions)[];
  const wrong = given.find(
    (option) => options[option] !== undefined && !takes.includes(option) && !ALL_TAKE.includes(option),
  );
  if (wrong !== undefined) {
    throw new RangeError(`"${wrong}" must be left out with preset "${name}", which has no step for it`);
  }
  const { confidenceLimit } = options;
  const limit: Step[] =
    confidenceLimit === undefined ? [] : [{ step: "confidence-limit", ...confidenceLimit }];
  return [...steps(options), ...limit].filter((step) => step !== null);
}

/** What forbids tokens; the bitmask's step is always there, as a grammar may come with any request. */
function constraints(options: PresetOptions, badWordsScope: "all" | "output"): (Step | null)[] {
  const { allowedIds, badWords = [], minTokens = 0, endTokens = [] } = options;
  return [
    { step: "bitmask" },
    allowedIds === undefined ? null : { step: "allowed-ids", ids: allowedIds },
    { step: "bad-words", words: badWords, scope: badWordsScope },
    { step: "min-tokens", count: minTokens, endTokens },
  ];
}

function bias({ logitBias }: PresetOptions): Step | null {
  return logitBias === undefined ? null : { step: "logit-bias", bias: logitBias };
}

function mirostatStep({ version, ...feedback }: NonNullable<PresetOptions["mirostat"]>): Step {
  return { step: version === 1 ? "mirostat" : "mirostat-2", ...feedback };
}

function llamaPenalties(options: PresetOptions): Step[] {
  const { penaltyLastN = 64, repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = options;
  if (penaltyLastN === 0) return [];
  const lastN = penaltyLastN === -1 ? 0 : penaltyLastN;
  return [
    { step: "repetition-penalty", penalty: repetitionPenalty, lastN },
    { step: "frequency-penalty", penalty: frequencyPenalty, lastN },
    { step: "presence-penalty", penalty: presencePenalty, lastN },
  ];
}
