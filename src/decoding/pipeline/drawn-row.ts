/**
 * drawn-row: pipelines over a row that lies on another device, which draws from it, or tells its best tokens.
 *
 *     edits, mask, greedy                        the best token: the choice
 *     edits, mask, any number of temperatures,   the winner of the race over what the cuts leave: the choice; where that
 *       top-k, top-p and min-p                   cannot be told, the list for the first cut
 *     edits, mask, top-k, more steps             the k best, and some more if tokens are edited: the candidates
 *     edits, mask, temperatures, top-p or        the best, and the sum of all other weights: what top-p or min-p leaves
 *       min-p, more steps                        of them are the candidates, if these are all
 *     anything else                              the row
 *
 * A token comes in 32 bytes, a list in 8 per token: of 62 tokens (512 bytes) for top-p and min-p before steps that a device
 * does not do, and of up to 1022 (8 KB) where rows are so flat that fewer have not been enough.
 *
 * Lists come with the logits of the row, so that all that follows is what it would have been with the row, number for number:
 * what a device rounds can decide only which tokens are told, and where that might matter the row is asked for.
 */
import type { Cut, DrawnList, DrawTask } from "../../backend/draw-kernels.ts";
import { LIST_ROOM, LONGEST_LIST, MOST_CUTS, USUAL_LIST } from "../../backend/draw-kernels.ts";
import { log } from "../../math.ts";
import { allows, bounded, type Candidates } from "./candidates.ts";
import { EditedTokens } from "./edits.ts";
import { leadOf, type Planned } from "./plan.ts";
import { RecordedChanges } from "./recorded-changes.ts";
import { bestFirst } from "./select.ts";
import type { Place } from "./step.ts";
import { kindOf, type Step } from "./steps.ts";
import { isGreedy, type TemperatureStep } from "./temperature.ts";

/** Lists that have not been enough grow by this factor; after so many that were more than that they shrink by it. */
const GROWTH = 4;
const PATIENCE = 64;
/** Above any rounding of sums of f64, relative. */
const SUM_ERROR = 1e-9;

/** Temperatures of tasks; beyond, what the pipeline computes is not what it means. */
const LEAST_TEMPERATURE = 1e-30;
const MOST_TEMPERATURE = 100;

/** How a pipeline goes about a row. */
interface Way {
  /** What a device can do of it; null: it takes a list. */
  readonly draw: (Pick<DrawTask, "temperature"> & { readonly cuts: readonly Cut[] }) | null;
  /** The first step that cuts, if there are no others before it than temperatures. */
  readonly first: FirstCut | null;
}

interface FirstCut {
  readonly cut: Cut;
  /** Of the step in the plan. */
  readonly at: number;
}

export class DrawnRow {
  readonly #lead: readonly Planned[];
  readonly #plan: readonly Planned[];
  readonly #way: Way | null;
  readonly #isMasked: boolean;
  readonly #allowed: readonly number[] | undefined;
  readonly #edits = new EditedTokens();
  /** Tokens that are listed for top-p and min-p, and lists in a row that were more than long enough. */
  #listed = USUAL_LIST;
  #ample = 0;

  constructor(plan: readonly Planned[]) {
    this.#plan = plan;
    this.#lead = plan.slice(0, leadOf(plan));
    this.#isMasked = this.#lead.some(({ step }) => step.step === "bitmask");
    this.#allowed = this.#lead.map(({ step }) => step).find((step) => step.step === "allowed-ids")?.ids;
    this.#way = wayOf(plan, this.#lead);
  }

  /** What to ask the device; null: for the row. */
  task(place: Place, vocab: number): DrawTask | null {
    const way = this.#way;
    if (way === null) return null;
    const recorded = new RecordedChanges(vocab);
    for (const { step } of this.#lead) kindOf(step).edit?.(recorded, step, place);
    const changes = recorded.changes();
    if (changes === null) return null;
    const { seed, position } = place;
    const mask = this.#mask(place, vocab);
    const task = { ...(changes && { changes }), ...(mask && { mask }), seed, position };
    return way.draw === null ? this.#listTask(way.first!.cut, task, vocab) : drawTask(way.draw, task, vocab);
  }

  /**
   * Loads the candidates that a list leaves.
   *
   * @returns How many steps of the plan are done with that; −1: the row is needed.
   */
  load(candidates: Candidates, list: DrawnList, place: Place): number {
    const way = this.#way;
    if (!way?.first) return -1;
    const { cut, at } = way.first;
    const isEdited = this.#loadEdited(candidates, list, place);
    const isAll = list.bound === -Infinity || list.ids.length === candidates.vocab;
    if (candidates.count === 0) return -1;
    if (isAll) return this.#lead.length;
    const { bound } = list;
    if (cut.cut === "top-k") {
      const isExact = !isEdited && cut.ties === "lowest" && list.ids.length >= cut.k;
      return isExact ? at : this.#cutTop(candidates, cut.k, at, place, bound);
    }
    const heat = this.#heat(candidates, at, place);
    const done =
      cut.cut === "min-p"
        ? cutMinP(candidates, cut.p, heat(bound))
        : cutTopP(candidates, cut.p, list, isEdited ? heat(bound) : -Infinity);
    if (way.draw === null) this.#learn(done !== null, candidates.count);
    return done === null ? -1 : at + done;
  }

  #listTask(cut: Cut, task: Omit<DrawTask, "temperature">, vocab: number): DrawTask | null {
    if (cut.cut !== "top-k") {
      return { ...task, temperature: cut.temperature, list: Math.min(this.#listed, vocab) };
    }
    const list = cut.k + (task.changes !== undefined || cut.ties === "all" ? LIST_ROOM : 0);
    return list > LONGEST_LIST || 4 * list > vocab ? null : { ...task, temperature: 1, list };
  }

  /** What may be emitted, as far as the lead says so. */
  #mask({ bitmask }: Place, vocab: number): Uint32Array | undefined {
    const mask = this.#isMasked ? bitmask : undefined;
    if (this.#allowed === undefined) return mask;
    const both = new Uint32Array(Math.ceil(vocab / 32));
    for (const id of this.#allowed) if (id < vocab && allows(mask, id)) both[id >>> 5] |= 1 << (id & 31);
    return both;
  }

  /** How long lists should be: rows of a text resemble each other. It changes nothing but the speed. */
  #learn(wasEnough: boolean, kept: number): void {
    this.#ample = wasEnough && GROWTH * kept < this.#listed ? this.#ample + 1 : 0;
    if (!wasEnough) this.#listed = Math.min(LONGEST_LIST, GROWTH * this.#listed);
    if (this.#ample < PATIENCE) return;
    this.#ample = 0;
    this.#listed = Math.max(USUAL_LIST, Math.floor(this.#listed / GROWTH));
  }

  /** What the lead makes of the tokens told. @returns Whether it changes any token of the row. */
  #loadEdited(candidates: Candidates, { ids, logits }: DrawnList, place: Place): boolean {
    const edits = this.#edits;
    const known = new Map(Array.from(ids, (id, i) => [id, logits[i]]));
    edits.begin({ length: candidates.vocab, at: (id) => known.get(id) });
    for (const { step } of this.#lead) kindOf(step).edit?.(edits, step, place);
    const isEdited = edits.index.count > 0;
    candidates.loadLogits(ids.slice().sort(), (token) => {
      const edited = edits.index.find(token);
      return edited >= 0 ? edits.logits[edited] : known.get(token)!;
    });
    return isEdited;
  }

  /** Does the temperatures before step `at`. @returns What they make of other logits. */
  #heat(candidates: Candidates, at: number, place: Place): (logit: number) => number {
    const steps = this.#plan.slice(this.#lead.length, at);
    for (const { step, index } of steps) kindOf(step).apply!(candidates, step, place, index, 0);
    return (logit) =>
      steps.reduce((heated, { step }) => bounded(heated / (step as TemperatureStep).temperature), logit);
  }

  #cutTop(candidates: Candidates, k: number, at: number, place: Place, bound: number): number {
    if (candidates.count < k) return -1;
    const { step, index } = this.#plan[at];
    kindOf(step).apply!(candidates, step, place, index, 0);
    return leastOf(candidates) > bound ? at + 1 : -1;
  }
}

function wayOf(plan: readonly Planned[], lead: readonly Planned[]): Way | null {
  if (plan.some(({ slot }) => slot >= 0)) return null;
  const tail = plan.slice(lead.length);
  const cuts: Cut[] = [];
  let temperature = 1;
  let first: FirstCut | null = null;
  for (const [i, { step }] of tail.entries()) {
    if (isGreedy(step)) {
      // With one token left, only what forbids tokens makes a difference.
      const isLast = tail.slice(i).every((next) => kindOf(next.step).edit === undefined && !isMask(next));
      return isLast ? { draw: { temperature: 0, cuts: [] }, first: null } : null;
    }
    if (step.step === "temperature") temperature *= step.temperature;
    const cut = cutOf(step, temperature);
    if (cut !== null) {
      cuts.push(cut);
      first ??= { cut, at: lead.length + i };
    } else if (step.step !== "temperature") return first && { draw: null, first };
    const isUsual = temperature >= LEAST_TEMPERATURE && temperature <= MOST_TEMPERATURE;
    if (!isUsual || cuts.length > MOST_CUTS) return first && { draw: null, first };
  }
  return { draw: { temperature, cuts }, first };
}

function cutOf(step: Step, temperature: number): Cut | null {
  if (step.step === "top-k") return { cut: "top-k", k: step.k, ties: step.ties ?? "lowest" };
  if (step.step === "top-p" || step.step === "min-p") return { cut: step.step, p: step.p, temperature };
  return null;
}

function isMask({ step }: Planned): boolean {
  return step.step === "allowed-ids" || step.step === "bitmask";
}

function drawTask(
  { temperature, cuts }: NonNullable<Way["draw"]>,
  task: Omit<DrawTask, "temperature">,
  vocab: number,
): DrawTask | null {
  const some = cuts.filter((cut) => cut.cut !== "top-k" || cut.k < vocab);
  const [first] = some;
  if (first?.cut === "top-k" && first.k + LIST_ROOM > LONGEST_LIST) return null;
  return { ...task, temperature, ...(some.length > 0 && { cuts: some }) };
}

/** All that min-p keeps is listed if what is not lies below its bar, by more than rounding. @returns Steps done; null: the row must tell. */
function cutMinP(candidates: Candidates, p: number, bound: number): number | null {
  const most = candidates.logits[candidates.best()];
  const distance = -log(p);
  const least = most - distance - (distance + Math.abs(most)) * SUM_ERROR;
  return bound < least ? 0 : null;
}

/**
 * Where top-p ends, as `lastOfMass` finds it, if neither the sum nor the order of tokens leaves a doubt.
 *
 * @param bound Of the tokens that are not listed, where their order is in doubt.
 * @returns Steps done; null: the row must tell.
 */
function cutTopP(
  candidates: Candidates,
  p: number,
  { rest, restError }: DrawnList,
  bound: number,
): number | null {
  const { logits, count } = candidates;
  const weights = candidates.weights();
  const order = bestFirst(logits, count, count);
  const goal = p * (candidates.total() + rest);
  const doubt = p * rest * restError + goal * SUM_ERROR;
  let mass = 0;
  for (const [rank, index] of order.entries()) {
    const before = mass;
    mass += weights[index];
    if (mass < goal - doubt) continue;
    // The first is kept in any case.
    const isClear = mass > goal + doubt && (rank === 0 || before < goal - doubt);
    if (!isClear || !(logits[index] > bound)) return null;
    candidates.pick(order.slice(0, rank + 1).sort());
    return 1;
  }
  return null;
}

function leastOf({ logits, count }: Candidates): number {
  let least = Infinity;
  for (let i = 0; i < count; i++) least = Math.min(least, logits[i]);
  return least;
}
