/**
 * suffix: copies what followed the longest suffix of the text that occurred before.
 *
 * As in suffix decoding (Oliaro et al. 2024, arXiv:2411.04975) a draft is at most as long as what it was matched by: a
 * short match risks little, and inside a copy the length doubles with every accepted draft.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { chain, expectGamma, type LookupDraft, MAX_GAMMA, NO_DRAFT } from "./drafter.ts";
import { SuffixAutomaton } from "./suffix-automaton.ts";
import { copyOnwards, TokenWindow, type WindowOptions } from "./window.ts";
import { WindowDrafter } from "./window-drafter.ts";

export interface SuffixOptions extends WindowOptions {
  /** Tokens that must agree, default 2. */
  readonly minMatch?: number;
  /** Tokens to draft per matched token, default 1; at least one is drafted. */
  readonly factor?: number;
}

export class SuffixDrafter extends WindowDrafter<SuffixAutomaton> {
  readonly #minMatch: number;
  readonly #factor: number;

  constructor({ minMatch = 2, factor = 1, ...window }: SuffixOptions) {
    super(new TokenWindow(new SuffixAutomaton(), window));
    this.#minMatch = expectInteger("minMatch", minMatch, 1, 1024);
    this.#factor = expectNumber("factor", factor, 0, MAX_GAMMA);
  }

  /** Position of the first token that is still known. */
  get start(): number {
    return this.window.start;
  }

  /** Elementary steps of the automaton so far: a cost that can be asserted, as time cannot. */
  get steps(): number {
    return this.window.index.steps;
  }

  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const { index } = this.window;
    const { matchLength, matchEnd } = index;
    if (matchLength < this.#minMatch) return NO_DRAFT;
    const count = Math.min(gamma, Math.max(1, Math.floor(matchLength * this.#factor)));
    return chain(copyOnwards(index, matchEnd + 1, count), matchLength);
  }
}
