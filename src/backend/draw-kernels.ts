/**
 * DrawKernels: the tokens that follow, where rows are made in another memory than those who sample them: a few words cross
 * instead of a row. reference/draw.ts is the definition.
 *
 *     logit of a token   ((x + before) ÷ or · penalty) + after     if it is edited: penalties divide what is positive
 *                        x                                         if not;   none if x is NaN or −∞, or the mask forbids it
 *
 *     changes and mask  →  cuts  →  temperature  →  race
 *
 * A device works in f32. What it tells is what the definition tells, or nothing: where rounding might decide, whoever needs
 * to know looks at the row.
 */
import type { Floats } from "./backend.ts";

/** What pipelines do to the logits of single tokens before they divide by a temperature. */
export interface LogitChanges {
  /** Below the vocabulary, each once. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length, 3): before, penalty, after. `after` −∞: the token has no chance. All others finite, penalty > 0. */
  readonly changes: ArrayLike<number>;
}

/**
 * Leaves the best of the tokens that are left, in order of their logits, of equal ones the lower id:
 *
 *     top-k   k of them; with ties "all" those too that equal the last of these
 *     top-p   as many as it takes for Σ exp(logit / temperature) to reach a share p of the sum over all that are left
 *     min-p   those with logit / temperature ≥ largest / temperature + ln p
 *
 * The best token always stays.
 */
export type Cut =
  | { readonly cut: "top-k"; readonly k: number; readonly ties: "lowest" | "all" }
  | { readonly cut: "top-p"; readonly p: number; readonly temperature: number }
  | { readonly cut: "min-p"; readonly p: number; readonly temperature: number };

/** What is asked of one row. */
export interface DrawTask {
  readonly changes?: LogitChanges;
  /** Bit id mod 32 of word ⌊id / 32⌋. Default: all tokens. */
  readonly mask?: Uint32Array;
  /** What is drawn from, one after the other, at most MOST_CUTS. Default: all tokens that have a chance. */
  readonly cuts?: readonly Cut[];
  /** Divides logits, those that are left; 0: the best token. */
  readonly temperature: number;
  readonly seed: number;
  /** Of the token, in its sequence. */
  readonly position: number;
  /** Best tokens to list instead of drawing one, before any cut. */
  readonly list?: number;
}

export interface DrawnToken {
  readonly token: number;
  /** ln p of it in the law it was drawn from, within 1e-5. */
  readonly logProbability: number;
}

/** The best tokens, and what the law of all tokens needs of the others. */
export interface DrawnList {
  /** In no order. */
  readonly ids: Uint32Array;
  /** Of the row as it is: no change is made to them. */
  readonly logits: Float32Array;
  /** No other token has a logit, changes made, above this; −∞: there is no other. */
  readonly bound: number;
  /** Σ exp((logit − largest) / temperature) of the tokens that are not listed, changes made. */
  readonly rest: number;
  /** How far `rest` may be off, relative: some 1e-5 where no logit is changed. */
  readonly restError: number;
}

export type Drawn = DrawnToken | DrawnList;

/** A drafted chain of tokens, and how to decide on it: verify/token.ts and verify/block.ts have the rules. */
export interface ScanTask {
  readonly verifier: "token" | "block";
  /** Below the vocabulary. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length) rows of probabilities, each with a sum near 1, that the tokens were drawn from. Default: they were chosen. */
  readonly rows?: readonly (Float32Array | Float64Array)[];
  /** Position of the first token that comes of it: the address of its numbers. */
  readonly start: number;
  readonly seed: number;
}

export interface Scanned {
  /** Tokens of the chain that are kept, and the one that follows them. */
  readonly accepted: number;
  readonly token: number;
  /** (accepted + 1) ln p of these, within 1e-5. */
  readonly logProbabilities: Float64Array;
}

export interface DrawKernels {
  /**
   * What the race of pipeline/race.ts gives in each of some rows, or their best tokens.
   *
   * @param x (tasks.length, stride(vocab)); nobody else changes them until the answer is there. As they were afterwards.
   * @returns Null for a row of which that cannot be told: two tokens are so close that rounding decides, it has none, or an
   *   infinite one. Of a row with cuts, where it is the cuts that cannot be told, the list that they are to be made in, at
   *   the temperature of the first, or null.
   */
  draw(x: Floats, vocab: number, tasks: readonly DrawTask[]): Promise<readonly (Drawn | null)[]>;
  /**
   * Decides on a draft by the laws of rows, and draws what follows: from what the rule leaves, at u in its cumulative sum.
   * A device's laws are right within 1e-5, and so is the law of what it decides; near a boundary its token may be another.
   *
   * @param x (scan.tokens.length + 1, stride(vocab)); as they were afterwards.
   * @param laws What each row's law is: softmax((logits, changes made) / temperature), which is above 0, under the mask and
   *   of what the cuts leave.
   * @returns Null if a row has no logit, or an infinite one, if its cuts cannot be told, or if a row of the task is no law.
   */
  scan(x: Floats, vocab: number, laws: readonly DrawTask[], scan: ScanTask): Promise<Scanned | null>;
}

/** Words of a list's head. */
export const LIST_HEAD_WORDS = 4;

/** Tokens of a list that is told in 512 bytes. */
export const USUAL_LIST = 62;
/** Tokens of the longest list; longer ones take longer than the row. */
export const LONGEST_LIST = 1022;
/** Tokens listed beyond those that are wanted, where rounding may have moved some, or several have the last place. */
export const LIST_ROOM = 8;

/** Cuts of a task. */
export const MOST_CUTS = 16;
