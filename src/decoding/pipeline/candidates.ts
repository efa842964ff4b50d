import { exp, log } from "../../math.ts";

/** (vocab) logits, one per token id. */
export type Row = Float32Array | Float64Array;

/** What an infinite logit counts as, the largest f32: it wins, and differences stay numbers. */
const MOST = 3.4028234663852886e38;
/** Bound of edited logits, so that no step meets ∞ − ∞. */
const BOUND = 1e300;

/**
 * The tokens that are still possible, with their logits; what the steps of a pipeline work on.
 *
 * Always in order of id, whatever was removed: sums have one order, and the first of equal ones is the lowest id. Logits
 * are finite. The arrays are allocated once per vocabulary and reused for every row.
 */
export class Candidates {
  readonly vocab: number;
  /** (count) of tokens; beyond `count` the array holds nothing of meaning. */
  readonly ids: Uint32Array;
  /** (count); change them through `update` and `divide`. */
  readonly logits: Float64Array;
  count = 0;
  /** 0, 1, 2, …: copying is quicker than counting. */
  readonly #allIds: Uint32Array;
  readonly #weights: Float64Array;
  /** Whether #weights belongs to the logits, and the logit that has weight 1. */
  #weighed = false;
  #top = 0;

  constructor(vocab: number) {
    this.vocab = vocab;
    this.ids = new Uint32Array(vocab);
    this.logits = new Float64Array(vocab);
    this.#allIds = new Uint32Array(vocab);
    for (let id = 0; id < vocab; id++) this.#allIds[id] = id;
    this.#weights = new Float64Array(vocab);
  }

  /** Takes a row of `vocab` logits. NaN and −∞ are no candidates. */
  load(row: Row): void {
    this.#weighed = false;
    this.logits.set(row);
    this.ids.set(this.#allIds);
    this.count = row.length;
    if (!allFinite(row)) this.#loadPossible(row);
  }

  #loadPossible(row: Row): void {
    const { ids, logits } = this;
    let count = 0;
    for (let id = 0; id < row.length; id++) {
      const logit = row[id];
      if (!(logit > -Infinity)) continue;
      ids[count] = id;
      logits[count++] = logit === Infinity ? MOST : logit;
    }
    this.count = count;
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
    for (let i = 1; i < count; i++) if (logits[i] > logits[best]) best = i;
    return best;
  }

  /** Changes the logit of a token, if it is a candidate. */
  update(id: number, change: (logit: number) => number): void {
    const index = this.find(id);
    if (index < 0) return;
    this.logits[index] = bounded(change(this.logits[index]));
    this.#weighed = false;
  }

  /** Divides all logits. */
  divide(divisor: number): void {
    const { logits, count } = this;
    for (let i = 0; i < count; i++) logits[i] = bounded(logits[i] / divisor);
    this.#weighed = false;
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
    const weights = this.#weights;
    if (!this.#weighed && count > 0) {
      this.#top = logits[this.best()];
      for (let i = 0; i < count; i++) weights[i] = exp(logits[i] - this.#top);
      this.#weighed = true;
    }
    return weights;
  }

  /** Σ weights. */
  total(): number {
    const weights = this.weights();
    let total = 0;
    for (let i = 0; i < this.count; i++) total += weights[i];
    return total;
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

function bounded(logit: number): number {
  return Math.min(BOUND, Math.max(-BOUND, logit));
}
