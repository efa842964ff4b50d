/**
 * Drafter: proposes the tokens that a target model then verifies, many in one call.
 *
 *     drafter.append(prompt)
 *     repeat:  draft = drafter.draft(gamma);  verify draft;  drafter.append(emitted)
 *
 * A draft changes the speed of decoding and never its text, so a drafter may be wrong, forgetful or silent; what it
 * must be is cheap, bounded and deterministic.
 */
import { expectInteger } from "../../errors.ts";
import type { Draft } from "../draft.ts";

/**
 * One sequence's drafter. It is fed every committed token, prompt included, and told when tokens are taken back.
 *
 * @example
 * ```ts
 * const drafter: Drafter = new SuffixDrafter({ vocab: 100 });
 * drafter.append([5, 6, 7, 8, 5, 6]);
 * drafter.draft(2); // { tokens: [7, 8], law: "one-hot", matchLength: 2 }
 * ```
 */
export interface Drafter {
  /** Every token taken or given is below it. */
  readonly vocab: number;
  /** Committed tokens, which is also the position of the next one. */
  readonly length: number;
  /** @throws {RangeError} If a token is not below `vocab`; nothing is appended then. */
  append(tokens: ArrayLike<number>): void;
  /** Reads what was appended, so that the first draft does not take the time that the prompt does. */
  prepare?(): Promise<void>;
  /** Takes back everything from position `length` on. */
  truncate(length: number): void;
  /**
   * Drafts at most `gamma` tokens, or none. Changes nothing: asked twice, it answers the same.
   *
   * @param gamma 0 … MAX_GAMMA
   */
  draft(gamma: number): Draft | Promise<Draft>;
  /**
   * Told after a verification, for each verified row: the token that the row follows, and its best tokens, best
   * first. For drafters that learn from rows; it changes later drafts, not `length`.
   */
  observe?(token: number, successors: ArrayLike<number>): void;
}

/** A draft that a rule chose, by what it remembers. */
export interface LookupDraft extends Draft {
  readonly tokens: readonly number[];
  readonly parents?: readonly number[];
  readonly law: "one-hot";
  readonly matchLength: number;
}

/** A drafter that answers at once: all that run no model. */
export interface LocalDrafter extends Drafter {
  /** Memory of its tables. */
  readonly bytes: number;
  draft(gamma: number): LookupDraft;
}

/** Longest draft that can be asked for: beyond, no target call gains from more. */
export const MAX_GAMMA = 256;

/** Largest vocabulary, so that tables over it have a ceiling. */
export const MAX_VOCAB = 1 << 20;

export const NO_DRAFT: LookupDraft = Object.freeze({
  tokens: Object.freeze([]),
  law: "one-hot",
  matchLength: 0,
});

/** A chain chosen by a rule; `NO_DRAFT` of no tokens. */
export function chain(tokens: readonly number[], matchLength: number): LookupDraft {
  return tokens.length === 0 ? NO_DRAFT : { tokens, law: "one-hot", matchLength };
}

export function expectGamma(gamma: number): number {
  return expectInteger("gamma", gamma, 0, MAX_GAMMA);
}

export function expectVocab(vocab: number): number {
  return expectInteger("vocab", vocab, 1, MAX_VOCAB);
}

/** Throws unless every token is an integer below `vocab`. */
export function expectTokens(name: string, tokens: ArrayLike<number>, vocab: number): void {
  for (let i = 0; i < tokens.length; i++) expectInteger(`${name}[${i}]`, tokens[i], 0, vocab - 1);
}
