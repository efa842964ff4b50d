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
import type { Rows } from "../source.ts";

export interface DraftSampling {
  /** Steps of the request's pipeline; those that a draft model cannot follow are left out. */
  readonly steps: readonly Step[];
  readonly seed: number;
  /** What a grammar allows, standing after the committed tokens. Without it a step "bitmask" is left out. */
  readonly constraint?: Constraint;
  /** Those of the request, if the target's head draws by its own noise: rows that can do the same are asked to. */
  readonly ownSteps?: readonly Step[];
}

/** What a pipeline looks at of a call's rows. */
export type DraftRows = Pick<Rows, "row" | "top" | "law" | "spared">;

/**
 * What the request's pipeline makes of a draft model's rows.
 *
 * Steps with memory (mirostat) are left out: what they remember is how the target's tokens surprised the target, which a
 * draft model cannot know. A draft may come from any law, so that costs acceptance and nothing else.
 */
export class DraftSampler {
  readonly #pipeline: Pipeline;
  readonly #own: Pipeline | null;
  readonly #seed: number;
  readonly #constraint: Constraint | undefined;
  /** Committed tokens; drafted ones are pushed while a row behind them is looked at. */
  readonly #history: number[];
  /** How many of them are the prompt. */
  promptLength = 0;

  /** @param history Owned and changed by the drafter. */
  constructor(history: number[], { steps, seed, constraint, ownSteps }: DraftSampling) {
    this.#history = history;
    this.#seed = seed;
    const followed = (all: readonly Step[]) =>
      createPipeline(all).steps.filter(
        (step) => kindOf(step).memory === undefined && (step.step !== "bitmask" || constraint !== undefined),
      );
    const known = followed(steps);
    this.#pipeline = createPipeline(known);
    this.#own = ownSteps ? createPipeline(followed(ownSteps)) : null;
    // Drafts that a grammar does not allow are never accepted; without the step nothing here would look at it.
    this.#constraint = known.some(({ step }) => step === "bitmask") ? constraint : undefined;
  }

  /** What the target would draw if this were its row, and how likely it is here; null: nothing may follow. */
  race(
    rows: DraftRows,
    index: number,
    path: readonly number[],
  ): { token: number; logProbability: number } | null {
    return this.#at(path, (context) => {
      const own = this.#own && rows.spared && this.#own.sampleSpared(rows.spared(index), context);
      return own || this.#pipeline.sample(...rowIn(rows, index, context));
    });
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
