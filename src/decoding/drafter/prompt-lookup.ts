/**
 * prompt-lookup: prompt lookup decoding as in Hugging Face transformers.
 *
 * The last 3, else 2, else 1 tokens are looked up in the text so far, and up to 10 that followed their first occurrence
 * are copied, none after a token that ends the text. Source: Saxena 2023, "Prompt Lookup Decoding".
 */
import { expectInteger } from "../../errors.ts";
import { chain, expectGamma, expectTokens, type LookupDraft, MAX_GAMMA } from "./drafter.ts";
import { NgramDrafter } from "./ngram.ts";
import type { WindowOptions } from "./window.ts";

export interface PromptLookupOptions extends WindowOptions {
  /** Tokens that are looked up at most, default 3. */
  readonly maxNgram?: number;
  /** Tokens to copy at most, default 10. */
  readonly maxTokens?: number;
  /** Tokens after which nothing is copied: those that end a text. */
  readonly endTokens?: Iterable<number>;
}

export class PromptLookupDrafter extends NgramDrafter {
  readonly #maxTokens: number;
  readonly #endTokens: ReadonlySet<number>;

  constructor({ maxNgram = 3, maxTokens = 10, endTokens = [], ...window }: PromptLookupOptions) {
    super({ ...window, minNgram: 1, maxNgram });
    this.#maxTokens = expectInteger("maxTokens", maxTokens, 1, MAX_GAMMA);
    this.#endTokens = new Set(endTokens);
    expectTokens("endTokens", [...this.#endTokens], window.vocab);
  }

  override draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const { tokens, matchLength } = super.draft(Math.min(gamma, this.#maxTokens));
    const end = tokens.findIndex((token) => this.#endTokens.has(token));
    return chain(end < 0 ? tokens : tokens.slice(0, end + 1), matchLength);
  }
}
