/**
 * What goes into a round of speculative decoding and what comes out.
 *
 * A drafter proposed some tokens, the target gave a row for each place in the draft, and a verifier decides how much of
 * the draft survives and which token follows. In formulas p is a target row and q a draft row (Leviathan's letters).
 */

import type { RowMath, VerifyRandom } from "../../backend/row-math.ts";
import type { Draft, RowSet } from "../draft.ts";
import type { Policy } from "./registry.ts";

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
