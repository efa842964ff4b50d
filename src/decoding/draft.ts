/**
 * draft: tokens that may come next, and the law they were drawn from. What drafters give and verifiers take.
 */

import type { Row } from "../backend/row-math.ts";
import type { EncodedRow } from "../format/wire/index.ts";

export type { Row };

/** Rows of one draft. Row 0 follows the committed text, row i + 1 follows draft node i. `Rows` of a session is one. */
export interface RowSet {
  readonly count: number;
  /** Ids in use. Rows may be longer; what lies beyond is padding and is never read. */
  readonly vocab: number;
  /**
   * Called once at most for each index, and only for rows that are needed, so a row may be computed here. What it gives
   * must stay as it is until `verify` returns; a view of a backend's memory, which growth detaches, is best made here.
   *
   * An encoded row, format/wire, stands for the softmax of its logits: who drafted must have drawn from just that.
   */
  row(index: number): Row | EncodedRow;
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
  /** Confidence: how many of the last committed tokens the draft was matched by; Infinity for what is certain. */
  readonly matchLength?: number;
}
