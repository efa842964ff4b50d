/**
 * pipeline: from a row of logits to a token.
 *
 *     row  →  step  →  step  →  …  →  distribution  →  draw
 *
 * A pipeline is an ordered list of steps, plain JSON; the order is part of what it means, and of its fingerprint. What it
 * makes of a row is a function of the row, the place in the text and the seed: computed again, for a draft or a second
 * time, it is the same. Everything is f64 on the f32 row, with our own exp and log, so every engine gives the same token.
 *
 * Rows   NaN and −∞ have no chance; +∞ counts as the largest f32. A row of which nothing is left is an error, never a token
 *        that was forbidden.
 * Cost   one pass over the vocabulary for the row and each step on it; after top-k, O(k). Nothing sorts the vocabulary.
 */
import { expectInteger } from "../errors.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import { log } from "../math.ts";
import { STAGE, uniform } from "../philox.ts";
import { Candidates, type Row } from "./pipeline/candidates.ts";
import {
  type Distribution,
  draw,
  probabilityOf,
  type TokenLogProbability,
  topLogProbabilities,
} from "./pipeline/distribution.ts";
import { type PipelineSettings, settingsSteps } from "./pipeline/settings.ts";
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
export { PRESET_NAMES, type PresetName, type PresetOptions, presetSteps } from "./pipeline/presets.ts";
export { type PipelineSettings, settingsSteps } from "./pipeline/settings.ts";
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

/** A step and where its memory is; −1: it has none. `index` is that in `Pipeline.steps`. */
interface Planned {
  readonly step: Step;
  readonly index: number;
  readonly slot: number;
}

/**
 * An ordered list of steps, ready to run. Holds scratch memory of 28 bytes per token of the vocabulary.
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
  #candidates = new Candidates(0);
  #counts = new Uint32Array(0);

  /** @param steps As `readSteps` gives them. */
  constructor(steps: readonly Step[]) {
    this.steps = Object.freeze(steps);
    this.#withMemory = steps.filter((step) => kindOf(step).memory !== undefined);
    this.#plan = compactEarly(
      steps.map((step, index) => ({ step, index, slot: this.#withMemory.indexOf(step) })),
    );
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
    if (this.#withMemory.length === 0 || probability === 0) return state;
    const surprise = -log(probability) / Math.LN2;
    const memory = this.#withMemory.map((step, slot) =>
      kindOf(step).memory!.next(step, state.memory[slot], surprise),
    );
    return { memory };
  }

  /**
   * The law of the next token.
   *
   * @param row (vocab) logits; not changed.
   * @throws {RangeError} If nothing of the row is left.
   */
  distribution(row: Row, context: SamplingContext): Distribution {
    const candidates = this.#load(row);
    const place = this.#place(row, context);
    const memory = this.#memory(context);
    for (const { step, index, slot } of this.#plan) {
      kindOf(step).apply(candidates, step, place, index, slot < 0 ? 0 : memory[slot]);
      if (candidates.count === 0) throw nothingLeft(`step "${step.step}" leaves no token`, place);
    }
    return normalize(candidates);
  }

  /**
   * Chooses the token at a place.
   *
   * @param top How many of the most likely tokens to tell, with their log-probabilities.
   * @throws {RangeError} If nothing of the row is left.
   */
  sample(row: Row, context: SamplingContext, top = 0): Choice {
    expectInteger("top", top, 0, 2 ** 31 - 1);
    const distribution = this.distribution(row, context);
    const token = draw(distribution, uniform(context.seed, positionOf(context), STAGE.sample));
    return {
      token,
      logProbability: log(probabilityOf(distribution, token)),
      top: top === 0 ? [] : topLogProbabilities(distribution, top),
      state: this.after(context.state ?? this.start(), distribution, token),
    };
  }

  #load(row: Row): Candidates {
    if (this.#candidates.vocab !== row.length) {
      this.#candidates = new Candidates(row.length);
      this.#counts = new Uint32Array(row.length);
    }
    this.#candidates.load(row);
    return this.#candidates;
  }

  #place(row: Row, context: SamplingContext): Place {
    const { history, bitmask } = context;
    const promptLength = expectInteger("promptLength", context.promptLength, 0, history.length);
    const position = expectInteger("position", positionOf(context), 0, 2 ** 32 - 1);
    const seed = expectInteger("seed", context.seed, 0, Number.MAX_SAFE_INTEGER);
    const place = { history, promptLength, position, seed, bitmask, counts: this.#counts };
    if (this.#candidates.count === 0) throw nothingLeft("no logit of the row is above −∞", place);
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

/**
 * Chooses the token at `position`, with the common settings. To choose many, make a Pipeline once.
 *
 * @param row (vocab) logits; not changed.
 * @param history Tokens so far, prompt included: what the repetition penalty looks at.
 *
 * @example
 * ```ts
 * const settings = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };
 * sampleToken(Float32Array.of(0.5, 2, 1), [], 0, settings); // 1
 * ```
 */
export function sampleToken(
  row: Float32Array,
  history: readonly number[],
  position: number,
  settings: PipelineSettings,
): number {
  const context = { history, promptLength: history.length, position, seed: settings.seed };
  return createPipeline(settingsSteps(settings)).sample(row, context).token;
}

/**
 * Moves top-k before the temperatures and min-p cut-offs that stand before it: each keeps the order of the logits, so the
 * same tokens remain, and only k of them are worked on.
 */
function compactEarly(plan: readonly Planned[]): Planned[] {
  const moved: Planned[] = [];
  for (const planned of plan) {
    let at = moved.length;
    if (planned.step.step === "top-k") while (at > 0 && keepsOrder(moved[at - 1].step)) at--;
    moved.splice(at, 0, planned);
  }
  return moved;
}

function keepsOrder({ step }: Step): boolean {
  return step === "temperature" || step === "min-p";
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
