/**
 * sampler: what plain decoding makes of a row, at any place of a draft.
 *
 * It holds what a place in the text means: the tokens before it, what a grammar allows there, and what the pipeline
 * remembers. Rows in a draft are looked at as if the draft's tokens before them had been emitted; nothing is kept of
 * that until `commit`.
 */
import type { Drawn, DrawTask } from "../backend/draw-kernels.ts";
import { type Constraint, maskAfter } from "./constraint.ts";
import type { Row } from "./draft.ts";
import type {
  Choice,
  Distribution,
  Pipeline,
  PipelineState,
  SamplingContext,
  SamplingKernels,
  SparedRow,
} from "./pipeline.ts";

/** A row where it lies, and kernels if they reach it there. */
export interface LogitsRow {
  readonly values: Row;
  readonly kernels?: SamplingKernels;
  /** What can be told without the values, which are made when they are looked at. */
  readonly spared?: SparedRow;
}

export interface SamplerSettings {
  readonly pipeline: Pipeline;
  /** Integer from 0 to 2^53 − 1. */
  readonly seed: number;
  /** What may be emitted; stands after the prompt when decoding begins. */
  readonly constraint?: Constraint;
  /** Alternatives to tell with each token. Default 0; null: not even its log-probability, which may be NaN. */
  readonly top?: number | null;
  /** Tokens before the prompt, which nobody remembers: positions count them. Default 0. */
  readonly offset?: number;
}

export class Sampler {
  readonly pipeline: Pipeline;
  readonly #seed: number;
  readonly #constraint: Constraint | undefined;
  /** Alternatives that `choose` tells. */
  readonly top: number;
  readonly #asked: number | null;
  readonly #promptLength: number;
  readonly #offset: number;
  readonly #history: number[];
  #state: PipelineState;

  constructor(
    prompt: readonly number[],
    { pipeline, seed, constraint, top = 0, offset = 0 }: SamplerSettings,
  ) {
    this.pipeline = pipeline;
    this.#seed = seed;
    this.#constraint = constraint;
    this.top = top ?? 0;
    this.#asked = top;
    this.#promptLength = prompt.length;
    this.#offset = offset;
    this.#history = [...prompt];
    this.#state = pipeline.start();
  }

  /** What is remembered of the emitted tokens. */
  get state(): PipelineState {
    return this.#state;
  }

  /**
   * The token after the emitted ones and `path`.
   *
   * @param state What the pipeline remembers there. Default: at the end of the emitted tokens.
   * @throws {RangeError} If the pipeline, or the grammar, leaves nothing of the row.
   */
  choose(row: LogitsRow, path: readonly number[] = [], state = this.#state): Choice {
    const { spared } = row;
    const few =
      spared &&
      this.#at(path, {}, state, (context) => this.pipeline.sampleSpared(spared, context, this.#asked));
    if (few) return few;
    return this.#at(path, row, state, (context) => this.pipeline.sample(row.values, context, this.top));
  }

  /** What a device that has the row after the emitted tokens and `path` is asked instead; null: the row is needed. */
  drawTask(vocab: number, path: readonly number[]): DrawTask | null {
    // What a device rounds would be seen.
    if (this.#asked !== null) return null;
    return this.#at(path, {}, this.#state, (context) => this.pipeline.drawTask(vocab, context));
  }

  /** As `choose`, of what the device told; null: the row is needed. */
  chooseDrawn(drawn: Drawn, vocab: number, path: readonly number[] = []): Choice | null {
    return this.#at(path, {}, this.#state, (context) => this.pipeline.sampleDrawn(drawn, vocab, context));
  }

  /** The law of the token after the emitted ones and `path`; null if the grammar does not allow `path`. */
  law(row: LogitsRow, path: readonly number[], state: PipelineState): Distribution | null {
    if (this.#constraint && maskAfter(this.#constraint, path) === null) return null;
    return this.#at(path, row, state, (context) => this.pipeline.distribution(row.values, context));
  }

  /** Emits tokens; `state` is what the pipeline remembers after them. */
  commit(tokens: readonly number[], state: PipelineState): void {
    for (const token of tokens) {
      this.#history.push(token);
      this.#constraint?.accept(token);
    }
    this.#state = state;
  }

  #at<T>(
    path: readonly number[],
    row: Pick<LogitsRow, "kernels">,
    state: PipelineState,
    use: (context: SamplingContext) => T,
  ): T {
    const emitted = this.#history.length;
    this.#history.push(...path);
    try {
      return use({
        history: this.#history,
        promptLength: this.#promptLength,
        position: this.#offset + this.#history.length,
        seed: this.#seed,
        state,
        bitmask: this.#constraint && (maskAfter(this.#constraint, path) ?? undefined),
        kernels: row.kernels,
      });
    } finally {
      this.#history.length = emitted;
    }
  }
}
