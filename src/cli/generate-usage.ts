/** The options of `edgewise generate`, by theme. Names are llama.cpp's where it has the option. */
import { DRAFTER_NAMES } from "../decoding/drafter/registry.ts";
import { PRESET_NAMES } from "../decoding/pipeline.ts";
import { VERIFIERS } from "../decoding/verify/registry.ts";
import { CONTEXT, HELP, MODEL, type Option, type OptionGroup } from "./option.ts";
import { PLAN_OPTIONS } from "./plan-arguments.ts";

/**
 * llama.cpp's defaults: what users of such commands know. The library and the HTTP service have neutral ones.
 *
 * They hold where neither a preset nor a pipeline is asked for.
 */
export const SAMPLING_DEFAULTS = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, repetitionPenalty: 1 };

const integer = (value: string, help: string): Option => ({ kind: "integer", value, help });
const number = (value: string, help: string): Option => ({ kind: "number", value, help });
const text = (value: string, help: string): Option => ({ kind: "text", value, help });
const texts = (value: string, help: string): Option => ({ kind: "texts", value, help });
const flag = (help: string): Option => ({ kind: "flag", help });
const choice = (choices: readonly string[], help: string): Option => ({
  kind: "text",
  value: "NAME",
  choices,
  help,
});

export const GENERATE_GROUPS: readonly OptionGroup[] = [
  {
    title: "Prompt",
    options: {
      prompt: { short: "p", ...text("TEXT", "the text to continue (default: an empty one)") },
      "prompt-file": { short: "f", ...text("FILE", "read it from here; - is standard input") },
      chat: flag("make it a user's message, by the model's chat template"),
    },
  },
  {
    title: "Sampling",
    options: {
      temperature: {
        ...number("T", "0 always takes the best token; or --temp (default: 0.8)"),
        aliases: ["temp"],
      },
      "dynatemp-range": number("R", "heat unsure rows to T + R, cool sure ones to T - R"),
      "dynatemp-exp": number("E", "how sharply; 1 is in proportion to the entropy (default: 1)"),
      "top-k": integer("K", "draw from the K best tokens; 0 is all (default: 40)"),
      "top-p": number("P", "draw from the best that hold P together; 1 is all (default: 0.95)"),
      "min-p": number("P", "drop those below P x the best one's; 0 is none (default: 0.05)"),
      typical: {
        ...number("P", "draw from the least surprising that hold P together"),
        aliases: ["typical-p"],
      },
      "top-nsigma": {
        ...number("N", "drop those N standard deviations below the best logit; 0 is none"),
        aliases: ["top-n-sigma"],
      },
      "top-h": number("H", "draw from the best that hold H of the entropy"),
      "epsilon-cutoff": number("E", "drop those below the chance E"),
      "eta-cutoff": number("E", "the same, with less where the row is unsure"),
      "max-probability": number("P", "heat rows whose best token has more than the chance P"),
      "min-entropy": number("H", "heat rows whose entropy is below H nats"),
      "xtc-probability": number("P", "with the chance P, drop all likely tokens but the last"),
      "xtc-threshold": number("T", "what counts as likely (default: 0.1)"),
      mirostat: {
        kind: "integer",
        value: "1|2",
        choices: ["0", "1", "2"],
        help: "keep the surprise near a target, in place of default cut-offs",
      },
      "mirostat-tau": {
        ...number("BITS", "the target; or --mirostat-ent (default: 5)"),
        aliases: ["mirostat-ent"],
      },
      "mirostat-lr": number("R", "how fast it is approached (default: 0.1)"),
      "repetition-penalty": {
        ...number("R", "above 1: seen tokens are less likely; or --repeat-penalty (default: 1)"),
        aliases: ["repeat-penalty"],
      },
      "presence-penalty": number("R", "subtracted from the logits of seen tokens"),
      "frequency-penalty": number("R", "subtracted for each time that they were seen"),
      "repeat-last-n": integer("N", "tokens these three look at; -1 is all (default: all)"),
      "no-repeat-ngram": integer("N", "never write N tokens twice"),
      "dry-multiplier": number("R", "above 0: the longer what it would repeat, the less likely a token"),
      "dry-base": number("B", "how fast that grows with the length (default: 1.75)"),
      "dry-allowed-length": integer("N", "repetitions of fewer tokens are free (default: 2)"),
      "dry-penalty-last-n": integer("N", "how far it looks back; -1 is all, 0 is off (default: -1)"),
      "dry-sequence-breaker": texts("TEXT", 'ends a repetition; or "none" (default: line end : " *)'),
      "logit-bias": texts("TOKEN=BIAS", "add to the logit of a token id; may be given several times"),
      "min-tokens": integer("N", "no end of text before N tokens"),
      preset: choice(PRESET_NAMES, "the order and defaults of edgewise, llamacpp, vllm, hf or webllm"),
      pipeline: text("FILE", "JSON with all steps in their order, in place of the above"),
      seed: integer("N", "the same seed gives the same text (default: random)"),
    },
  },
  {
    title: "Speculation",
    options: {
      draft: text(
        "METHOD",
        `who guesses tokens ahead: self, ${DRAFTER_NAMES.join(", ")} or model:FILE (default: none)`,
      ),
      "draft-max": integer("N", "longest guess (default: as long as pays)"),
      "draft-fixed": flag("guess --draft-max tokens each time, 4 by default, even where that does not pay"),
      "draft-tree": flag("a draft model guesses a tree"),
      prediction: text("FILE", "what the text will probably be: copied for as long as it holds"),
      verifier: text(
        "NAME",
        `who decides on guesses: ${Object.keys(VERIFIERS).join(", ")}; options as in \
typical:epsilon=0.1,delta=0.3 (default: one that never changes the text)`,
      ),
    },
  },
  {
    title: "Output",
    options: {
      "max-tokens": {
        short: "n",
        ...integer("N", "stop after N tokens (default: at a full context)"),
      },
      stop: texts("TEXT", "end before this text; may be given up to 16 times"),
      "json-schema": text("FILE", "write JSON that is valid under this schema"),
      regex: text("EXPR", "write a text that this regular expression matches as a whole"),
      "ignore-eos": flag("go on after the model's end of text"),
      n: integer("N", "texts to write; text i is that of seed + i (default: 1)"),
      "best-of": integer("N", "write so many, print the --n likeliest per token"),
      json: flag("print one JSON object at the end instead"),
      logprobs: integer("N", "in it, log-probabilities, and of the N most likely tokens each"),
    },
  },
  {
    title: "Fusion",
    options: {
      ...PLAN_OPTIONS,
      explain: flag("say what the plan does and costs, and no more"),
      audit: flag("in the JSON, how the rows came about: weights, routes, entropies"),
    },
  },
  {
    title: "Model",
    options: {
      model: MODEL,
      context: CONTEXT,
      backend: choice(
        ["wasm", "reference", "webgpu", "auto"],
        "wasm (default), reference, webgpu, or auto: webgpu where there is an adapter",
      ),
      build: choice(
        ["auto", "simd", "relaxed"],
        "which Wasm: auto (default), simd or relaxed; the text is the same",
      ),
      help: HELP,
    },
  },
];
