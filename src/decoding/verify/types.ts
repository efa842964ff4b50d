/**
 * What goes into a round of speculative decoding and what comes out.
 *
 * A drafter proposed some tokens, the target gave a row for each place in the draft, and a verifier decides how much of
 * the draft survives and which token follows. In formulas p is a target row and q a draft row (Leviathan's letters).
 */
import type { VerifyRandom } from "./random.ts";
import type { Policy } from "./registry.ts";
import type { RowMath } from "./row-math.ts";

/** (vocab) values, one per token id. */
export type Row = Float32Array | Float64Array;

/** Rows of one draft. Row 0 follows the committed text, row i + 1 follows draft node i. `Rows` of a session is one. */
export interface RowSet {
  readonly count: number;
  /** Ids in use. Rows may be longer; what lies beyond is padding and is never read. */
  readonly vocab: number;
  /**
   * Called once at most for each index, and only for rows that are needed, so a row may be computed here. What it gives
   * must stay as it is until `verify` returns.
   */
  row(index: number): Row;
}

/**
 * The law that the draft tokens were really drawn from, after the drafter's own truncation, masking and quantization.
 *
 *     "one-hot"      each token was chosen, not drawn; right for any drafter, sampled ones too, if it keeps no q
 *     { scalars }    q of each drafted token, (nodes); the rows stay with whoever drafted
 *     { rows }       row i + 1 is the law that the children of node i were drawn from, row 0 that of the first ones
 */
export type DraftLaw = "one-hot" | { readonly scalars: ArrayLike<number> } | { readonly rows: RowSet };

export type LawKind = "one-hot" | "scalars" | "rows";

export interface Draft {
  /** One token per node, in an order where parents come first. Ids outside the vocabulary are never accepted. */
  readonly tokens: ArrayLike<number>;
  /**
   * The node before each node, −1 for the committed text. Default: a chain, −1, 0, 1, …
   * Siblings are tried by index, so that must be the order they were drawn in.
   */
  readonly parents?: ArrayLike<number>;
  readonly law: DraftLaw;
}

export interface VerifyRequest {
  /** Target rows, nodes + 1 of them: probabilities that sum to 1, unless the verifier says otherwise. */
  readonly rows: RowSet;
  readonly draft: Draft;
  /** Position in the sequence of the first token that this round emits. */
  readonly start: number;
  readonly random: VerifyRandom;
  /** Which verifier, with its options. */
  readonly policy: Policy;
  /** Default: `referenceRowMath`. */
  readonly math?: RowMath;
}

export interface Verdict {
  /** Nodes of the accepted path, first to last: what a key-value cache keeps of the draft. */
  readonly accepted: readonly number[];
  /** Tokens of the accepted path and, unless `pending`, the one that follows: accepted + 1. */
  readonly emitted: readonly number[];
  /**
   * Set when the law was given as scalars and a token was rejected: index of the target row whose correction is
   * still to be drawn, with `drawCorrection`, by whoever has the draft row of the same index.
   */
  readonly pending: number | null;
  readonly stats: VerdictStats;
}

export interface VerdictStats {
  /** Nodes of the draft. */
  readonly drafted: number;
  /** Places on the emitted path that had a proposal: accepted, and one more if that one was rejected. */
  readonly tested: number;
  readonly accepted: number;
  /** Whether the last token follows a draft that was used up ("bonus"), rather than correcting it. */
  readonly bonus: boolean;
}
