import { type Constraint, maskAfter } from "../../decoding/constraint.ts";
import type { RowSet } from "../../decoding/draft.ts";
import { kindOf } from "../../decoding/pipeline/steps.ts";
import {
  createPipeline,
  type Distribution,
  denseProbabilities,
  type Pipeline,
  type SamplingContext,
  type Step,
} from "../../decoding/pipeline.ts";
import type { DraftRow, LateDraftRow } from "../../model/draft-head.ts";
import type { Rows } from "../source.ts";

export interface DraftSampling {
  /** Steps of the request's pipeline; those that a draft model cannot follow are left out. */
  readonly steps: readonly Step[];
  readonly seed: number;
  /** What a grammar allows, standing after the committed tokens. Without it a step "bitmask" is left out. */
  readonly constraint?: Constraint;
  /** Those of the request, where `steps` are fewer tokens': for rows that are not looked at one by one. */
  readonly wholeSteps?: readonly Step[];
}

/** What a pipeline looks at of a call's rows. */
export type DraftRows = Pick<Rows, "row" | "top" | "law" | "spared"> & Pick<DraftRow, "late">;

/** A drafted token, and how likely it is in the law that it was chosen from. */
export interface Drafted {
  readonly token: number;
  readonly logProbability: number;
}

/**
 * What the request's pipeline makes of a draft model's rows.
 *
 * Steps with memory (mirostat) are left out: what they remember is how the target's tokens surprised the target, which a
 * draft model cannot know. A draft may come from any law, so that costs acceptance and nothing else.
 */
export class DraftSampler {
  readonly #pipeline: Pipeline;
  readonly #whole: Pipeline | null;
  readonly #seed: number;
  readonly #constraint: Constraint | undefined;
  /** Committed tokens; drafted ones are pushed while a row behind them is looked at. */
  readonly #history: number[];
  /** How many of them are the prompt. */
  promptLength = 0;

  /** @param history Owned and changed by the drafter. */
  constructor(history: number[], { steps, seed, constraint, wholeSteps }: DraftSampling) {
    this.#history = history;
    this.#seed = seed;
    const followed = (all: readonly Step[]) =>
      createPipeline(all).steps.filter(
        (step) => kindOf(step).memory === undefined && (step.step !== "bitmask" || constraint !== undefined),
      );
    const known = followed(steps);
    this.#pipeline = createPipeline(known);
    this.#whole = wholeSteps ? createPipeline(followed(wholeSteps)) : null;
    // Drafts that a grammar does not allow are never accepted; without the step nothing here would look at it.
    this.#constraint = known.some(({ step }) => step === "bitmask") ? constraint : undefined;
  }

  /** What the target would draw if this were its row, and how likely it is here; null: nothing may follow. */
  race(rows: DraftRows, index: number, path: readonly number[]): Drafted | null {
    return this.#at(path, (context) => {
      const own = this.#whole && rows.spared && this.#whole.sampleSpared(rows.spared(index), context);
      return own || this.#pipeline.sample(...rowIn(rows, index, context));
    });
  }

  /** As `race`, of a row on another device; it is drawn from there, if that can tell. */
  async raceLate(row: LateDraftRow, path: readonly number[]): Promise<Drafted | null> {
    const pipeline = this.#whole ?? this.#pipeline;
    const { vocab } = row;
    const task = this.#at(path, (context) => pipeline.drawTask(vocab, context));
    const drawn = task && (await row.draw(task));
    const told = drawn && this.#at(path, (context) => pipeline.sampleDrawn(drawn, vocab, context));
    if (told) return told;
    const values = await row.load();
    return this.#at(path, (context) => this.#pipeline.sample(values, context));
  }

  /** As `law`, of a row on another device. */
  async lawLate(row: LateDraftRow, path: readonly number[]): Promise<Distribution | null> {
    const values = await row.load();
    return this.#at(path, (context) => this.#pipeline.distribution(values, context));
  }

  /** The law of the token after the committed ones and `path`; null: nothing may follow. */
  law(rows: DraftRows, index: number, path: readonly number[]): Distribution | null {
    return this.#at(path, (context) => this.#pipeline.distribution(...rowIn(rows, index, context)));
  }

  #at<T>(path: readonly number[], use: (context: SamplingContext) => T): T | null {
    const history = this.#history;
    const committed = history.length;
    const bitmask = this.#constraint && maskAfter(this.#constraint, path);
    if (bitmask === null) return null;
    for (const token of path) history.push(token);
    try {
      return use({
        history,
        promptLength: Math.min(this.promptLength, committed),
        seed: this.#seed,
        bitmask,
      });
    } catch (error) {
      // Of this row the pipeline leaves nothing. The target's may be another; only it may fail the request.
      if (error instanceof RangeError) return null;
      throw error;
    } finally {
      history.length = committed;
    }
  }
}

function rowIn(rows: DraftRows, index: number, context: SamplingContext): [Float32Array, SamplingContext] {
  const kernels = { best: (count: number) => rows.top(index, count), law: rows.law?.(index) };
  // The row last: a view of it.
  return [rows.row(index), { ...context, kernels }];
}

/** The same law in numbers of f32, so that what is drawn from and what a verifier is told are equal to the last bit. */
export function rounded({ vocab, ids, probabilities }: Distribution): Distribution {
  const values = probabilities.map(Math.fround);
  const kept = ids.filter((_, i) => values[i] > 0);
  return { vocab, ids: kept, probabilities: values.filter((value) => value > 0) };
}

/** Row i of `laws[i]`; made when it is asked for, as most never are. */
export function lawRows(vocab: number, laws: readonly (Distribution | undefined)[]): RowSet {
  return {
    count: laws.length,
    vocab,
    row(index) {
      const law = laws[index];
      if (law === undefined) throw new RangeError(`Row ${index} of the draft has no children, hence no law`);
      return denseProbabilities({ ...law, vocab });
    },
  };
}
