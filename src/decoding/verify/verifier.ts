import type { LawKind } from "../draft.ts";
import type { Round } from "./round.ts";
import type { Verdict } from "./types.ts";

/** A rule that ends a round, and what it promises. */
export interface Verifier<Options extends object = object> {
  /** Whether the emitted tokens have the target's joint law (for greedy: are the target's best), for any draft. */
  readonly lossless: boolean;
  /** Whether the text depends on target and seed alone: not on the drafter, nor on how much it drafts. */
  readonly reproducible: boolean;
  /** What the drafter must say about the law of its tokens. */
  readonly laws: readonly LawKind[];
  readonly shape: "chain" | "tree";
  /**
   * What the promise assumes of nodes with the same parent:
   *
   *     any            nothing
   *     independent    each was drawn from q, repetition allowed
   *     drawn          they were drawn from q, with or without replacement
   */
  readonly siblings: "any" | "independent" | "drawn";
  /** @throws {TypeError | RangeError} If an option or a row that is needed is wrong. */
  decide(round: Round, options: Options): Verdict;
}

export const ALL_LAWS: readonly LawKind[] = ["one-hot", "scalars", "rows"];
