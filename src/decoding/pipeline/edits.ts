import { bounded, logitOf } from "./candidates.ts";
import { TokenIndex } from "./token-index.ts";

/** Single tokens whose logits may be changed: all that a step needs that looks at no other token. */
export interface TokenEdits {
  /** Adds to the logit of a token, if it is a candidate. */
  add(id: number, amount: number): void;
  /** Makes a token's logit less, if it is a candidate: divides what is positive, multiplies what is not. */
  penalize(id: number, penalty: number): void;
  /** Removes tokens; those that are no candidates do not matter. */
  forbid(tokens: Iterable<number>): void;
}

export function penalized(logit: number, penalty: number): number {
  return logit > 0 ? logit / penalty : logit * penalty;
}

/** Logits by token, whether or not all of them are anywhere; a row is that. */
export interface Logits {
  /** V */
  readonly length: number;
  /** Of a token below the vocabulary. */
  at(token: number): number | undefined;
}

/**
 * The tokens of a row that steps have changed, and what they made of them, without a copy of the row.
 *
 * A step does to a token here what it does among all candidates, number for number; both begin with `logitOf` the row and
 * end with `bounded`.
 */
export class EditedTokens implements TokenEdits {
  readonly index = new TokenIndex();
  /** (index.count); NaN: no candidate. */
  logits = new Float64Array(64);
  #row: Logits = new Float32Array(0);

  begin(row: Logits): void {
    this.#row = row;
    this.index.clear();
  }

  add(id: number, amount: number): void {
    const at = this.#numberOf(id);
    if (at >= 0 && !Number.isNaN(this.logits[at])) this.logits[at] = bounded(this.logits[at] + amount);
  }

  penalize(id: number, penalty: number): void {
    const at = this.#numberOf(id);
    if (at >= 0 && !Number.isNaN(this.logits[at]))
      this.logits[at] = bounded(penalized(this.logits[at], penalty));
  }

  forbid(tokens: Iterable<number>): void {
    for (const token of tokens) {
      const at = this.#numberOf(token);
      if (at >= 0) this.logits[at] = NaN;
    }
  }

  /** Notes a token that no step changed; false if one did, or it is noted. */
  note(id: number, logit: number): boolean {
    const before = this.index.count;
    if (this.index.add(id) < before) return false;
    this.#set(before, logit);
    return true;
  }

  #numberOf(id: number): number {
    if (id >>> 0 !== id || id >= this.#row.length) return -1;
    const before = this.index.count;
    const at = this.index.add(id);
    if (at === before) this.#set(at, logitOf(this.#row.at(id) as number));
    return at;
  }

  #set(at: number, logit: number): void {
    if (at === this.logits.length) {
      const logits = new Float64Array(2 * at);
      logits.set(this.logits);
      this.logits = logits;
    }
    this.logits[at] = logit;
  }
}
