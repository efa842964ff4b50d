/**
 * controller: how many tokens to draft, so that decoding gets faster where it can and never noticeably slower.
 *
 *     adaptive-length   the draft length with the best throughput
 *     rest              plain decoding for a while after failures
 *     allowance         no round that could put speculation more than 5 % behind plain decoding
 *
 * Time comes in with each round, in any unit; there is no clock in here. What was learned of one request is kept for the
 * next on the same target and drafter.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { AdaptiveLength } from "./adaptive-length.ts";
import { Allowance } from "./allowance.ts";
import { CostCurve } from "./cost-curve.ts";
import { Rest } from "./rest.ts";

export interface ControllerOptions {
  /** Longest draft, default 16. */
  readonly cap?: number;
  /** Draft length to begin with, default 4. */
  readonly initial?: number;
  /**
   * Learn apart for drafts with matches of 1, 2 … 3, 4 … 7, 8 … 15 and more tokens. Default false; for drafters whose
   * `matchLength` tells good drafts from bad ones.
   */
  readonly byMatchLength?: boolean;
  /** Cost of a drafted token in plain steps, until it has been measured. Default 0: a drafter that runs no model. */
  readonly draftCost?: number;
}

/** One step of decoding, with or without a draft. */
export interface Round {
  /** Draft tokens that the target call verified; 0: a plain step. */
  readonly verified: number;
  readonly accepted: number;
  /** Tokens the step added to the text, 1 … accepted + 1. */
  readonly emitted: number;
  /** Time of the target call, of `verified` + 1 tokens. */
  readonly targetCost: number;
  /** Time of the drafter, 0 if it was not asked. */
  readonly draftCost: number;
}

const CAP = 16;
const INITIAL = 4;
const CLASSES = 5;
/** Rounds between plain steps that measure what plain decoding costs: soon at first, when code may still be cold. */
const FIRST_REFRESH = 4;
const LAST_REFRESH = 64;

/** What is learned of drafts of one kind. */
interface DraftClass {
  readonly length: AdaptiveLength;
  readonly rest: Rest;
}

/**
 * @example
 * ```ts
 * const controller = new SpeculationController();
 * const asked = controller.ask();
 * const draft = asked > 0 ? drafter.draft(asked) : NO_DRAFT;
 * const verified = controller.keep(draft.tokens.length, draft.matchLength);
 * // … verify the first `verified` tokens …
 * controller.record({ verified, accepted, emitted, targetCost, draftCost });
 * ```
 */
export class SpeculationController {
  readonly #cap: number;
  readonly #classes: readonly DraftClass[];
  readonly #priorDraftCost: number;
  readonly #target = new CostCurve();
  readonly #draft = new CostCurve();
  #allowance = new Allowance();
  #refresh = FIRST_REFRESH;
  #untilRefresh = FIRST_REFRESH;
  #asked = 0;
  /** Of the draft that was made; null while none was. */
  #current: DraftClass | null = null;

  constructor(options: ControllerOptions = {}) {
    const { cap = CAP, initial = INITIAL, byMatchLength = false, draftCost = 0 } = options;
    this.#cap = expectInteger("cap", cap, 1, CAP);
    expectInteger("initial", initial, 1, CAP);
    this.#priorDraftCost = expectNumber("draftCost", draftCost, 0, 1000);
    this.#classes = Array.from({ length: byMatchLength ? CLASSES : 1 }, (_, index) => ({
      // With classes a draft begins as long as the shortest match of its class.
      length: new AdaptiveLength({ min: 1, max: cap, initial: byMatchLength ? 1 << index : initial }),
      rest: new Rest(),
    }));
  }

  /** A new request: its account is empty, what was learned stays. */
  restart(): void {
    this.#allowance = new Allowance();
    this.#asked = 0;
    this.#current = null;
  }

  /** Tokens to ask the drafter for; 0: do not ask, make a plain step. */
  ask(): number {
    this.#current = null;
    this.#asked = 0;
    if (this.#target.mean(1) === undefined || this.#untilRefresh === 0) return 0;
    const wanted = Math.max(...this.#classes.map(wantedLength));
    this.#asked = this.#affordable(wanted, null);
    return this.#asked;
  }

  /**
   * Of the draft that `ask` led to: tokens to verify, at most `drafted`.
   *
   * @param matchLength Of the draft; only used with `byMatchLength`.
   */
  keep(drafted: number, matchLength = 1): number {
    if (drafted === 0 || this.#asked === 0) return 0;
    this.#current = this.#classes[Math.min(classOf(matchLength), this.#classes.length - 1)];
    return this.#affordable(Math.min(drafted, wantedLength(this.#current)), this.#asked);
  }

  /** @throws {RangeError} If the counts of the round do not fit together. */
  record(round: Round): void {
    const { verified, accepted, emitted, targetCost, draftCost } = round;
    expectInteger("verified", verified, 0, this.#cap);
    expectInteger("accepted", accepted, 0, verified);
    expectInteger("emitted", emitted, 1, accepted + 1);
    // A clock that broke or went back tells nothing.
    if (!isCost(targetCost) || !isCost(draftCost)) return;
    this.#target.record(verified + 1, targetCost);
    if (this.#asked > 0) this.#draft.record(this.#asked, draftCost);
    const plainStep = this.#target.mean(1);
    // A round before the first plain step tells its cost and no more: there is nothing to compare it with.
    if (plainStep !== undefined) this.#learn(round, plainStep);
  }

  #learn({ verified, accepted, emitted, targetCost, draftCost }: Round, plainStep: number): void {
    const cost = targetCost + draftCost;
    this.#allowance.record(cost, emitted, plainStep);
    if (verified === 0) {
      this.#recordPlainStep();
      return;
    }
    this.#untilRefresh = Math.max(0, this.#untilRefresh - 1);
    const { length, rest } = this.#current ?? this.#classes[0];
    // A clock too coarse to see the round tells nothing of its worth.
    if (!(cost > 0 && plainStep > 0)) return;
    const full = verified === length.length;
    rest.recordRound(accepted, (emitted * plainStep) / cost, !full || verified === length.min);
    if (full) length.record({ accepted, emitted, cost });
    if (full && rest.losing && verified > length.min) {
      length.retreat();
      rest.forgetGain();
    }
  }

  #recordPlainStep(): void {
    if (this.#untilRefresh === 0) {
      this.#refresh = Math.min(this.#refresh * 2, LAST_REFRESH);
    }
    this.#untilRefresh = this.#refresh;
    for (const draftClass of this.#current === null ? this.#classes : [this.#current]) {
      draftClass.rest.recordPlainStep();
    }
  }

  /** The longest draft up to `wanted` that is afforded even if it is rejected. `asked`: of the drafter, default as long. */
  #affordable(wanted: number, asked: number | null): number {
    const plainStep = this.#target.mean(1)!;
    const perToken = this.#draft.steepest(this.#priorDraftCost * plainStep);
    for (let length = wanted; length > 0; length--) {
      const drafting = this.#draft.bound(asked ?? length, perToken);
      const cost = this.#target.bound(length + 1, plainStep) + drafting;
      if (this.#allowance.affords(cost, plainStep)) return length;
    }
    return 0;
  }
}

function isCost(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}

function wantedLength({ length, rest }: DraftClass): number {
  return rest.left > 0 ? 0 : length.length;
}

/** 1, 2 … 3, 4 … 7, 8 … 15, 16 and more; Infinity too. */
function classOf(matchLength: number): number {
  return matchLength >= 16 ? 4 : Math.max(0, 31 - Math.clz32(matchLength));
}
