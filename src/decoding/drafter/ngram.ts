/**
 * ngram: copies what followed the last n tokens when they occurred before.
 *
 * The longest n that occurs wins, and of its occurrences the earliest; the copy ends where the sequence ends. These are
 * the rules of vLLM's n-gram proposer, whose published cases are the tests.
 */
import { expectInteger } from "../../errors.ts";
import { chain, expectGamma, type LookupDraft, NO_DRAFT } from "./drafter.ts";
import { NgramIndex } from "./ngram-index.ts";
import { TokenWindow, type WindowOptions } from "./window.ts";
import { WindowDrafter } from "./window-drafter.ts";

export interface NgramOptions extends WindowOptions {
  /** Tokens that must agree, default 2. */
  readonly minNgram?: number;
  /** Tokens that are compared at most, default 4. */
  readonly maxNgram?: number;
}

/** Beyond, the suffix automaton costs less: it knows all lengths at once. */
const MAX_NGRAM = 16;

export class NgramDrafter extends WindowDrafter<NgramIndex> {
  constructor({ minNgram = 2, maxNgram = 4, ...window }: NgramOptions) {
    expectInteger("maxNgram", maxNgram, 1, MAX_NGRAM);
    expectInteger("minNgram", minNgram, 1, maxNgram);
    super(new TokenWindow(new NgramIndex(minNgram, maxNgram), window));
  }

  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const { index } = this.window;
    for (let n = index.maxNgram; n >= index.minNgram; n--) {
      const end = index.find(n);
      if (end < 0) continue;
      const count = Math.min(gamma, index.length - 1 - end);
      return chain(
        Array.from({ length: count }, (_, i) => index.at(end + 1 + i)),
        n,
      );
    }
    return NO_DRAFT;
  }
}
