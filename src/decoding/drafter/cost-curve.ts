/** cost-curve: what calls of each size cost, learned from those that were made. */

/** Weight of a new measurement: one that is off does not decide. As in ONNX Runtime GenAI. */
export const WEIGHT = 0.25;

/** Exponentially weighted mean that starts at its first value. */
export function smooth(mean: number | undefined, value: number): number {
  return mean === undefined ? value : mean + WEIGHT * (value - mean);
}

/** A call below this share of the mean is not noise: the mean is that of cold code, and worth nothing. */
const COLD = 0.5;

export class CostCurve {
  /** [size]: mean cost; undefined where no call had that size. */
  readonly #means: (number | undefined)[] = [];

  /** @param cost Finite and not negative. */
  record(size: number, cost: number): void {
    const mean = this.#means[size];
    this.#means[size] = mean !== undefined && cost < COLD * mean ? cost : smooth(mean, cost);
  }

  /** Mean cost of a call of `size`, if there was one. */
  mean(size: number): number | undefined {
    return this.#means[size];
  }

  /**
   * What a call of `size` costs at most: no more than a larger one, and no more than a smaller one and one unit for
   * each missing item. Nothing known: `size` units.
   */
  bound(size: number, unit: number): number {
    const exact = this.#means[size];
    if (exact !== undefined) return exact;
    let least = size * unit;
    for (let known = 0; known < this.#means.length; known++) {
      const mean = this.#means[known];
      if (mean !== undefined) least = Math.min(least, mean + Math.max(0, size - known) * unit);
    }
    return least;
  }

  /** Largest mean cost per item, at least `unit`. */
  steepest(unit: number): number {
    let top = unit;
    for (let size = 0; size < this.#means.length; size++) {
      top = Math.max(top, (this.#means[size] ?? 0) / Math.max(size, 1));
    }
    return top;
  }
}
