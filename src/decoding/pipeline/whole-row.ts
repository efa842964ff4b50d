/**
 * whole-row: pipelines that look at every token, by kernels that leave few to look at here.
 *
 *     edits, temperature                       draw
 *     edits, temperature, top-p                draw, or more steps
 *     edits, temperature, min-p                more steps, or draw
 *
 * Kernels say what the best logit is, how much mass there is and where, and which tokens may win the race. All that
 * decides is compared here, in the very numbers that the steps and the race would have had: of the tokens loaded, and of
 * sums that kernels and `Candidates` make in one order. So what comes of it is the same to the last bit.
 */
import {
  type Law,
  type LawFloor,
  type LawKernels,
  type LawRange,
  MOST_EDITS,
  MOST_MASKED,
  NO_FLOOR,
} from "../../backend/law-kernels.ts";
import { expBelow } from "../../exp-below.ts";
import { log } from "../../math.ts";
import { allows, bounded, type Candidates, logitOf, type Row } from "./candidates.ts";
import type { EditedTokens } from "./edits.ts";
import type { Planned } from "./plan.ts";
import { boundaryBucket, bucketScale, lastOfPool, SMALL } from "./select.ts";
import type { FindBest } from "./spared.ts";
import type { Place } from "./step.ts";
import { isGreedy } from "./temperature.ts";

/** Lists of the best, for those who ask for alternatives, grow by this factor up to this length. */
const GROWTH = 4;
const LONGEST = 4096;

/** What is asked of a row. */
export interface WholeRowTask {
  readonly row: Row;
  readonly place: Place;
  readonly mask: Uint32Array | undefined;
  readonly edits: EditedTokens;
  readonly kernels: LawKernels;
  readonly best: FindBest;
  /** The most likely tokens that must be among the candidates if all that follows is the draw; null: the law is wanted. */
  readonly top: number | null;
}

export class WholeRow {
  readonly #temperature: number = 1;
  readonly #topP: number | null = null;
  readonly #minP: number | null = null;
  /** Steps that are done with once candidates are loaded. */
  readonly #done: number;
  /** Whether these are all steps. */
  readonly #isLast: boolean;

  /** @param lead Steps at the beginning of the plan that edit or mask tokens. */
  constructor(plan: readonly Planned[], lead: number) {
    let at = lead;
    const { step } = plan[at] ?? {};
    if (step?.step === "temperature" && !isGreedy(step)) {
      this.#temperature = step.temperature;
      at++;
    }
    const cut = plan[at]?.step;
    if (cut?.step === "min-p") this.#minP = cut.p;
    if (cut?.step === "top-p") {
      this.#topP = cut.p;
      at++;
    }
    this.#done = at;
    this.#isLast = at === plan.length;
  }

  /**
   * Loads what can matter.
   *
   * @returns How many steps are done with that; −1, and nothing is loaded, if this is not to be had from kernels.
   */
  load(candidates: Candidates, task: WholeRowTask): number {
    const isDraw = this.#isLast && task.top !== null;
    if (!isDraw && this.#topP === null && this.#minP === null) return -1;
    const law = this.#lawOf(task);
    if (law === null) return -1;
    const range = task.kernels.range(law);
    if (range.count === 0) return -1;
    const isLoaded = isDraw
      ? this.#loadDraw(candidates, law, range, task, task.top!)
      : this.#loadKept(candidates, law, range, task);
    return isLoaded ? this.#done : -1;
  }

  #lawOf({ edits, mask, row }: WholeRowTask): Law | null {
    const { count } = edits.index;
    if (count > MOST_EDITS || (mask !== undefined && row.length > MOST_MASKED)) return null;
    const tokens = edits.index.tokens.slice(0, count).sort();
    const logits = Float64Array.from(tokens, (token) => this.#scaled(edits.logits[edits.index.find(token)]));
    return { temperature: this.#temperature, edits: { tokens, logits }, mask };
  }

  /** What the temperature makes of a logit. */
  #scaled(logit: number): number {
    return this.#temperature === 1 ? logit : bounded(logit / this.#temperature);
  }

  /** The logit of a token of the law, NaN: none. */
  #logitIn({ row, edits, mask }: WholeRowTask): (token: number) => number {
    return (token) => {
      const edited = edits.index.find(token);
      if (edited >= 0) return this.#scaled(edits.logits[edited]);
      return allows(mask, token) ? this.#scaled(logitOf(row[token])) : NaN;
    };
  }

  /** Candidates with the winner of the race among them. */
  #loadDraw(candidates: Candidates, law: Law, range: LawRange, task: WholeRowTask, top: number): boolean {
    const { kernels, place } = task;
    const { most } = range;
    const floor = this.#topP === null ? NO_FLOOR : this.#boundary(law, range, task, this.#topP)?.floor;
    if (floor === undefined) return false;
    const contest = kernels.contest(law, most, floor, place.seed, place.position);
    if (contest === null) return false;
    const { tokens, total } = contest;
    const logitIn = this.#logitIn(task);
    const loadPart = (some: Uint32Array) =>
      candidates.loadPart(some, (token) => atOrAbove(floor, token, logitIn(token)), most, total);
    if (top === 0) {
      loadPart(tokens);
      return true;
    }
    for (let asked = Math.min(top + law.edits.tokens.length, task.row.length); ; asked *= GROWTH) {
      const { ids, logits } = task.best(asked);
      loadPart(union(tokens, law.edits.tokens, ids));
      if (ids.length < asked || asked === task.row.length) return true;
      // No token that is not listed has a larger logit.
      const bound = Math.min(most, this.#scaled(logitOf(logits[asked - 1])));
      if (bound < floor.bar || areMoreLikely(candidates, top, bound, most)) return true;
      if (asked * GROWTH > Math.min(LONGEST, task.row.length)) return false;
    }
  }

  /** All candidates that the steps leave; of min-p perhaps some more, as it is still to be done. */
  #loadKept(candidates: Candidates, law: Law, range: LawRange, task: WholeRowTask): boolean {
    const { most } = range;
    const logitIn = this.#logitIn(task);
    if (this.#minP !== null) {
      const distance = -log(this.#minP);
      const reach = Math.max(distance + (distance + Math.abs(most)) * 1e-12, 1e-300);
      const tokens = task.kernels.within(law, most, 1 / reach, 0, 0);
      if (tokens !== null) candidates.loadLogits(tokens, logitIn);
      return tokens !== null;
    }
    const boundary = this.#boundary(law, range, task, this.#topP!);
    if (boundary === null) return false;
    const { floor, bucket } = boundary;
    const tokens = task.kernels.within(law, most, bucketScale(most, range.least), 0, bucket);
    if (tokens === null) return false;
    candidates.loadLogits(tokens, (token) => atOrAbove(floor, token, logitIn(token)));
    return true;
  }

  /** Where top-p ends, as `lastOfMass` finds it, and the bucket that lies in; null: not by kernels. */
  #boundary(
    law: Law,
    { most, least, count }: LawRange,
    task: WholeRowTask,
    share: number,
  ): { floor: LawFloor; bucket: number } | null {
    if (count <= SMALL || most === least) return null;
    const { kernels } = task;
    const scale = bucketScale(most, least);
    const { total, mass } = kernels.buckets(law, most, scale);
    const goal = share * total;
    const { bucket, before } = boundaryBucket(mass, 0, goal);
    const tokens = kernels.within(law, most, scale, bucket, bucket);
    if (tokens === null) return null;
    const logits = Float64Array.from(tokens, this.#logitIn(task));
    const weights = new Float64Array(tokens.length);
    expBelow(weights, logits, tokens.length, most);
    const last = lastOfPool(logits, weights, before, goal);
    return { floor: { bar: logits[last], last: tokens[last] }, bucket };
  }
}

/** The logit of a token that is part of what lies above the floor, else NaN. */
function atOrAbove({ bar, last }: LawFloor, token: number, logit: number): number {
  return logit > bar || (logit === bar && token <= last) ? logit : NaN;
}

/** Whether `count` candidates are more likely than any token with at most this logit; or all that are likely at all. */
function areMoreLikely(candidates: Candidates, count: number, bound: number, most: number): boolean {
  const total = candidates.total();
  const weights = candidates.weights().subarray(0, candidates.count);
  const weight = new Float64Array(1);
  expBelow(weight, Float64Array.of(bound), 1, most);
  // A little more, as exp of a smaller number may be larger by a rounding.
  const probability = (weight[0] / total) * (1 + 1e-12);
  return probability === 0 || weights.filter((one) => one / total > probability).length >= count;
}

/** Ascending, each once. */
function union(...lists: readonly Uint32Array[]): Uint32Array {
  return Uint32Array.from(new Set(lists.flatMap((list) => Array.from(list)))).sort();
}
