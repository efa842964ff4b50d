import type { Fields } from "./fields.ts";
import type { Place } from "./step.ts";
import { TokenIndex } from "./token-index.ts";

/** Which tokens before count. */
export interface Scope {
  /** Prompt and output, or the output alone. Default "all". */
  scope?: "all" | "output";
  /** Only the last n of those; 0 for all. Default 0. */
  lastN?: number;
}

export function readScope(fields: Fields): Required<Scope> {
  return {
    scope: fields.choice("scope", ["all", "output"], "all"),
    lastN: fields.integer("lastN", 0, 2 ** 31 - 1, 0),
  };
}

/** The history from here to its end is in scope. */
export function scopeStart({ scope, lastN }: Required<Scope>, { history, promptLength }: Place): number {
  const start = scope === "all" ? 0 : promptLength;
  return lastN === 0 ? start : Math.max(start, history.length - lastN);
}

/** Calls once for each token of the vocabulary that occurs in scope, in the order of first occurrence. */
export function forEachToken(
  scope: Required<Scope>,
  place: Place,
  call: (token: number, count: number) => void,
): void {
  const { index, counts } = place.occurrences.since(scopeStart(scope, place));
  for (let i = 0; i < index.count; i++) call(index.tokens[i], counts[i]);
}

/** How often the tokens of a history occur, counted once for all steps with the same scope. */
export class Occurrences {
  readonly index = new TokenIndex();
  /** (index.count), in the order of the index. */
  counts = new Uint32Array(64);
  #history: ArrayLike<number> = [];
  #vocab = 0;
  #start = -1;

  /** Forgets what was counted; tokens outside the vocabulary will not count. */
  reset(history: ArrayLike<number>, vocab: number): void {
    this.#history = history;
    this.#vocab = vocab;
    this.#start = -1;
  }

  /** From `start` to the end of the history. */
  since(start: number): this {
    if (start === this.#start) return this;
    this.#start = start;
    this.index.clear();
    for (let i = start; i < this.#history.length; i++) this.#count(this.#history[i]);
    return this;
  }

  #count(token: number): void {
    if (token >>> 0 !== token || token >= this.#vocab) return;
    const before = this.index.count;
    const number = this.index.add(token);
    if (number < before) this.counts[number]++;
    else {
      if (number === this.counts.length) this.#grow();
      this.counts[number] = 1;
    }
  }

  #grow(): void {
    const counts = new Uint32Array(2 * this.counts.length);
    counts.set(this.counts);
    this.counts = counts;
  }
}
