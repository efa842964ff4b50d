/**
 * jump-forward: where a grammar allows one token only, that token is the draft.
 *
 * Under the grammar's mask the target's row is one-hot there, so every verifier accepts it. Source: Zheng et al. 2023,
 * "SGLang", arXiv:2312.07104, where it is called the compressed finite state machine.
 */
import { expectInteger } from "../../errors.ts";
import {
  chain,
  expectGamma,
  expectTokens,
  expectVocab,
  type LocalDrafter,
  type LookupDraft,
} from "./drafter.ts";

/**
 * The only token that may come after the committed tokens and then `drafted`; null if there are several, or the text
 * may end. It is the caller's grammar that holds the committed tokens; asking must not advance it.
 */
export type OnlyToken = (drafted: readonly number[]) => number | null;

export interface JumpForwardOptions {
  readonly vocab: number;
  readonly onlyToken: OnlyToken;
}

export class JumpForwardDrafter implements LocalDrafter {
  readonly vocab: number;
  length = 0;
  readonly #onlyToken: OnlyToken;

  constructor({ vocab, onlyToken }: JumpForwardOptions) {
    this.vocab = expectVocab(vocab);
    this.#onlyToken = onlyToken;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    this.length += tokens.length;
  }

  truncate(length: number): void {
    this.length = expectInteger("length", length, 0, this.length);
  }

  /** @throws {RangeError} If the grammar names a token outside the vocabulary. */
  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const tokens: number[] = [];
    while (tokens.length < gamma) {
      const token = this.#onlyToken(tokens);
      if (token === null) break;
      tokens.push(expectInteger("onlyToken()", token, 0, this.vocab - 1));
    }
    return chain(tokens, Infinity);
  }
}
