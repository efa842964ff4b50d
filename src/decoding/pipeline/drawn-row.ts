/**
 * drawn-row: pipelines over a row that lies on another device, which draws from it, or tells its best tokens.
 *
 *     edits, mask, greedy                        the best token: the choice
 *     edits, mask, perhaps a temperature         the winner of the race: the choice
 *     edits, mask, top-k, more steps             the k best, and some more if tokens are edited: the candidates
 *     edits, mask, perhaps a temperature,        the best, and the sum of all weights: what top-p or min-p leaves of them
 *       top-p or min-p, more steps               are the candidates, if these are all
 *     anything else                              the row
 *
 * A token comes in 32 bytes, a list in 8 per token: of 62 tokens (512 bytes) for top-p and min-p, and of up to 1022 (8 KB)
 * where rows are so flat that fewer have not been enough.
 *
 * Lists come with the logits of the row, so that all that follows is what it would have been with the row, number for number:
 * what a device rounds can decide only which tokens are told, and where that might matter the row is asked for.
 */
import type { DrawnList, DrawTask } from "../../backend/draw-kernels.ts";
import { USUAL_LIST } from "../../backend/draw-kernels.ts";
import { log } from "../../math.ts";
import { allows, bounded, type Candidates } from "./candidates.ts";
import { EditedTokens } from "./edits.ts";
import { leadOf, type Planned } from "./plan.ts";
import { RecordedChanges } from "./recorded-changes.ts";
import { bestFirst } from "./select.ts";
import type { Place } from "./step.ts";
import { kindOf } from "./steps.ts";
import { isGreedy } from "./temperature.ts";

/** Tokens listed beyond those that are wanted, where rounding may have moved some. */
const ROOM = 8;
/** Longer lists take longer than the row. */
const LONGEST = 1022;
/** Lists that have not been enough grow by this factor; after so many that were more than that they shrink by it. */
const GROWTH = 4;
const PATIENCE = 64;
/** Above any rounding of sums of f64, relative. */
const SUM_ERROR = 1e-9;

/** How a pipeline goes about a row. `at`: the step of the plan that cuts the list. */
type Way =
  | { readonly kind: "draw"; readonly temperature: number }
  | { readonly kind: "top-k"; readonly k: number; readonly at: number; readonly sharesPlaces: boolean }
  | {
      readonly kind: "top-p" | "min-p";
      readonly p: number;
      readonly at: number;
      readonly temperature: number;
    };

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
    if (way.kind === "draw") return { ...task, temperature: way.temperature };
    if (way.kind !== "top-k") {
      return { ...task, temperature: way.temperature, list: Math.min(this.#listed, vocab) };
    }
    const list = way.k + (changes !== undefined || way.sharesPlaces ? ROOM : 0);
    return list > LONGEST || 4 * list > vocab ? null : { ...task, temperature: 1, list };
  }

  /**
   * Loads the candidates that a list leaves.
   *
   * @returns How many steps of the plan are done with that; −1: the row is needed.
   */
  load(candidates: Candidates, list: DrawnList, place: Place): number {
    const way = this.#way;
    if (way === null || way.kind === "draw") return -1;
    const isEdited = this.#loadEdited(candidates, list, place);
    const isAll = list.bound === -Infinity || list.ids.length === candidates.vocab;
    if (candidates.count === 0) return -1;
    if (way.kind === "top-k") {
      if (isAll || (!isEdited && !way.sharesPlaces)) return way.at;
      return this.#cutTop(candidates, way, place, list.bound);
    }
    if (isAll) return this.#lead.length;
    const done =
      way.kind === "min-p" ? cutMinP(candidates, way, list.bound) : cutTopP(candidates, way, list, isEdited);
    this.#learn(done >= 0, candidates.count);
    return done;
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
    if (!wasEnough) this.#listed = Math.min(LONGEST, GROWTH * this.#listed);
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

  #cutTop(candidates: Candidates, { k, at }: Way & { kind: "top-k" }, place: Place, bound: number): number {
    if (candidates.count < k) return -1;
    const { step, index } = this.#plan[at];
    kindOf(step).apply!(candidates, step, place, index, 0);
    return leastOf(candidates) > bound ? at + 1 : -1;
  }
}

function wayOf(plan: readonly Planned[], lead: readonly Planned[]): Way | null {
  if (plan.some(({ slot }) => slot >= 0)) return null;
  let at = lead.length;
  const step = plan[at]?.step;
  if (step === undefined) return { kind: "draw", temperature: 1 };
  if (step.step === "top-k") return { kind: "top-k", k: step.k, at, sharesPlaces: step.ties === "all" };
  if (isGreedy(step)) {
    // With one token left, only what forbids tokens makes a difference.
    const isLast = plan.slice(at + 1).every((next) => kindOf(next.step).edit === undefined && !isMask(next));
    return isLast ? { kind: "draw", temperature: 0 } : null;
  }
  let temperature = 1;
  if (step.step === "temperature") {
    temperature = step.temperature;
    at++;
  }
  const cut = plan[at]?.step;
  if (cut === undefined) return { kind: "draw", temperature };
  if (cut.step === "top-p" || cut.step === "min-p") return { kind: cut.step, p: cut.p, at, temperature };
  return null;
}

function isMask({ step }: Planned): boolean {
  return step.step === "allowed-ids" || step.step === "bitmask";
}

type Cut = Way & { kind: "top-p" | "min-p" };

/** All that min-p keeps is listed if what is not lies below its bar, by more than rounding. */
function cutMinP(candidates: Candidates, { p, at, temperature }: Cut, bound: number): number {
  if (temperature !== 1) candidates.divide(temperature);
  const most = candidates.logits[candidates.best()];
  const distance = -log(p);
  const least = most - distance - (distance + Math.abs(most)) * SUM_ERROR;
  return bounded(bound / temperature) < least ? at : -1;
}

/** Where top-p ends, as `lastOfMass` finds it, if neither the sum nor the order of tokens leaves a doubt. */
function cutTopP(
  candidates: Candidates,
  { p, at, temperature }: Cut,
  { bound, total, totalError }: DrawnList,
  isEdited: boolean,
): number {
  if (temperature !== 1) candidates.divide(temperature);
  const { logits, count } = candidates;
  const weights = candidates.weights();
  const order = bestFirst(logits, count, count);
  const goal = p * total;
  const doubt = goal * (totalError + SUM_ERROR);
  let mass = 0;
  for (const [rank, index] of order.entries()) {
    const before = mass;
    mass += weights[index];
    if (mass < goal - doubt) continue;
    // The first is kept in any case.
    const isClear = mass > goal + doubt && (rank === 0 || before < goal - doubt);
    if (!isClear || (isEdited && !(logits[index] > bounded(bound / temperature)))) return -1;
    candidates.pick(order.slice(0, rank + 1).sort());
    return at + 1;
  }
  return -1;
}

function leastOf({ logits, count }: Candidates): number {
  let least = Infinity;
  for (let i = 0; i < count; i++) least = Math.min(least, logits[i]);
  return least;
}
