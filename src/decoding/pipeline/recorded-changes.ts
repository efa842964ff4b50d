import type { LogitChanges } from "../../backend/draw-kernels.ts";
import type { TokenEdits } from "./edits.ts";
import { TokenIndex } from "./token-index.ts";

/** Numbers per token: what is added before the penalty, the penalty, what is added after it. */
const NUMBERS = 3;

/** What steps do to tokens whose logits are not known here: kept, to be done where the row is. */
export class RecordedChanges implements TokenEdits {
  readonly #vocab: number;
  readonly #index = new TokenIndex();
  readonly #changes: number[] = [];
  #isPlain = true;

  constructor(vocab: number) {
    this.#vocab = vocab;
  }

  /** All of it; null if something was done that these numbers have no room for: a penalty, an addition, a penalty. */
  changes(): LogitChanges | undefined | null {
    if (!this.#isPlain) return null;
    const { tokens, count } = this.#index;
    return count === 0 ? undefined : { tokens: tokens.slice(0, count), changes: this.#changes };
  }

  add(id: number, amount: number): void {
    const at = this.#numberOf(id);
    if (at >= 0) this.#changes[at + (this.#changes[at + 1] === 1 ? 0 : 2)] += amount;
  }

  penalize(id: number, penalty: number): void {
    const at = this.#numberOf(id);
    if (at < 0 || this.#changes[at + 2] === -Infinity) return;
    if (this.#changes[at + 2] !== 0) this.#isPlain = false;
    this.#changes[at + 1] *= penalty;
  }

  forbid(tokens: Iterable<number>): void {
    for (const token of tokens) {
      const at = this.#numberOf(token);
      if (at >= 0) this.#changes[at + 2] = -Infinity;
    }
  }

  /** Where a token's numbers begin; −1: it is none. */
  #numberOf(id: number): number {
    if (id >>> 0 !== id || id >= this.#vocab) return -1;
    const at = NUMBERS * this.#index.add(id);
    if (at === this.#changes.length) this.#changes.push(0, 1, 0);
    return at;
  }
}
