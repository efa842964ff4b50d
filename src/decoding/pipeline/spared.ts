/**
 * spared: what is told of a row that nobody has made, by a head that knows it from the hidden state.
 *
 *     best, logit     what the row has, bit for bit: top-k and greedy, with edits before them, and allowed ids
 *     draw            a token of the law of edits and a temperature. A head that has it draws with noise of its own: for
 *                     pipelines of these steps alone it says which token that is, with drafts and without
 *     race            the token that the race over the row gives, at a temperature. How likely it is takes the row
 */
import type { Row } from "./candidates.ts";
import type { TokenLogProbability } from "./distribution.ts";

/**
 * The `count` largest logits of the row, best first, of equal ones the lower id; fewer only if no others are above −∞.
 * The row stays as it is, and where it is.
 */
export type FindBest = (count: number) => { readonly ids: Uint32Array; readonly logits: Row };

/** Which token is drawn from softmax(logits / temperature). */
export interface DrawPlace {
  /** 1e-100 … 100 */
  readonly temperature: number;
  /** Integer from 0 to 2^53 − 1. */
  readonly seed: number;
  /** Of the token in the text, 0 … 2^32 − 1. */
  readonly position: number;
}

/** The same where some logits are replaced by others. */
export interface DrawLaw extends DrawPlace {
  readonly edits: {
    /** Ascending, each below the vocabulary. */
    readonly tokens: ArrayLike<number>;
    /** (tokens.length) before the temperature; NaN: no chance. */
    readonly logits: ArrayLike<number>;
  };
}

/** A token and what is known of its law. */
export interface DrawnToken extends TokenLogProbability {
  /** The most likely tokens, as many as were asked for, most likely first. */
  readonly top: readonly TokenLogProbability[];
}

export interface SparedRow {
  readonly vocab: number;
  readonly best: FindBest;
  /** The logit of one token. */
  logit?(token: number): number;
  /** @param top Most likely tokens to tell. @returns null if no token has a chance. */
  draw?(law: DrawLaw, top: number): DrawnToken | null;
  /** @returns null if the row must be looked at. */
  race?(place: DrawPlace): number | null;
}
