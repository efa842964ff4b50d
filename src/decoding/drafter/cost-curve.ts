/** cost-curve: what calls of each size cost, learned from those that were made. */

/** Weight of a new measurement: one that is off does not decide. As in ONNX Runtime GenAI. */
const WEIGHT = 0.25;
/** The same for costs, which hardly change but are measured badly: by clocks of 0.1 ms, and beside other work. */
const COST_WEIGHT = 1 / 16;

/** Exponentially weighted mean that starts at its first value. */
export function smooth(mean: number | undefined, value: number, weight = WEIGHT): number {
  return mean === undefined ? value : mean + weight * (value - mean);
}

/** A call below this share of the mean is not noise: the mean is that of cold code, and worth nothing. */
const COLD = 0.5;
/** Calls after which code is not cold any more. */
const WARM = 8;
/** Calls of other sizes after which a mean is old: the machine may have been busy then. Twice as many each time it was not. */
const STALE = 256;
const LONGEST_STALE = 1 << 16;
/** The same after a single measurement. */
const UNSURE = 16;
/** A measurement above this share of an old mean says that the mean was right. */
const CONFIRMED = 0.75;
/** Items that kernels work on together, and what items of further groups are guessed to cost: nearly what those cost. */
const GROUP = 8;
const LATER_GROUPS = 0.85;

interface Mean {
  cost: number;
  /** Calls it is of, and the last of them. */
  count: number;
  call: number;
  /** Calls of other sizes for which it holds. */
  lasting: number;
}

export class CostCurve {
  readonly #means = new Map<number, Mean>();
  /** Sizes that are known, in order. */
  #known: number[] = [];
  #calls = 0;
  readonly #later: number;
  readonly #hiccup: number;

  /**
   * @param later What an item beyond the largest known size is guessed to cost, as a share of what items cost before, while
   *   that is less than a group.
   * @param hiccup A call that takes this many times the mean, or more, met something else that the machine did.
   */
  constructor(later: number, hiccup: number) {
    this.#later = later;
    this.#hiccup = hiccup;
  }

  /** Largest size that was measured of late; 0: none was. */
  get largest(): number {
    return this.#known.reduce((largest, size) => (this.#isFresh(size) ? size : largest), 0);
  }

  /**
   * @param cost Finite and not negative.
   * @param most What a first call of this size may cost: more is cold code, and will not happen again.
   * @returns The cost, but for what other things in the machine did meanwhile.
   */
  record(size: number, cost: number, most = Infinity): number {
    this.#calls++;
    const mean = this.#means.get(size);
    if (mean === undefined) {
      this.#means.set(size, { cost: Math.min(cost, most), count: 1, call: this.#calls, lasting: STALE });
      this.#known = [...this.#means.keys()].sort((a, b) => a - b);
      return cost;
    }
    const usual = mean.cost > 0 ? Math.min(cost, this.#hiccup * mean.cost) : cost;
    const isCold = mean.count < WARM && cost < COLD * mean.cost;
    if (cost < CONFIRMED * mean.cost) mean.lasting = STALE;
    else if (!this.#isFresh(size, mean)) mean.lasting = Math.min(2 * mean.lasting, LONGEST_STALE);
    mean.count = isCold ? 1 : mean.count + 1;
    mean.cost = smooth(mean.cost, usual, Math.max(1 / mean.count, COST_WEIGHT));
    mean.call = this.#calls;
    return usual;
  }

  /** Mean cost of a call of `size`, if there was one. */
  mean(size: number): number | undefined {
    return this.#means.get(size)?.cost;
  }

  /** Calls of `size` that its mean is of. */
  count(size: number): number {
    return this.#means.get(size)?.count ?? 0;
  }

  /**
   * What a call of `size` that is not known costs at a good guess: who never tries it will never know. It lies on a straight
   * line between known sizes, or below.
   *
   * @param item Cost of an item while fewer than two sizes are known.
   */
  estimate(size: number, item: number): number {
    let [first, below, above] = [0, 0, 0];
    for (const known of this.#known) {
      if (!this.#isFresh(known)) continue;
      if (known === size) return this.mean(size)!;
      first ||= known;
      if (known < size) below = known;
      else if (above === 0) above = known;
    }
    const low = this.mean(below) ?? 0;
    const high = this.mean(above) ?? Infinity;
    if (below === 0 && above > 0) return high;
    const slope = below > first ? Math.max(0, low - this.mean(first)!) / (below - first) : item;
    const onwards = low + (size - below) * slope * (below < GROUP ? this.#later : LATER_GROUPS);
    return above === 0 ? onwards : Math.min(onwards, low + ((high - low) * (size - below)) / (above - below));
  }

  /**
   * What a call of `size` costs at most: no more than a larger one, and no more than smaller ones that share its items. An
   * old mean counts only where it is less: it may be that of a busy moment, which would never be made up for.
   *
   * @param item Cost of a single item.
   */
  bound(size: number, item: number): number {
    const exact = this.mean(size);
    if (exact !== undefined && this.#isFresh(size)) return exact;
    let least = Math.min(exact ?? Infinity, size * item);
    for (const known of this.#known) {
      const cost = this.mean(known)!;
      const several = Math.floor(size / known) * cost + (size % known) * item;
      least = Math.min(least, known < size ? several : cost);
    }
    return least;
  }

  /** Single items are measured again and again, whatever is done. */
  #isFresh(size: number, mean = this.#means.get(size)): boolean {
    if (mean === undefined) return false;
    return size === 1 || this.#calls - mean.call <= (mean.count === 1 ? UNSURE : mean.lasting);
  }
}
