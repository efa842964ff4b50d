/**
 * allowance: keeps the account of speculation against plain decoding.
 *
 *     behind  =  time of rounds with a draft  −  tokens they emitted · time of a plain step          (negative: ahead)
 *
 * A round is afforded if, even were every drafted token rejected, `behind` would stay within 2.5 % of what plain decoding
 * had cost, or within five quarters of a plain step while that is more (the first 50 tokens). So that bound holds at every
 * token, for any acceptance, as far as the costs are known.
 */

/** Of the time; the other half of what is promised are for what the account cannot see: colder caches, garbage, cold code. */
const SHARE = 0.025;
/** Plain steps that the first tries may lose: a second column, and what a small draft model takes for it. */
const FIRST = 1.25;
/** Plain steps that can be saved up: a good beginning must not pay for a long bad middle. */
const MAX_SAVINGS = 32;

export class Allowance {
  /** Of all tokens, and of those from rounds with a draft. */
  #tokens = 0;
  #drafted = 0;
  /** What those rounds took, and whatever else plain decoding does not take. */
  #spent = 0;

  /** Whether a round of `cost` may be made; it emits at least one token. */
  affords(cost: number, plainStep: number): boolean {
    return this.#behind(cost, plainStep) <= Math.max(FIRST, SHARE * (this.#tokens + 1)) * plainStep;
  }

  /** Plain steps to make until a round of `cost` is afforded; 0: it is. */
  stepsUntil(cost: number, plainStep: number): number {
    if (this.affords(cost, plainStep)) return 0;
    const steps = this.#behind(cost, plainStep) / (SHARE * plainStep) - this.#tokens - 1;
    return Math.max(1, Math.ceil(steps));
  }

  recordPlainStep(wasted: number): void {
    this.#tokens++;
    this.#spent += wasted;
  }

  recordDraft(cost: number, emitted: number, plainStep: number): void {
    this.#tokens += emitted;
    this.#drafted += emitted;
    // A plain step's time may turn out to be another one, so the account is kept in time and tokens.
    this.#spent = Math.max(this.#spent + cost, (this.#drafted - MAX_SAVINGS) * plainStep);
  }

  /** After one more round of `cost` that emits one token. */
  #behind(cost: number, plainStep: number): number {
    return this.#spent + cost - (this.#drafted + 1) * plainStep;
  }
}
