/**
 * codebook-edits: tokens that leave their code, as something else decides their logits. Where few of them are touched, all
 * other codes stay as they are.
 */
import { expectInteger } from "../../errors.ts";

/** Logits of some tokens in place of those of the head, before any temperature. */
export interface LogitEdits {
  /** Ascending, each below the vocabulary. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length) NaN and −∞: the token has no chance. */
  readonly logits: ArrayLike<number>;
}

/** +∞ counts as the largest f32, as in a pipeline. */
const MOST = 3.4028234663852886e38;

/** Tokens that have left their codes. */
export interface Apart {
  /** Those that still have a chance, each once. */
  readonly tokens: ArrayLike<number>;
  /** (tokens.length) finite. */
  readonly logits: ArrayLike<number>;
  isAlone(token: number): boolean;
  /** Whether a code has lost tokens. */
  has(code: number): boolean;
  /** The highest bias that is left in a code, −∞ if it has no token left; `whole` if it has lost none. */
  best(code: number, whole: number): number;
}

export class EditedTokens implements Apart {
  readonly tokens: readonly number[];
  readonly logits: readonly number[];
  readonly #alone = new Set<number>();
  /** The highest bias that is left in a code, by code. */
  readonly #best = new Map<number, number>();

  /** @param bestLeft The highest bias of a code's tokens that do not stand alone, −∞ if all do. */
  constructor(
    edits: LogitEdits,
    codeOf: Uint16Array,
    bestLeft: (code: number, isAlone: (token: number) => boolean) => number,
  ) {
    const tokens: number[] = [];
    const logits: number[] = [];
    let last = -1;
    for (let i = 0; i < edits.tokens.length; i++) {
      const token = expectInteger(`edits.tokens[${i}]`, edits.tokens[i], last + 1, codeOf.length - 1);
      last = token;
      this.#alone.add(token);
      const logit = edits.logits[i];
      if (!(logit > -Infinity)) continue;
      tokens.push(token);
      logits.push(Math.min(logit, MOST));
    }
    this.tokens = tokens;
    this.logits = logits;
    for (const token of this.#alone) {
      const code = codeOf[token];
      if (!this.#best.has(code)) this.#best.set(code, bestLeft(code, this.isAlone));
    }
  }

  readonly isAlone = (token: number): boolean => this.#alone.has(token);

  has(code: number): boolean {
    return this.#best.has(code);
  }

  best(code: number, whole: number): number {
    return this.#best.get(code) ?? whole;
  }
}
