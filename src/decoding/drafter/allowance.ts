/**
 * allowance: keeps the account of speculation against plain decoding.
 *
 *     behind  =  time spent  −  tokens emitted · time of a plain step          (negative: ahead)
 *
 * A round is afforded if, even were every drafted token rejected, `behind` would stay within 5 % of what plain decoding
 * had cost, or within one plain step while that is more (the first 20 tokens). So that bound holds at every token, for
 * any acceptance, as far as the costs are known.
 */

const SHARE = 0.05;
/** Plain steps that can be saved up: a good beginning must not pay for a long bad middle. */
const MAX_SAVINGS = 32;

export class Allowance {
  #behind = 0;
  #plain = 0;

  /** Whether a round of `cost` may be made; it emits at least one token. */
  affords(cost: number, plainStep: number): boolean {
    return this.#behind + cost - plainStep <= Math.max(plainStep, SHARE * (this.#plain + plainStep));
  }

  /** Plain steps to make until a round of `cost` is afforded; 0: it is. */
  stepsUntil(cost: number, plainStep: number): number {
    if (this.affords(cost, plainStep)) return 0;
    const excess = this.#behind + cost - plainStep;
    return Math.max(1, Math.ceil(excess / (SHARE * plainStep) - this.#plain / plainStep - 1));
  }

  record(cost: number, emitted: number, plainStep: number): void {
    this.#plain += emitted * plainStep;
    this.#behind = Math.max(this.#behind + cost - emitted * plainStep, -MAX_SAVINGS * plainStep);
  }
}
