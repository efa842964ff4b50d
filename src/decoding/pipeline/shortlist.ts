/**
 * shortlist: the few tokens of a row that a pipeline can tell from its beginning to be all it needs.
 *
 *     allowed-ids, or a bitmask of few tokens     these tokens
 *     edits of single tokens, then top-k          the edited tokens, and the best of the row as it came
 *     edits of single tokens, then greedy         the same with k = 1
 *     edits of single tokens, then top-p, min-p,  with kernels, as whole-row.ts says: what these leave, or what may
 *     or nothing, perhaps after a temperature     win the draw
 *     anything else                               the whole row
 *
 * Why it is exact. Edits (bias, penalties, DRY, forbidden tokens) and masks make of a token what they make of it among
 * all the others, so a token that none of them touches has the logit that the row gives it. Let the list be the best m of
 * the row, and `bound` the worst of them. A token that is neither listed nor edited is at most `bound`. It cannot be among
 * the k best if
 *
 *     the k-th best of those at hand is above `bound`, which rules out ties too, or
 *     k of the list are neither edited nor masked, and ties go to the lower id: these all come before it.
 *
 * Else a longer list is asked for, and at last the whole row. What follows then works on the same candidates in the same
 * order of id, hence with the same numbers. Above the largest finite f32 the list's order is not ours, as +∞ counts as
 * that; so a bound there decides nothing.
 */
import type { LawKernels } from "../../backend/law-kernels.ts";
import { allows, type Candidates, logitOf, MOST, type Row } from "./candidates.ts";
import { EditedTokens, type Logits } from "./edits.ts";
import { leadOf, type Planned } from "./plan.ts";
import { kBest } from "./select.ts";
import type { FindBest, SparedRow } from "./spared.ts";
import type { Place } from "./step.ts";
import { kindOf } from "./steps.ts";
import { isGreedy } from "./temperature.ts";
import { WholeRow } from "./whole-row.ts";

/**
 * What kernels tell of the row, in a fraction of the time that it takes here; they leave it as it is, and where it is. They
 * change nothing but the speed.
 */
export interface SamplingKernels {
  readonly best: FindBest;
  readonly law?: LawKernels;
}

/** Edited tokens that the first list makes room for; more hardly ever are among the best. */
const ROOM = 64;
/** A list grows by this factor, as long as it is shorter than the row by it, and no longer than is quick to find. */
const GROWTH = 4;
const LONGEST = 4096;
/** Below this share of the vocabulary a mask's tokens are taken one by one. */
const FEW = 1 / 16;

export class Shortlist {
  readonly #plan: readonly Planned[];
  readonly #lead: number;
  readonly #allowed: readonly number[] | undefined;
  readonly #masked: boolean;
  readonly #edits = new EditedTokens();
  readonly #wholeRow: WholeRow;

  constructor(plan: readonly Planned[]) {
    this.#plan = plan;
    this.#lead = leadOf(plan);
    const lead = plan.slice(0, this.#lead).map(({ step }) => step);
    this.#allowed = lead.find((step) => step.step === "allowed-ids")?.ids;
    this.#masked = lead.some(({ step }) => step === "bitmask");
    this.#wholeRow = new WholeRow(plan, this.#lead);
  }

  /**
   * Loads what of the row can matter, perhaps nothing.
   *
   * @param top The most likely tokens that must be there if all that follows is the draw; null: all that have a chance.
   * @returns How many steps of the plan are done with that.
   */
  load(
    candidates: Candidates,
    row: Row,
    place: Place,
    kernels: SamplingKernels | undefined,
    top: number | null,
  ): number {
    const mask = this.#masked ? place.bitmask : undefined;
    if (this.#allowed !== undefined) {
      candidates.loadTokens(row, this.#allowed);
      return 0;
    }
    const k = this.#cut();
    const count = mask === undefined ? row.length : countBits(mask);
    const best = kernels?.best ?? ((most: number) => bestOf(row, most));
    if (k > 0 && count > FEW * row.length && this.#loadBest(k, candidates, row, place, mask, best)) {
      return this.#lead + 1;
    }
    if (k === 0 && kernels?.law !== undefined && count > FEW * row.length) {
      const { law } = kernels;
      this.#edit(row, place, mask);
      const task = { row, place, mask, edits: this.#edits, kernels: law, best, top };
      const done = this.#wholeRow.load(candidates, task);
      if (done >= 0) return done;
    }
    if (mask === undefined) candidates.load(row);
    else candidates.loadTokens(row, bitsOf(mask, count));
    return 0;
  }

  /**
   * Loads what can matter, if few tokens can, and only then. There must be no mask.
   *
   * @returns How many steps of the plan are done with that; −1: the row is needed.
   */
  loadSpared(candidates: Candidates, { vocab, best, logit }: SparedRow, place: Place): number {
    const isEdited = this.#plan.slice(0, this.#lead).some(({ step }) => step.step !== "bitmask");
    if (isEdited && logit === undefined) return -1;
    if (this.#allowed !== undefined) {
      const tokens = Uint32Array.from(this.#allowed.filter((token) => token < vocab));
      candidates.loadLogits(tokens, (token) => logitOf(logit!(token)));
      return 0;
    }
    const k = this.#cut();
    if (k === 0) return -1;
    const logits = { length: vocab, at: (token: number) => logit!(token) };
    return this.#loadBest(k, candidates, logits, place, undefined, best) ? this.#lead + 1 : -1;
  }

  /** What the plan's edits make of the tokens that they touch. NaN: no chance. */
  editsOf(logits: Logits, place: Place): { tokens: Uint32Array; logits: Float64Array } {
    const edits = this.#edits;
    this.#edit(logits, place, undefined);
    const tokens = edits.index.tokens.slice(0, edits.index.count).sort();
    return { tokens, logits: Float64Array.from(tokens, (token) => edits.logits[edits.index.find(token)]) };
  }

  /** How many tokens the step after the lead keeps; 0: it is another one. */
  #cut(): number {
    if (this.#lead === this.#plan.length) return 0;
    const { step } = this.#plan[this.#lead];
    return step.step === "top-k" ? step.k : isGreedy(step) ? 1 : 0;
  }

  #loadBest(
    k: number,
    candidates: Candidates,
    row: Logits,
    place: Place,
    mask: Uint32Array | undefined,
    best: FindBest,
  ): boolean {
    const edits = this.#edits;
    const { step, index } = this.#plan[this.#lead];
    const sharesPlaces = step.step === "top-k" && step.ties === "all";
    this.#edit(row, place, mask);
    let untouched = 0;
    for (
      let asked = k + Math.min(edits.index.count, ROOM) + (sharesPlaces ? k : 0);
      asked <= Math.min(LONGEST, row.length / GROWTH);
      asked *= GROWTH
    ) {
      const { ids, logits } = best(asked);
      let isAll = ids.length < asked;
      let bound = Infinity;
      for (let i = 0; i < ids.length; i++) {
        const logit = logitOf(logits[i]);
        if (Number.isNaN(logit)) isAll = true;
        else if (allows(mask, ids[i]) && edits.note(ids[i], logit)) untouched++;
        if (logit < bound) bound = logit;
      }
      const tokens = edits.index.tokens.slice(0, edits.index.count).sort();
      candidates.loadLogits(tokens, (token) => edits.logits[edits.index.find(token)]);
      if (candidates.count === 0) return false;
      if (!isAll && candidates.count < k) continue;
      kindOf(step).apply!(candidates, step, place, index, 0);
      if (isAll) return true;
      const isFull = !sharesPlaces && untouched >= k;
      if (bound < MOST && (isFull || leastOf(candidates) > bound)) return true;
    }
    return false;
  }

  /** What the lead makes of the tokens that it touches. */
  #edit(row: Logits, place: Place, mask: Uint32Array | undefined): void {
    const { index } = this.#edits;
    this.#edits.begin(row);
    for (let i = 0; i < this.#lead; i++) {
      const { step } = this.#plan[i];
      kindOf(step).edit?.(this.#edits, step, place);
    }
    if (mask === undefined) return;
    for (let i = 0; i < index.count; i++) if (!allows(mask, index.tokens[i])) this.#edits.logits[i] = NaN;
  }
}

function bestOf(row: Row, count: number): ReturnType<FindBest> {
  const ids = kBest(row, row.length, count);
  return { ids, logits: Float64Array.from(ids, (id) => row[id]) };
}

function leastOf({ logits, count }: Candidates): number {
  let least = Infinity;
  for (let i = 0; i < count; i++) least = Math.min(least, logits[i]);
  return least;
}

function countBits(mask: Uint32Array): number {
  let count = 0;
  for (let i = 0; i < mask.length; i++) {
    let bits = mask[i];
    bits -= (bits >>> 1) & 0x55555555;
    bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
    count += Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/** Ids of the bits that are 1, ascending. */
function bitsOf(mask: Uint32Array, count: number): Uint32Array {
  const ids = new Uint32Array(count);
  let found = 0;
  for (let i = 0; i < mask.length; i++) {
    for (let bits = mask[i]; bits !== 0; bits &= bits - 1)
      ids[found++] = 32 * i + 31 - Math.clz32(bits & -bits);
  }
  return ids;
}
