/**
 * method: what every way to compress a head has in common.
 *
 *     dense head, states of a calibration text   →   build   →   tensors for the file   →   open (model/head/)   →   Head
 *
 * Everything is deterministic: the same model, text and options give the same bytes.
 */
import type { Backend } from "../backend/backend.ts";
import type { HeadMethod, HeadTensor } from "../model/head/stored-head.ts";

/** Rows of the dense head, (V, D) f32, decoded when they are asked for. */
export interface HeadRows {
  readonly vocab: number;
  readonly hidden: number;
  /** As the file names it, such as "Q8_0". */
  readonly type: string;
  /** (count, D); the caller's. */
  rows(first: number, count: number): Float32Array;
}

/** What the model's layers made of a text. */
export interface CalibrationStates {
  readonly count: number;
  /** (count, D) */
  readonly values: Float32Array;
  /** (V) mean over the states of the probability that the dense head gives a token. */
  readonly probabilities: Float64Array;
  /** Calls `use` with what the dense head gives each state, in order: probabilities, a view of (V). Reads the head again. */
  laws(use: (law: Float32Array, state: number) => void | Promise<void>): Promise<void>;
}

export interface CompressOptions {
  /** Of methods with a codebook. */
  readonly codes: number;
  /** Bytes of residual codes for each token, of methods that may have some. Default 0: none. */
  readonly residual?: number;
  /** Of what is drawn on the way. Integer from 0 to 2^53 − 1. */
  readonly seed: number;
}

export interface CompressTask {
  readonly head: HeadRows;
  readonly states: CalibrationStates;
  readonly options: CompressOptions;
  /** For products of large matrices. What is taken of it is given back. */
  readonly backend: Backend;
  /** Called between steps of some milliseconds, `done` from 0 to `total`. Await it: that is where the work can be aborted. */
  readonly onProgress: (stage: string, done: number, total: number) => void | Promise<void>;
}

export interface CompressMethod {
  readonly name: HeadMethod;
  /** For the help: what it is, in a few words. */
  readonly summary: string;
  /** @throws {RangeError} If an option does not fit the head. */
  build(task: CompressTask): Promise<readonly HeadTensor[]>;
}
