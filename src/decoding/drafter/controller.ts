/**
 * controller: how many tokens to draft, so that decoding gets faster where it can and never noticeably slower.
 *
 *     round-costs  what rounds cost         ┐  draft-class: the length with the most tokens per time
 *     acceptance   what drafts give         ┘
 *     allowance    no round that could put speculation more than 2.5 % behind plain decoding, so that it is never 5 %
 *     rest         where no length pays: a try now and then
 *
 * Time comes in with each round, in any unit; there is no clock in here. What was learned of one request is kept for the
 * next on the same target and drafter.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { Acceptance } from "./acceptance.ts";
import { Allowance } from "./allowance.ts";
import { type Choices, DraftClass, type DraftRound } from "./draft-class.ts";
import { Rest } from "./rest.ts";
import { RoundCosts } from "./round-costs.ts";

export interface ControllerOptions {
  /** Longest draft, 1 … 64. Default 64: what is learned decides. */
  readonly cap?: number;
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
const CLASSES = 7;
/**
 * Lengths to choose from, beside the longest possible: with the token before them they fill groups of columns, in which
 * kernels work, and being few they are soon known.
 */
const LENGTHS = [1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63];
/** Plain steps after which things are looked at again at the latest. */
const LONGEST_SKIP = 64;
/** Plain steps before anything is drafted: one measurement may be far off. */
const FIRST_STEPS = 3;
/** Rounds between plain steps that measure what plain decoding costs: soon at first, when code may still be cold. */
const FIRST_REFRESH = 4;
const LAST_REFRESH = 32;

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
  readonly #costs: RoundCosts;
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
  /** Whether nothing is expected of it. */
  #isTry = false;

  constructor(options: ControllerOptions = {}) {
    const { byMatchLength = false, shape = "chain", draftCost = 0, overhead = 0 } = options;
    this.#cap = expectInteger("cap", options.cap ?? MAX_CAP, 1, MAX_CAP);
    expectNumber("draftCost", draftCost, 0, 1000);
    expectNumber("overhead", overhead, 0, 1000);
    this.#costs = new RoundCosts(draftCost, overhead);
    this.#classes = Array.from(
      { length: byMatchLength ? CLASSES : 1 },
      (_, index) => new DraftClass(new Acceptance(priorOf(1 << index), shape)),
    );
  }

  /** A new request: its account is empty, what was learned stays. Its text may be another kind of text. */
  restart(): void {
    this.#endSkip();
    this.#allowance = new Allowance();
    this.#idle = new Rest();
    for (const draftClass of this.#classes) draftClass.restart();
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
    if (this.#costs.plainSteps < FIRST_STEPS || this.#untilRefresh === 0) return 0;
    if (this.#idle.left > 0) {
      this.#skip = this.#idle.left;
      return 0;
    }
    const choices = this.#choices(Math.min(room, this.#cap), null);
    let steps = LONGEST_SKIP;
    for (const draftClass of this.#classes) {
      const { length, least } = draftClass.decide(choices);
      this.#asked = Math.max(this.#asked, length);
      if (length === 0)
        steps = Math.min(steps, draftClass.rest.left || (least > 0 ? this.#stepsUntil(least) : LONGEST_SKIP));
    }
    if (this.#asked === 0) this.#skip = steps;
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
    const choices = this.#choices(Math.min(drafted, this.#cap), this.#asked);
    const { length, isTry } = this.#current.decide(choices);
    this.#isTry = isTry;
    return length;
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
    const costs = this.#costs;
    const stoodStill = costs.standStill;
    const spent = { target: targetCost, draft: draftCost, overhead };
    const { extra, all } = costs.record(verified, this.#asked, this.#drafted, spent);
    // A round before the first plain step tells its cost and no more: there is nothing to compare it with.
    if (costs.plainSteps === 0) return;
    // What was counted in plain steps is no time.
    if (stoodStill && !costs.standStill) this.#allowance = new Allowance();
    if (verified === 0) this.#recordPlainStep(extra);
    else this.#recordDraft({ length: verified, accepted, tested, emitted, isTry: this.#isTry }, all);
  }

  #recordPlainStep(wasted: number): void {
    if (this.#untilRefresh === 0) this.#refresh = Math.min(this.#refresh * 2, LAST_REFRESH);
    this.#untilRefresh = this.#refresh;
    this.#allowance.recordPlainStep(wasted);
    if (this.#skip > 0) {
      this.#skipped++;
      if (--this.#skip === 0) this.#endSkip();
      return;
    }
    this.#restAll(1);
    if (this.#asked > 0) this.#idle.begin(wasted / this.#costs.plainStep);
  }

  #recordDraft(round: DraftRound, cost: number): void {
    const { plainStep } = this.#costs;
    this.#untilRefresh = Math.max(0, this.#untilRefresh - 1);
    this.#idle = new Rest();
    this.#allowance.recordDraft(cost, round.emitted, plainStep);
    (this.#current ?? this.#classes[0]).record(round, cost / plainStep);
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

  /** Plain steps until a draft of `length` is afforded. */
  #stepsUntil(length: number): number {
    const { plainStep } = this.#costs;
    return Math.max(1, this.#allowance.stepsUntil(this.#costs.atMost(length, length), plainStep));
  }

  /** @param asked Tokens that the drafter was asked for; null: as many as will be verified. */
  #choices(longest: number, asked: number | null): Choices {
    const costs = this.#costs;
    const { plainStep } = costs;
    const lengths = lengthsUpTo(Math.min(longest, costs.longest));
    return {
      plainStep,
      lengths,
      costs: lengths.map((length) => costs.probable(length, asked ?? length)),
      afforded: lengths.map((length) =>
        this.#allowance.affords(costs.atMost(length, asked ?? length), plainStep),
      ),
    };
  }
}

/** [longest]: the lengths to choose from. */
const lengthLists: (readonly number[])[] = [];

function lengthsUpTo(longest: number): readonly number[] {
  lengthLists[longest] ??= [...LENGTHS.filter((length) => length < longest), longest];
  return lengthLists[longest];
}

function isCost(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}

/** 1, 2 … 3, 4 … 7, 8 … 15, 16 … 31, 32 … 63, 64 and more; Infinity too. */
function classOf(matchLength: number): number {
  return matchLength >= 64 ? CLASSES - 1 : Math.max(0, 31 - Math.clz32(matchLength));
}

/** Chance of the next token where `matched` agreed: near the rule of succession, which is (matched + 1) / (matched + 2). */
function priorOf(matched: number): number {
  return (matched + 2) / (matched + 3);
}
