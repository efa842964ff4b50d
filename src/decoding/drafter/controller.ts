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
import { AdaptiveLength, type FullRound } from "./adaptive-length.ts";
import { Allowance } from "./allowance.ts";
import { CostCurve, smooth } from "./cost-curve.ts";
import { Rest } from "./rest.ts";

export interface ControllerOptions {
  /** Longest draft, 1 … 64. Default 16, or 64 with `byMatchLength`: there for matches of 16 and more tokens. */
  readonly cap?: number;
  /** Draft length to begin with, default 4. */
  readonly initial?: number;
  /**
   * Learn apart for drafts with matches of 1, 2 … 3, 4 … 7, 8 … 15, 16 … 31, 32 … 63 and more tokens. Default false; for
   * drafters whose `matchLength` tells good drafts from bad ones.
   */
  readonly byMatchLength?: boolean;
  /** What is drafted; of trees a length is their number of nodes. Default "chain". */
  readonly shape?: "chain" | "tree";
  /** Cost of a drafted token in plain steps, until it has been measured. Default 0: a drafter that runs no model. */
  readonly draftCost?: number;
  /** Overhead of asking the drafter in plain steps, until it has been measured. Default 0. */
  readonly overhead?: number;
}

/** One step of decoding, with or without a draft. */
export interface Round {
  /** Draft tokens, or nodes, that the target call verified; 0: a plain step. */
  readonly verified: number;
  /** Places with a proposal that were looked at; default that of a chain, accepted + 1, at most `verified`. */
  readonly tested?: number;
  readonly accepted: number;
  /** Tokens the step added to the text, 1 … accepted + 1. */
  readonly emitted: number;
  /** Time of the target call, of `verified` + 1 tokens. */
  readonly targetCost: number;
  /** Time of the drafter's `draft`, 0 if it was not asked. */
  readonly draftCost: number;
  /**
   * Time of all else that plain decoding does not take: feeding the drafter, telling it of rows, this controller. Default
   * 0. Near 0 it must be for steps without a draft, or no backing off could keep the promise.
   */
  readonly overhead?: number;
}

const MAX_CAP = 64;
const CAP = 16;
const INITIAL = 4;
const CLASSES = 7;
/** The first class whose drafts may be longer than CAP. */
const LONG_CLASS = 4;
/** Of a plain step: what asking for nothing may cost without a thought. */
const CHEAP = 0.02;
/** Plain steps after which things are looked at again at the latest. */
const LONGEST_SKIP = 64;
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
 * const asked = controller.ask(room);
 * const draft = asked > 0 ? drafter.draft(asked) : NO_DRAFT;
 * const verified = controller.keep(draft.tokens.length, draft.matchLength);
 * // … verify the first `verified` tokens …
 * controller.record({ verified, tested, accepted, emitted, targetCost, draftCost, overhead });
 * ```
 */
export class SpeculationController {
  readonly #cap: number;
  readonly #classes: readonly DraftClass[];
  readonly #priorDraftCost: number;
  readonly #priorOverhead: number;
  readonly #target = new CostCurve();
  readonly #draft = new CostCurve();
  #overhead: number | undefined;
  #allowance = new Allowance();
  /** After asking for nothing. */
  #idle = new Rest();
  #refresh = FIRST_REFRESH;
  #untilRefresh = FIRST_REFRESH;
  /** Plain steps that come before anything can be drafted, and those of them that were made. */
  #skip = 0;
  #skipped = 0;
  #asked = 0;
  #drafted = 0;
  /** Of the draft that was made; null while none was. */
  #current: DraftClass | null = null;

  constructor(options: ControllerOptions = {}) {
    const { initial = INITIAL, byMatchLength = false, shape, draftCost = 0, overhead = 0 } = options;
    const cap = options.cap ?? (byMatchLength ? MAX_CAP : CAP);
    this.#cap = expectInteger("cap", cap, 1, MAX_CAP);
    expectInteger("initial", initial, 1, MAX_CAP);
    this.#priorDraftCost = expectNumber("draftCost", draftCost, 0, 1000);
    this.#priorOverhead = expectNumber("overhead", overhead, 0, 1000);
    this.#classes = Array.from({ length: byMatchLength ? CLASSES : 1 }, (_, index) => ({
      length: new AdaptiveLength({
        min: 1,
        max: byMatchLength && index < LONG_CLASS ? Math.min(cap, CAP) : cap,
        // With classes a draft begins as long as the shortest match of its class, beyond 16 it must prove its worth.
        initial: byMatchLength ? Math.min(1 << index, CAP) : initial,
        shape,
      }),
      rest: new Rest(),
    }));
  }

  /** A new request: its account is empty, what was learned stays. */
  restart(): void {
    this.#endSkip();
    this.#allowance = new Allowance();
    this.#asked = 0;
    this.#drafted = 0;
    this.#current = null;
  }

  /**
   * Tokens to ask the drafter for; 0: do not ask, make a plain step.
   *
   * @param room Tokens that a draft may have at most, for other reasons: the end of the text, or of the context.
   */
  ask(room = MAX_CAP): number {
    this.#current = null;
    this.#asked = 0;
    this.#drafted = 0;
    if (this.#skip > 0 || room <= 0) return 0;
    const plainStep = this.#target.mean(1);
    if (plainStep === undefined || this.#untilRefresh === 0) return 0;
    const wanted = this.#idle.left > 0 ? 0 : Math.min(this.#longestWanted(), room);
    this.#asked = wanted === 0 ? 0 : this.#affordable(wanted, null, plainStep);
    if (this.#asked === 0) this.#skip = this.#stepsUntilDraft(plainStep);
    return this.#asked;
  }

  /**
   * Of the draft that `ask` led to: tokens to verify, at most `drafted`. Of a tree they are its first nodes.
   *
   * @param matchLength Of the draft; only used with `byMatchLength`.
   */
  keep(drafted: number, matchLength = 1): number {
    if (drafted === 0 || this.#asked === 0) return 0;
    this.#drafted = drafted;
    this.#current = this.#classes[Math.min(classOf(matchLength), this.#classes.length - 1)];
    const wanted = Math.min(drafted, wantedLength(this.#current));
    return wanted === 0 ? 0 : this.#affordable(wanted, this.#asked, this.#target.mean(1)!);
  }

  /** @throws {RangeError} If the counts of the round do not fit together. */
  record(round: Round): void {
    const { verified, accepted, emitted, targetCost, draftCost, overhead = 0 } = round;
    expectInteger("verified", verified, 0, this.#cap);
    expectInteger("accepted", accepted, 0, verified);
    const tested = round.tested ?? Math.min(accepted + 1, verified);
    expectInteger("tested", tested, accepted, verified);
    expectInteger("emitted", emitted, 1, accepted + 1);
    // A clock that broke or went back tells nothing.
    if (!isCost(targetCost) || !isCost(draftCost) || !isCost(overhead)) return;
    this.#target.record(verified + 1, targetCost);
    if (this.#asked > 0) {
      // A draft that ended early was looked one token further.
      this.#draft.record(Math.min(this.#asked, this.#drafted + 1), draftCost);
      this.#overhead = smooth(this.#overhead, overhead);
    }
    const plainStep = this.#target.mean(1);
    // A round before the first plain step tells its cost and no more: there is nothing to compare it with.
    if (plainStep === undefined) return;
    const cost = targetCost + draftCost + overhead;
    this.#allowance.record(cost, emitted, plainStep);
    if (verified === 0) this.#recordPlainStep(draftCost + overhead, plainStep);
    else this.#recordDraft({ accepted, tested, emitted, cost }, verified, plainStep);
  }

  #recordPlainStep(wasted: number, plainStep: number): void {
    if (this.#untilRefresh === 0) {
      this.#refresh = Math.min(this.#refresh * 2, LAST_REFRESH);
    }
    this.#untilRefresh = this.#refresh;
    if (this.#skip > 0) {
      this.#skipped++;
      if (--this.#skip === 0) this.#endSkip();
      return;
    }
    if (this.#current === null) this.#restAll(1);
    else this.#current.rest.recordPlainSteps(1);
    if (this.#asked > 0 && wasted > CHEAP * plainStep) {
      this.#idle.recordRound(0, plainStep / (plainStep + wasted), true);
    }
  }

  #recordDraft(round: FullRound, verified: number, plainStep: number): void {
    const { accepted, emitted, cost } = round;
    this.#untilRefresh = Math.max(0, this.#untilRefresh - 1);
    this.#idle = new Rest();
    const { length, rest } = this.#current ?? this.#classes[0];
    // A clock too coarse to see the round tells nothing of its worth.
    if (!(cost > 0 && plainStep > 0)) return;
    const full = verified === length.length;
    rest.recordRound(accepted, (emitted * plainStep) / cost, !full || verified === length.min);
    if (full) length.record(round);
    if (full && rest.losing && verified > length.min) {
      length.retreat();
      rest.forgetGain();
    }
  }

  #endSkip(): void {
    this.#restAll(this.#skipped);
    this.#skip = 0;
    this.#skipped = 0;
  }

  #restAll(steps: number): void {
    this.#idle.recordPlainSteps(steps);
    for (const { rest } of this.#classes) rest.recordPlainSteps(steps);
  }

  #longestWanted(): number {
    let longest = 0;
    for (const draftClass of this.#classes) longest = Math.max(longest, wantedLength(draftClass));
    return longest;
  }

  /** Plain steps after which a draft may be wanted and afforded again; until then there is nothing to work out. */
  #stepsUntilDraft(plainStep: number): number {
    let rest = Infinity;
    for (const draftClass of this.#classes) rest = Math.min(rest, draftClass.rest.left);
    const steps = this.#allowance.stepsUntil(this.#mostCost(1, 1, plainStep), plainStep);
    // A clock that stands still gives no number.
    return Math.min(Math.max(rest, this.#idle.left, steps || 0, 1), LONGEST_SKIP);
  }

  /** The longest draft up to `wanted` that is afforded even if it is rejected. `asked`: of the drafter, default as long. */
  #affordable(wanted: number, asked: number | null, plainStep: number): number {
    const affords = (length: number) =>
      this.#allowance.affords(this.#mostCost(length, asked ?? length, plainStep), plainStep);
    if (affords(wanted)) return wanted;
    // Longer drafts cost more, but for noise.
    let [most, above] = [0, wanted];
    while (above - most > 1) {
      const middle = (most + above) >> 1;
      if (affords(middle)) most = middle;
      else above = middle;
    }
    return most;
  }

  /** What a round costs at most, as far as is known. */
  #mostCost(length: number, asked: number, plainStep: number): number {
    const drafting = this.#draft.bound(asked, this.#draft.steepest(this.#priorDraftCost * plainStep));
    const overhead = this.#overhead ?? this.#priorOverhead * plainStep;
    return this.#target.bound(length + 1, plainStep) + drafting + overhead;
  }
}

function isCost(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}

function wantedLength({ length, rest }: DraftClass): number {
  return rest.left > 0 ? 0 : length.length;
}

/** 1, 2 … 3, 4 … 7, 8 … 15, 16 … 31, 32 … 63, 64 and more; Infinity too. */
function classOf(matchLength: number): number {
  return matchLength >= 64 ? CLASSES - 1 : Math.max(0, 31 - Math.clz32(matchLength));
}
