/**
 * pipeline: from a row of logits to a token.
 *
 *     row  →  step  →  step  →  …  →  distribution  →  race
 *
 * A pipeline is an ordered list of steps, plain JSON; the order is part of what it means, and of its fingerprint. What it
 * makes of a row is a function of the row, the place in the text and the seed: computed again, for a draft or a second
 * time, it is the same. Everything is f64 on the f32 row, with our own exp and log, so every engine gives the same token.
 *
 * Rows   NaN and −∞ have no chance; +∞ counts as the largest f32. A row of which nothing is left is an error, never a token
 *        that was forbidden.
 * Draw   by the exponential race (pipeline/race.ts), whose noise drafters and verifiers share.
 * Cost   with top-k, or greedy, a search for the best logits and O(k + edited tokens); else a pass over the vocabulary for
 *        the row, each step on it and the race, most of which kernels take over (pipeline/whole-row.ts). Nothing sorts
 *        the vocabulary.
 */
import type { Drawn, DrawTask } from "../backend/draw-kernels.ts";
import { expectInteger } from "../errors.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import { type EncodedRow, logitsOf } from "../format/wire/index.ts";
import { log } from "../math.ts";
import { Candidates, type Row } from "./pipeline/candidates.ts";
import {
  type Distribution,
  probabilityOf,
  type TokenLogProbability,
  topLogProbabilities,
} from "./pipeline/distribution.ts";
import { DrawnRow } from "./pipeline/drawn-row.ts";
import { Occurrences } from "./pipeline/history.ts";
import { type Planned, plainTemperature, planOf } from "./pipeline/plan.ts";
import { race } from "./pipeline/race.ts";
import { type SamplingKernels, Shortlist } from "./pipeline/shortlist.ts";
import type { DrawnToken, SparedRow } from "./pipeline/spared.ts";
import type { Place } from "./pipeline/step.ts";
import { kindOf, readSteps, type Step } from "./pipeline/steps.ts";

export type { Row } from "./pipeline/candidates.ts";
export {
  type Distribution,
  denseProbabilities,
  draw,
  gumbelArgmax,
  probabilityOf,
  type TokenLogProbability,
  topLogProbabilities,
} from "./pipeline/distribution.ts";
export {
  OPTION_NAMES,
  PRESET_NAMES,
  type PresetName,
  type PresetOptions,
  presetSteps,
} from "./pipeline/presets.ts";
export type { SamplingKernels } from "./pipeline/shortlist.ts";
export type { DrawLaw, DrawnToken, DrawPlace, FindBest, SparedRow } from "./pipeline/spared.ts";
export { STEP_NAMES, type Step, type StepName } from "./pipeline/steps.ts";

/** Where in a text the row stands, and what the choice may depend on. */
export interface SamplingContext {
  /** Prompt and output so far; for a row in a draft, with the draft's tokens before it. */
  readonly history: ArrayLike<number>;
  /** How many of them are the prompt. */
  readonly promptLength: number;
  /** Position in the sequence of the token to choose. Default: `history.length`. */
  readonly position?: number;
  /** Integer from 0 to 2^53 − 1. */
  readonly seed: number;
  /** (⌈vocab / 32⌉) for a step "bitmask": token id is allowed if bit id mod 32 of word ⌊id / 32⌋ is 1. */
  readonly bitmask?: Uint32Array;
  /** Of the row, if it lies where kernels can work on it. They change nothing but the speed. */
  readonly kernels?: SamplingKernels;
  /** What the tokens before left behind. Needed by pipelines with memory, that is with mirostat. */
  readonly state?: PipelineState;
}

/**
 * What a pipeline remembers of the tokens it emitted, beyond the history. Plain data that is never changed in place: keep
 * one per position to go back to it.
 */
export interface PipelineState {
  /** One number per step with memory; mirostat's μ. */
  readonly memory: readonly number[];
}

export interface Choice extends TokenLogProbability {
  /** The most likely tokens, as many as were asked for, most likely first. */
  readonly top: readonly TokenLogProbability[];
  /** For the next row, given that this token was emitted. */
  readonly state: PipelineState;
}

/**
 * An ordered list of steps, ready to run. Holds scratch memory of 20 bytes per token that it had to look at: of the whole
 * vocabulary, or after top-k and the like of some hundred.
 *
 * @example
 * ```ts
 * const pipeline = createPipeline([{ step: "top-k", k: 2 }, { step: "temperature", temperature: 0.7 }]);
 * const { ids, probabilities } = pipeline.distribution(Float32Array.of(0, 2, 1), { history: [], promptLength: 0, seed: 1 });
 * // ids: 1, 2
 * ```
 */
export class Pipeline {
  /** Checked, with all defaults filled in, without those that change nothing. */
  readonly steps: readonly Step[];
  readonly #plan: readonly Planned[];
  readonly #withMemory: readonly Step[];
  readonly #shortlist: Shortlist;
  readonly #drawnRow: DrawnRow;
  /** Of a head that draws itself; null: it cannot do what the steps do. */
  readonly #temperature: number | null;
  readonly #occurrences = new Occurrences();
  #candidates = new Candidates(0);

  /** @param steps As `readSteps` gives them. */
  constructor(steps: readonly Step[]) {
    this.steps = Object.freeze(steps);
    this.#withMemory = steps.filter((step) => kindOf(step).memory !== undefined);
    this.#plan = planOf(steps, this.#withMemory);
    this.#shortlist = new Shortlist(this.#plan);
    this.#drawnRow = new DrawnRow(this.#plan);
    this.#temperature = plainTemperature(this.#plan);
  }

  toJSON(): readonly Step[] {
    return this.steps;
  }

  /** The state before the first token of an output. */
  start(): PipelineState {
    return { memory: this.#withMemory.map((step) => kindOf(step).memory!.start(step)) };
  }

  /** The state after `token` was emitted, drawn from `distribution`. A token it gives no chance is not learned from. */
  after(state: PipelineState, distribution: Distribution, token: number): PipelineState {
    const probability = probabilityOf(distribution, token);
    return probability === 0 ? state : this.#learn(state, probability);
  }

  /**
   * The law of the next token.
   *
   * @param row (vocab) logits, encoded or not; not changed.
   * @throws {RangeError} If nothing of the row is left.
   */
  distribution(row: Row | EncodedRow, context: SamplingContext): Distribution {
    return normalize(this.#run(logitsOf(row), context, null));
  }

  /**
   * Chooses the token at a place.
   *
   * @param top How many of the most likely tokens to tell, with their log-probabilities.
   * @throws {RangeError} If nothing of the row is left.
   */
  sample(row: Row | EncodedRow, context: SamplingContext, top = 0): Choice {
    expectInteger("top", top, 0, 2 ** 31 - 1);
    return this.#choose(this.#run(logitsOf(row), context, top), context, top);
  }

  /**
   * As `sample`, without the row: for pipelines that begin by keeping some of the best tokens, or some that they name,
   * and, where a head draws itself, for those that edit single tokens and have a temperature.
   *
   * @param top As for `sample`; null: the token is enough, its log-probability may be NaN.
   * @returns null if the row is needed.
   */
  sampleSpared(row: SparedRow, context: SamplingContext, top: number | null = 0): Choice | null {
    expectInteger("top", top ?? 0, 0, 2 ** 31 - 1);
    if (context.bitmask !== undefined) return null;
    const { vocab } = row;
    const place = this.#place({ length: vocab }, context);
    const drawn = this.#drawSpared(row, place, top);
    if (drawn !== undefined) return drawn && { ...drawn, state: context.state ?? this.start() };
    if (this.#candidates.vocab !== vocab) this.#candidates = new Candidates(vocab);
    const candidates = this.#candidates;
    const done = this.#shortlist.loadSpared(candidates, row, place);
    if (done < 0) return null;
    this.#apply(done, place, this.#memory(context));
    return candidates.count === 0 ? null : this.#choose(candidates, context, top ?? 0);
  }

  /** What a head draws; null: it is the row that must tell. Undefined: draws are not what the steps ask for. */
  #drawSpared(
    { vocab, logit, draw, race }: SparedRow,
    place: Place,
    top: number | null,
  ): DrawnToken | null | undefined {
    if (this.#temperature === null) return undefined;
    const { seed, position } = place;
    const at = { temperature: this.#temperature, seed, position };
    if (draw !== undefined && logit !== undefined) {
      return draw({ ...at, edits: this.#shortlist.editsOf({ length: vocab, at: logit }, place) }, top ?? 0);
    }
    if (race === undefined || top !== null) return undefined;
    // Which tokens are edited does not depend on their logits.
    const edits = this.#shortlist.editsOf({ length: vocab, at: () => 0 }, place);
    const token = edits.tokens.length === 0 ? race(at) : null;
    return token === null ? null : { token, logProbability: NaN, top: [] };
  }

  /**
   * What a device that has the row is to tell instead of it, for `sampleDrawn`; null: the row is needed.
   *
   * @param vocab Tokens of the row.
   */
  drawTask(vocab: number, context: SamplingContext): DrawTask | null {
    return this.#drawnRow.task(this.#place({ length: vocab }, context), vocab);
  }

  /**
   * As `sample`, of what `drawTask` asked for. The token is the one that `sample` would choose.
   *
   * @returns null if the row is needed.
   */
  sampleDrawn(drawn: Drawn, vocab: number, context: SamplingContext): Choice | null {
    if ("token" in drawn) {
      const { token, logProbability } = drawn;
      return { token, logProbability, top: [], state: context.state ?? this.start() };
    }
    if (this.#candidates.vocab !== vocab) this.#candidates = new Candidates(vocab);
    const candidates = this.#candidates;
    const place = this.#place({ length: vocab }, context);
    const done = this.#drawnRow.load(candidates, drawn, place);
    if (done < 0) return null;
    this.#apply(done, place, []);
    return candidates.count === 0 ? null : this.#choose(candidates, context, 0);
  }

  #choose(candidates: Candidates, context: SamplingContext, top: number): Choice {
    const { ids, count } = candidates;
    const weights = candidates.weights();
    const total = candidates.total();
    const winner = race({ ids, weights, count, total }, context.seed, positionOf(context));
    const probability = weights[winner] / total;
    return {
      token: ids[winner],
      logProbability: log(probability),
      top: top === 0 ? [] : topLogProbabilities(normalize(candidates), top),
      state: this.#learn(context.state ?? this.start(), probability),
    };
  }

  /**
   * What the steps leave of the row; at least one token.
   *
   * @param top The winner of the race and as many of the most likely are enough; null: all are wanted.
   */
  #run(row: Row, context: SamplingContext, top: number | null): Candidates {
    if (this.#candidates.vocab !== row.length) this.#candidates = new Candidates(row.length);
    const candidates = this.#candidates;
    const place = this.#place(row, context);
    const memory = this.#memory(context);
    this.#apply(this.#shortlist.load(candidates, row, place, context.kernels, top), place, memory);
    if (candidates.count > 0) return candidates;
    // Over the whole row, to tell which step left nothing.
    candidates.load(row);
    if (candidates.count === 0) throw nothingLeft("no logit of the row is above −∞", place);
    const last = this.#apply(0, place, memory);
    if (last !== null) throw nothingLeft(`step "${last.step}" leaves no token`, place);
    return candidates;
  }

  /** Runs the plan from step `first` on; the step that leaves nothing, or null. */
  #apply(first: number, place: Place, memory: readonly number[]): Step | null {
    const candidates = this.#candidates;
    for (let i = first; i < this.#plan.length && candidates.count > 0; i++) {
      const { step, index, slot } = this.#plan[i];
      const kind = kindOf(step);
      if (kind.edit) kind.edit(candidates, step, place);
      else kind.apply!(candidates, step, place, index, slot < 0 ? 0 : memory[slot]);
      if (candidates.count === 0) return step;
    }
    return null;
  }

  #learn(state: PipelineState, probability: number): PipelineState {
    if (this.#withMemory.length === 0) return state;
    const surprise = -log(probability) / Math.LN2;
    const memory = this.#withMemory.map((step, slot) =>
      kindOf(step).memory!.next(step, state.memory[slot], surprise),
    );
    return { memory };
  }

  #place(row: { readonly length: number }, context: SamplingContext): Place {
    const { history, bitmask } = context;
    const promptLength = expectInteger("promptLength", context.promptLength, 0, history.length);
    const position = expectInteger("position", positionOf(context), 0, 2 ** 32 - 1);
    const seed = expectInteger("seed", context.seed, 0, Number.MAX_SAFE_INTEGER);
    const occurrences = this.#occurrences;
    occurrences.reset(history, row.length);
    const place = { history, promptLength, position, seed, bitmask, occurrences };
    if (bitmask === undefined) return place;
    if (!this.steps.some(({ step }) => step === "bitmask")) {
      throw new TypeError('"bitmask" needs a step "bitmask" in the pipeline, which has none');
    }
    const words = Math.ceil(row.length / 32);
    if (bitmask.length < words) {
      throw new RangeError(
        `"bitmask" must have ${words} words for ${row.length} tokens, got ${bitmask.length}`,
      );
    }
    return place;
  }

  #memory({ state }: SamplingContext): readonly number[] {
    const expected = this.#withMemory.length;
    if (expected === 0) return [];
    if (state === undefined) {
      throw new TypeError(`"state" is needed by step "${this.#withMemory[0].step}", got undefined`);
    }
    if (state.memory.length !== expected) {
      throw new RangeError(
        `"state" must have ${expected} numbers, as start() gives, got ${state.memory.length}`,
      );
    }
    return state.memory;
  }
}

/**
 * @param json Steps in order, as `Pipeline.steps` or parsed JSON from anywhere; see `presetSteps` for known orders.
 * @throws {TypeError | RangeError} If a step is unknown or a field of it wrong; the message names it.
 */
export function createPipeline(json: readonly Step[] | unknown): Pipeline {
  return new Pipeline(readSteps(json));
}

/** 16 hexadecimal digits: equal for pipelines that do the same steps in the same order. */
export function fingerprint(pipeline: Pipeline): string {
  const hash = new Fingerprint();
  hash.addText("pipeline 1");
  hash.addText(JSON.stringify(pipeline));
  return hash.toString();
}

function normalize(candidates: Candidates): Distribution {
  const { count, vocab } = candidates;
  const weights = candidates.weights();
  const total = candidates.total();
  const ids = new Uint32Array(count);
  const probabilities = new Float64Array(count);
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const probability = weights[i] / total;
    if (!(probability > 0)) continue;
    ids[kept] = candidates.ids[i];
    probabilities[kept++] = probability;
  }
  return { vocab, ids: ids.subarray(0, kept), probabilities: probabilities.subarray(0, kept) };
}

function positionOf({ position, history }: SamplingContext): number {
  return position ?? history.length;
}

function nothingLeft(why: string, { position }: Place): RangeError {
  return new RangeError(`Cannot sample the token at position ${position}: ${why}`);
}
