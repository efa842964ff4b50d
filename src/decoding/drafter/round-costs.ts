/** round-costs: what rounds of each length cost, learned from those that were made. */
import { CostCurve } from "./cost-curve.ts";

/** Of the mean cost of a column: later columns are guessed to cost less, as kernels work on groups of them. */
const LATER_COLUMNS = 0.5;
/** Cost of a column in plain steps, while nothing is known. */
const COLUMN = 0.5;
/** Calls take their time, drafts are short and differ more. */
const CALL_HICCUP = 1.5;
const DRAFT_HICCUP = 4;
/** The first drafts run cold code: what they take beyond what was said, and this many plain steps, says nothing. */
const COLD_DRAFT = 0.1;
/** Neither does what it takes to tell the drafter of all tokens since it was last asked, if they are more than these. */
const OFTEN = 16;
/** Plain steps after which what drafting cost is old: who never asks again would never know. */
const OLD = 512;
/** Drafts that are charged in full: later ones not for what other things in the machine did. */
const WARM_ASKS = 8;
/** With the token before it, a group of columns. */
const FIRST_LENGTH = 3;
/** The overhead of a round does not depend on its length. */
const ROUND = 1;

/** In plain steps: what calls are taken to cost by a clock that stands still while code runs, as in edge workers. */
const USUAL_COSTS = new CostCurve(1, 1);
for (const [columns, cost] of [
  [1, 1],
  [4, 2.2],
  [8, 4],
  [16, 7.5],
  [64, 30],
]) {
  USUAL_COSTS.record(columns, cost);
}

/** Times of one round, in any one unit. */
export interface SpentCosts {
  readonly target: number;
  readonly draft: number;
  readonly overhead: number;
}

export class RoundCosts {
  readonly #priorDraft: number;
  readonly #priorOverhead: number;
  readonly #target = new CostCurve(LATER_COLUMNS, CALL_HICCUP);
  #draft = new CostCurve(1, DRAFT_HICCUP);
  #overhead = new CostCurve(1, DRAFT_HICCUP);
  #asks = 0;
  /** Plain steps since the drafter was last asked. */
  #unasked = 0;

  /** @param priorDraft Of a drafted token, and `priorOverhead` of a round, in plain steps, until they are measured. */
  constructor(priorDraft: number, priorOverhead: number) {
    this.#priorDraft = priorDraft;
    this.#priorOverhead = priorOverhead;
  }

  /** Plain steps that were measured. */
  get plainSteps(): number {
    return this.#target.count(1);
  }

  /** Longest draft to try: costs of calls much larger than all before are not known well enough. */
  get longest(): number {
    return Math.max(FIRST_LENGTH, 2 * this.#target.largest - 1);
  }

  /** Whether the clock has shown nothing of them. Costs are in plain steps then. */
  get standStill(): boolean {
    return this.#target.mean(1) === 0;
  }

  get plainStep(): number {
    return this.#target.mean(1) || 1;
  }

  /**
   * @param verified Draft tokens of the target call.
   * @param asked Tokens that the drafter was asked for and `drafted` those it gave; 0: it was not asked.
   * @returns What the round took beside a plain step's part of it, and altogether; without what other things in the
   *   machine did meanwhile.
   */
  record(
    verified: number,
    asked: number,
    drafted: number,
    spent: SpentCosts,
  ): { extra: number; all: number } {
    const target = this.#recordCall(verified + 1, spent.target);
    const extra =
      asked > 0 ? this.#recordDrafting(asked, drafted, spent) : Math.min(spent.overhead, this.#overheadOf());
    this.#unasked = asked > 0 ? 0 : this.#unasked + 1;
    if (this.#unasked > OLD) this.#forgetDrafting();
    return { extra, all: this.standStill ? this.probable(verified, asked) : target + extra };
  }

  /** What a round with a draft of `length` probably costs. */
  probable(length: number, asked: number): number {
    const target = this.standStill ? USUAL_COSTS : this.#target;
    return target.estimate(length + 1, COLUMN * this.plainStep) + this.#drafting(asked);
  }

  /** What it costs at most, as far as is known. */
  atMost(length: number, asked: number): number {
    const target = this.standStill ? USUAL_COSTS : this.#target;
    return target.bound(length + 1, this.plainStep) + this.#drafting(asked);
  }

  /** What a first call of its size takes beyond all that was to be expected is cold code, or something else in the machine. */
  #recordCall(columns: number, cost: number): number {
    const isFirst = this.#target.count(columns) === 0;
    const most =
      isFirst && columns > 1 ? CALL_HICCUP * this.#target.bound(columns, this.plainStep) : Infinity;
    return Math.min(this.#target.record(columns, cost), most);
  }

  #recordDrafting(asked: number, drafted: number, { draft, overhead }: SpentCosts): number {
    const cold = COLD_DRAFT * this.plainStep;
    // A draft that ended early was looked one token further.
    const tokens = Math.min(asked, drafted + 1);
    const most = this.#draft.estimate(tokens, this.#priorDraft * this.plainStep) + cold;
    const usualDraft = this.#draft.record(tokens, draft, most);
    const known = this.#overheadOf();
    if (this.#unasked <= OFTEN) this.#overhead.record(ROUND, overhead, known + cold);
    // Until it is well known, it may well be what drafting takes; some milliseconds of another process are not.
    if (this.#asks++ < WARM_ASKS) return Math.min(draft + overhead, DRAFT_HICCUP * this.plainStep);
    return usualDraft + Math.min(overhead, known + this.plainStep);
  }

  #forgetDrafting(): void {
    this.#draft = new CostCurve(1, DRAFT_HICCUP);
    this.#overhead = new CostCurve(1, DRAFT_HICCUP);
    this.#unasked = 0;
  }

  #drafting(asked: number): number {
    return this.#draft.estimate(asked, this.#priorDraft * this.plainStep) + this.#overheadOf();
  }

  #overheadOf(): number {
    return this.#overhead.mean(ROUND) ?? this.#priorOverhead * this.plainStep;
  }
}
