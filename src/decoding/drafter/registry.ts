/** All drafters that run no model, by name. */
import { expectInteger } from "../../errors.ts";
import type { Constraint } from "../constraint.ts";
import { BestOfDrafter } from "./best-of.ts";
import type { LocalDrafter } from "./drafter.ts";
import { JumpForwardDrafter } from "./jump-forward.ts";
import { NgramDrafter } from "./ngram.ts";
import { NgramCacheDrafter } from "./ngram-cache.ts";
import { PredictedOutputDrafter } from "./predicted-output.ts";
import { PromptLookupDrafter } from "./prompt-lookup.ts";
import { SuffixDrafter } from "./suffix.ts";
import { TokenRecyclingDrafter } from "./token-recycling.ts";

export interface DrafterOptions {
  /** Vocabulary of the target. */
  readonly vocab: number;
  /** Tokens of the text to remember at most, 64 … 1,048,576. Default 32,768; some 50 to 130 bytes each. */
  readonly capacity?: number;
  /** Tokens that end a text: nothing is copied after them by "prompt-lookup". */
  readonly endTokens?: Iterable<number>;
  /** What the text will probably be, in tokens: copied for as long as it holds. */
  readonly prediction?: ArrayLike<number>;
  /** Position at which the predicted text begins: the prompt's length. Default 0. */
  readonly start?: number;
  /** What a grammar allows, standing after the committed tokens: where it leaves one token, that is the draft. */
  readonly constraint?: Constraint;
}

type Window = Pick<DrafterOptions, "vocab" | "capacity" | "endTokens">;

const DRAFTERS = {
  "prompt-lookup": (window: Window) => new PromptLookupDrafter(window),
  ngram: ({ vocab, capacity }: Window) => new NgramDrafter({ vocab, capacity }),
  "ngram-cache": ({ vocab, capacity }: Window) => new NgramCacheDrafter({ vocab, capacity }),
  suffix: ({ vocab, capacity }: Window) => new SuffixDrafter({ vocab, capacity }),
  recycling: ({ vocab }: Window) => new TokenRecyclingDrafter({ vocab }),
  "recycling-tree": ({ vocab }: Window) => new TokenRecyclingDrafter({ vocab, shape: "tree" }),
} as const satisfies Readonly<Record<string, (window: Window) => LocalDrafter>>;

export type DrafterName = keyof typeof DRAFTERS;

export const DRAFTER_NAMES = Object.keys(DRAFTERS) as readonly DrafterName[];

/** Whether a drafter gives trees, which only some verifiers take. */
export function draftsTrees(name: DrafterName | "none" | "self"): boolean {
  return name === "recycling-tree";
}

const MIN_CAPACITY = 64;
const MAX_CAPACITY = 1 << 20;

/**
 * The drafter of a name, with what else is known of the text: first what a grammar leaves no choice in, then of
 * prediction and named drafter the one with the longer match.
 *
 * @param name "none": only prediction and grammar.
 * @returns Null if there is nothing to draft with.
 * @throws {TypeError | RangeError} If the name is unknown or an option wrong.
 *
 * @example
 * ```ts
 * const drafter = createDrafter("suffix", { vocab: 4096, prediction: tokens, start: prompt.length });
 * ```
 */
export function createDrafter(name: DrafterName, options: DrafterOptions): LocalDrafter;
export function createDrafter(name: DrafterName | "none", options: DrafterOptions): LocalDrafter | null;
export function createDrafter(name: DrafterName | "none", options: DrafterOptions): LocalDrafter | null {
  const { vocab, capacity, endTokens, prediction, start, constraint } = options;
  if (capacity !== undefined) expectInteger("capacity", capacity, MIN_CAPACITY, MAX_CAPACITY);
  if (name !== "none" && !Object.hasOwn(DRAFTERS, name)) {
    throw new RangeError(`Drafter must be one of none, ${DRAFTER_NAMES.join(", ")}, got "${name}"`);
  }
  const drafters: LocalDrafter[] = [];
  if (constraint !== undefined) drafters.push(new JumpForwardDrafter({ constraint }));
  if (prediction !== undefined) drafters.push(new PredictedOutputDrafter({ vocab, prediction, start }));
  if (name !== "none") drafters.push(DRAFTERS[name]({ vocab, capacity, endTokens }));
  if (drafters.length < 2) return drafters[0] ?? null;
  return new BestOfDrafter(drafters);
}
