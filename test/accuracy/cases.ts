/**
 * Which models and tokens are held against llama.cpp and the truth. bench/peers/llama-cpp-golden.mjs runs the same
 * list, so that test/golden needs to hold its answers only.
 */
import { isEncodableType, WEIGHT_TYPES } from "../../src/format/blocks.ts";
import { array, bool, f32 } from "../support/gguf-writer.ts";
import { createRandom, seedOf } from "../support/random.ts";
import { mediumTypes, type SyntheticModelOptions, syntheticModelBytes } from "../support/synthetic-model.ts";

/** The embedded models, of the folder models. */
export const STORY_MODELS = ["edgewise-stories-f16", "edgewise-stories-q8_0", "edgewise-stories-q4_0"];

/** Every architecture, and what changes the arithmetic within one; sizes that are no multiple of 4 where that may be. */
const VARIANTS: Readonly<Record<string, SyntheticModelOptions>> = {
  llama: { seed: 11 },
  "llama-linear-rope-tied": { ropeScaling: "linear", tied: true, kvHeads: 4, vocab: 509, seed: 12 },
  "llama-llama3-rope": { ropeScaling: "llama3", tokenizer: "llama", kvHeads: 1, layers: 3, seed: 13 },
  qwen2: { architecture: "qwen2", feedForward: 160, seed: 14 },
  "qwen2-tied": { architecture: "qwen2", tied: true, hidden: 96, heads: 6, kvHeads: 3, seed: 15 },
  qwen3: { architecture: "qwen3", vocab: 611, seed: 16 },
  "qwen3-tied": { architecture: "qwen3", tied: true, heads: 2, kvHeads: 1, feedForward: 224, seed: 17 },
  gemma3: { architecture: "gemma3", seed: 19 },
};

export interface SyntheticCase {
  /** Variant and weight type. */
  readonly name: string;
  readonly type: string;
  readonly options: SyntheticModelOptions;
}

/** How the last layer of gemma3 looks far: a file may say by its own pattern, and turn the others by its own base. */
const GEMMA3_PATTERN = {
  "gemma3.attention.sliding_window_pattern": array("bool", [true, false, true].map(bool)),
  "gemma3.rope.freq_base_swa": f32(500),
};

/**
 * The types that are only read, and how files mix them: of one architecture, as their arithmetic is that of the others. And
 * what changes gemma3: the size by which the model of 27B scales, known by its 62 layers.
 */
const MIXES: Readonly<Record<string, SyntheticModelOptions>> = {
  "gemma3-linear-rope F16": {
    architecture: "gemma3",
    type: "F16",
    ropeScaling: "linear",
    tied: false,
    window: 5,
    kvHeads: 1,
    vocab: 509,
    seed: 20,
  },
  "gemma3-pattern F16": {
    architecture: "gemma3",
    type: "F16",
    layers: 3,
    window: 33,
    metadata: GEMMA3_PATTERN,
    seed: 21,
  },
  "gemma3-27b F16": {
    architecture: "gemma3",
    type: "F16",
    layers: 62,
    hidden: 32,
    heads: 2,
    kvHeads: 1,
    feedForward: 64,
    seed: 22,
  },
  "llama Q4_K_M": { type: "Q4_K", layers: 3, typeOf: mediumTypes(3), seed: 18 },
  "qwen3-tied Q5_K_M": { ...VARIANTS["qwen3-tied"], type: "Q5_K", feedForward: 512, typeOf: mediumTypes(2) },
};

export const SYNTHETIC_CASES: readonly SyntheticCase[] = [
  ...Object.entries(VARIANTS).flatMap(([variant, options]) =>
    WEIGHT_TYPES.filter((type) => variant === "llama" || isEncodableType(type)).map((type) => ({
      name: `${variant} ${type}`,
      type,
      options: { ...options, type },
    })),
  ),
  ...Object.entries(MIXES).map(([name, options]) => ({ name, type: options.type ?? "F16", options })),
];

/** Gemma's vocabulary, where the head is nearly all of the model: too slow to go through every test. */
export const LARGE_VOCABULARY: SyntheticCase = {
  name: "gemma3-262144 F16",
  type: "F16",
  options: {
    architecture: "gemma3",
    type: "F16",
    vocab: 262_144,
    hidden: 32,
    heads: 2,
    kvHeads: 1,
    feedForward: 64,
    window: 16,
    seed: 23,
  },
};

/** The file of a case; small, so that it is made anew each time instead of being stored. */
export function syntheticFile({ options }: SyntheticCase): Uint8Array {
  return syntheticModelBytes(options);
}

/** Any tokens: `count` ids below `vocab`, from a name. */
export function randomTokens(name: string, vocab: number, count: number): number[] {
  const random = createRandom(seedOf(1, name));
  return Array.from({ length: count }, () => random.below(vocab));
}

/** Tokens that divergence is measured on. */
export const DIVERGENCE_TOKENS = 128;

/** Windows of `size`, each beginning with `bos`. */
export function windowsOf(tokens: readonly number[], bos: number, size: number): number[][] {
  const plain = tokens[0] === bos ? tokens.slice(1) : tokens;
  const step = size - 1;
  return Array.from({ length: Math.floor(plain.length / step) }, (_, index) => [
    bos,
    ...plain.slice(index * step, (index + 1) * step),
  ]);
}
