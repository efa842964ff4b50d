import { expBelow } from "../../exp-below.ts";
import { log } from "../../math.ts";
import { penalized, type TokenEdits } from "./edits.ts";

/** (vocab) logits, one per token id. */
export type Row = Float32Array | Float64Array;

/** What an infinite logit counts as, the largest f32: it wins, and differences stay numbers. */
export const MOST = 3.4028234663852886e38;
/** Bound of edited logits, so that no step meets ∞ − ∞. */
const BOUND = 1e300;

/** Slots at least: the usual top-k with some penalties needs no more. */
const LEAST_ROOM = 256;

/** A logit of a row as the steps work on it; NaN: no candidate. */
export function logitOf(logit: number): number {
  if (!(logit > -Infinity)) return NaN;
  return logit === Infinity ? MOST : logit;
}

/** @param mask Bit id mod 32 of word ⌊id / 32⌋; undefined: everything. */
export function allows(mask: Uint32Array | undefined, id: number): boolean {
  return mask === undefined || ((mask[id >>> 5] >>> (id & 31)) & 1) === 1;
}

export function bounded(logit: number): number {
  return Math.min(BOUND, Math.max(-BOUND, logit));
}

/**
 * The tokens that are still possible, with their logits; what the steps of a pipeline work on.
 *
 * Always in order of id, whatever was removed: sums have one order, and the first of equal ones is the lowest id. Logits
 * are finite. The arrays are reused for every row, and grow with what is loaded: 20 bytes per candidate.
 */
export class Candidates implements TokenEdits {
  readonly vocab: number;
  /** (count) of tokens; beyond `count` the array holds nothing of meaning. Another array after each load. */
  ids = new Uint32Array(0);
  /** (count); change them through `add`, `penalize`, `divide` and `spread`. */
  logits = new Float64Array(0);
  count = 0;
  #weights = new Float64Array(0);
  /** Σ weights of the first `#totalled` of them, and how many there were when it was taken. */
  #total = 0;
  #totalled = -1;
  /** Whether #weights belongs to the logits, and the logit that has weight 1. */
  #weighed = false;
  #top = 0;

  constructor(vocab: number) {
    this.vocab = vocab;
  }

  /** Takes a row of `vocab` logits. NaN and −∞ are no candidates. */
  load(row: Row): void {
    this.#reserve(row.length);
    if (!allFinite(row)) {
      this.#loadPossible(row);
      return;
    }
    this.logits.set(row);
    const { ids } = this;
    for (let id = 0; id < row.length; id++) ids[id] = id;
    this.count = row.length;
  }

  #loadPossible(row: Row): void {
    this.count = 0;
    for (let id = 0; id < row.length; id++) this.#append(id, logitOf(row[id]));
  }

  /** The same of some tokens alone, `tokens` ascending. */
  loadTokens(row: Row, tokens: ArrayLike<number>, count = tokens.length): void {
    this.#reserve(count);
    this.count = 0;
    for (let i = 0; i < count && tokens[i] < row.length; i++)
      this.#append(tokens[i], logitOf(row[tokens[i]]));
  }

  /** Takes tokens with their logits, NaN for no candidate; `tokens` ascending. */
  loadLogits(tokens: Uint32Array, logitOfToken: (token: number) => number): void {
    this.#reserve(tokens.length);
    this.count = 0;
    for (const token of tokens) this.#append(token, logitOfToken(token));
  }

  /**
   * The same of a part of more candidates, that know its best logit and the sum of its weights: each weighs what it does
   * among all.
   */
  loadPart(tokens: Uint32Array, logitOfToken: (token: number) => number, best: number, total: number): void {
    this.loadLogits(tokens, logitOfToken);
    this.#weigh(best);
    this.#total = total;
    this.#totalled = this.count;
  }

  #append(id: number, logit: number): void {
    if (Number.isNaN(logit)) return;
    this.ids[this.count] = id;
    this.logits[this.count++] = logit;
  }

  #reserve(most: number): void {
    this.#changed();
    const count = Math.min(most, this.vocab);
    if (count <= this.ids.length) return;
    const room = Math.min(this.vocab, Math.max(LEAST_ROOM, 2 * count));
    this.ids = new Uint32Array(room);
    this.logits = new Float64Array(room);
    this.#weights = new Float64Array(room);
  }

  /** Index of a token, −1 if it is no candidate. */
  find(id: number): number {
    if (this.count === this.vocab) return id < this.vocab ? id : -1;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ids[middle] < id) low = middle + 1;
      else high = middle;
    }
    return low < this.count && this.ids[low] === id ? low : -1;
  }

  /** Index of the largest logit, the first of equal ones. */
  best(): number {
    const { logits, count } = this;
    let best = 0;
    let most = -Infinity;
    for (let i = 0; i < count; i++) {
      const logit = logits[i];
      if (logit > most) {
        most = logit;
        best = i;
      }
    }
    return best;
  }

  add(id: number, amount: number): void {
    const index = this.find(id);
    if (index >= 0) this.#set(index, this.logits[index] + amount);
  }

  penalize(id: number, penalty: number): void {
    const index = this.find(id);
    if (index >= 0) this.#set(index, penalized(this.logits[index], penalty));
  }

  #set(index: number, logit: number): void {
    this.logits[index] = bounded(logit);
    this.#changed();
  }

  /** Divides all logits. */
  divide(divisor: number): void {
    const { logits, count } = this;
    for (let i = 0; i < count; i++) logits[i] = bounded(logits[i] / divisor);
    this.#changed();
  }

  /** Multiplies the distances of all logits to the best, which becomes 0. */
  spread(factor: number): void {
    const { logits, count } = this;
    const top = logits[this.best()];
    for (let i = 0; i < count; i++) logits[i] = (logits[i] - top) * factor;
    this.#changed();
  }

  /** Keeps those whose index passes. */
  keep(test: (index: number) => boolean): void {
    const { ids, logits, count } = this;
    const weights = this.#weights;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (!test(i)) continue;
      this.#move(i, kept++, ids, logits, weights);
    }
    this.count = kept;
  }

  /** Keeps those at `indices`, which must ascend. */
  pick(indices: ArrayLike<number>): void {
    const { ids, logits } = this;
    const weights = this.#weights;
    for (let i = 0; i < indices.length; i++) this.#move(indices[i], i, ids, logits, weights);
    this.count = indices.length;
  }

  /** Removes tokens; those that are no candidates do not matter. */
  forbid(tokens: Iterable<number>): void {
    let found = false;
    for (const token of tokens) {
      const index = this.find(token);
      if (index < 0) continue;
      this.logits[index] = NaN;
      found = true;
    }
    if (found) this.keep((index) => !Number.isNaN(this.logits[index]));
  }

  /**
   * (count) probabilities, up to a common factor: divide by `total`. They stay right while candidates are only removed.
   */
  weights(): Float64Array {
    const { logits, count } = this;
    if (!this.#weighed && count > 0) this.#weigh(logits[this.best()]);
    return this.#weights;
  }

  #weigh(top: number): void {
    this.#top = top;
    expBelow(this.#weights, this.logits, this.count, top);
    this.#weighed = true;
  }

  /** Σ weights: of even tokens plus that of odd ones, each in order of id. */
  total(): number {
    const weights = this.weights();
    const { count } = this;
    // Candidates go but do not come: as many as there were are those that there were.
    if (this.#totalled !== count) {
      const { ids } = this;
      let [even, odd] = [0, 0];
      for (let i = 0; i < count; i++) {
        if ((ids[i] & 1) === 0) even += weights[i];
        else odd += weights[i];
      }
      this.#total = even + odd;
      this.#totalled = count;
    }
    return this.#total;
  }

  #changed(): void {
    this.#weighed = false;
    this.#totalled = -1;
  }

  /** −ln p of one candidate after the other, in nats; also of those whose weight is 0 in f64. */
  surprise(): (index: number) => number {
    const total = log(this.total());
    return (index) => total - (this.logits[index] - this.#top);
  }

  /** −Σ p ln p, in nats. */
  entropy(): number {
    const weights = this.weights();
    const total = this.total();
    const surprise = this.surprise();
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += weights[i] * surprise(i);
    return sum / total;
  }

  #move(from: number, to: number, ids: Uint32Array, logits: Float64Array, weights: Float64Array): void {
    ids[to] = ids[from];
    logits[to] = logits[from];
    weights[to] = weights[from];
  }
}

/** Whether all are numbers: 0 · ∞ and 0 · NaN are NaN, which no sum loses. */
function allFinite(row: Row): boolean {
  let check = 0;
  for (let i = 0; i < row.length; i++) check += row[i] * 0;
  return check === 0;
}
