/**
 * jump-forward: where a grammar allows one token only, that token is the draft.
 *
 * Under the grammar's mask the target's row is one-hot there, so every verifier accepts it. Source: Zheng et al. 2023,
 * "SGLang", arXiv:2312.07104, where it is called the compressed finite state machine.
 */
import { expectInteger } from "../../errors.ts";
import type { Constraint } from "../constraint.ts";
import {
  chain,
  expectGamma,
  expectTokens,
  expectVocab,
  type LocalDrafter,
  type LookupDraft,
} from "./drafter.ts";

export interface JumpForwardOptions {
  /** Stands after the committed tokens whenever a draft is asked for: whoever commits them advances it. */
  readonly constraint: Constraint;
}

export class JumpForwardDrafter implements LocalDrafter {
  readonly vocab: number;
  /** The grammar is the caller's. */
  readonly bytes = 0;
  length = 0;
  readonly #constraint: Constraint;

  constructor({ constraint }: JumpForwardOptions) {
    this.vocab = expectVocab(constraint.vocab);
    this.#constraint = constraint;
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
    const constraint = this.#constraint;
    const tokens: number[] = [];
    try {
      while (tokens.length < gamma) {
        const token = constraint.onlyToken();
        if (token === null) break;
        expectInteger("constraint.onlyToken()", token, 0, this.vocab - 1);
        constraint.accept(token);
        tokens.push(token);
      }
    } finally {
      if (tokens.length > 0) constraint.rollback(tokens.length);
    }
    return chain(tokens, Infinity);
  }
}
