import type { Candidates } from "./candidates.ts";
import type { TokenEdits } from "./edits.ts";
import type { Fields } from "./fields.ts";
import type { Occurrences } from "./history.ts";

/** Where in a text a row stands, as the steps see it. */
export interface Place {
  /** Prompt and output so far. */
  readonly history: ArrayLike<number>;
  /** How many of them are the prompt. */
  readonly promptLength: number;
  /** Of the token to be chosen; with the seed, the address of its randomness. */
  readonly position: number;
  readonly seed: number;
  /** (⌈vocab / 32⌉) what a grammar allows: bit id mod 32 of word id / 32. Undefined: everything. */
  readonly bitmask: Uint32Array | undefined;
  /** Of the tokens of the history. */
  readonly occurrences: Occurrences;
}

/** One kind of step: what its JSON must be, and what it does. `Values` has every field that has a default. */
export interface StepKind<Values extends object> {
  /** @throws {TypeError | RangeError} If a field is wrong. */
  read(fields: Fields): Values;
  /** Whether it changes nothing, for any row. */
  isNeutral?(values: Values): boolean;
  /**
   * Changes the logits of single tokens, or forbids them, whatever the others are. Steps at the beginning of a pipeline
   * that do no more are run on these tokens alone. A kind has either this or `apply`.
   */
  edit?(tokens: TokenEdits, values: Values, place: Place): void;
  /**
   * Changes the candidates; only masks may leave none.
   *
   * @param index Of the step in its pipeline: tells two steps of one kind apart in the randomness.
   * @param memory What the step remembers, if it is of a kind that does.
   */
  apply?(candidates: Candidates, values: Values, place: Place, index: number, memory: number): void;
  /** For steps whose law depends on the tokens before in a way that the history does not tell. */
  readonly memory?: {
    start(values: Values): number;
    /** After a token of probability 2^-`surprise` was emitted. */
    next(values: Values, memory: number, surprise: number): number;
  };
}
