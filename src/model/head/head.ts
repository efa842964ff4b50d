/**
 * head: from a hidden state to a row, or straight to what decoding asks of the row, where that is cheaper.
 *
 *     state  (D)   the last layer's output, normed
 *     row    (V)   logits; W · state where the head is a matrix
 *
 * A head defines its row. Whatever is told without it is what the row would have told: the same argmax, the same best
 * tokens with the same logits, the law of the same softmax. How a head spares the row is its own affair.
 */
import type { Floats, Top } from "../../backend/backend.ts";
import { expectInteger, expectNumber } from "../../errors.ts";
import type { DraftHead } from "../draft-head.ts";
import type { LogitEdits } from "./codebook-edits.ts";

/** Where in which text a token is drawn; the same place always gives the same token. */
export interface HeadDraw {
  /** 0 … 100; below 1e-100 it means the best token. Default 1. */
  readonly temperature?: number;
  /** Integer from 0 to 2^53 − 1. */
  readonly seed: number;
  /** Of the token in the text, 0 … 2^32 − 1. */
  readonly position: number;
}

/** A drawn token and what is known of its law: logs of probabilities, in nats. */
export interface HeadDrawn {
  readonly token: number;
  readonly logProbability: number;
  /** The most likely tokens, as many as were asked for, most likely first; none without a chance. */
  readonly top: readonly { readonly token: number; readonly logProbability: number }[];
}

/** What a head keeps of one state, to tell of its row what is asked without making it. Outlives the head's next call. */
export interface HeadLook {
  /** Of a token below V, as the row has it. */
  logit(token: number): number;
  /** As `Head.top`. */
  top(count: number): Top;
  /**
   * Of heads that draw by their own noise: an exact draw from softmax(row / temperature), some logits replaced.
   *
   * @param draw With a temperature of at least 1e-100.
   * @param top Most likely tokens to tell.
   * @returns null if no token has a chance.
   */
  draw?(draw: Required<HeadDraw>, top: number, edits?: LogitEdits): HeadDrawn | null;
  /** Of heads that draw by the race over the row: its winner; null if that takes the row. @param draw As for `draw`. */
  race?(draw: Required<HeadDraw>): number | null;
}

/**
 * As with a Backend, whose memory states and rows lie in, calls take effect in order, and those that hand something over
 * are promises only where the backend must wait. A head may keep working memory: it serves one call at a time.
 *
 * @example
 * ```ts
 * const head = new DenseHead(backend, weights);
 * const token = await head.sample(state, { temperature: 0.8, seed: 1, position: text.length });
 * ```
 */
export interface Head {
  /** V */
  readonly vocab: number;
  /** D */
  readonly hidden: number;
  /** Weights and tables that it reads for one state, in bytes. */
  readonly bytes: number;
  /**
   * How `sample` draws. "race": by the exponential race over the row (pipeline/race.ts), hence the token that a pipeline of
   * this temperature draws from the row. "own": from the same law, with other numbers of the same generator.
   */
  readonly draws: "race" | "own";
  /** The token with the largest logit, the lowest id of equal ones. @param state (D) */
  argmax(state: Floats): number | Promise<number>;
  /** The `count` largest logits, best first, of equal ones the lowest id; fewer if fewer are above −∞. */
  top(state: Floats, count: number): Top | Promise<Top>;
  /** An exact draw from softmax(row / temperature). @throws {RangeError} If `draw` is out of range or no logit is above −∞. */
  sample(state: Floats, draw: HeadDraw): number | Promise<number>;
  /** log Σ exp(row / temperature). @param temperature 1e-100 … 100, default 1. */
  logPartition(state: Floats, temperature?: number): number | Promise<number>;
  /**
   * One look at a state for all that is asked of it; absent where that takes the row.
   *
   * @param state Stays as it is for as long as the look is used.
   */
  look?(state: Floats): HeadLook | Promise<HeadLook>;
  /** Rows of states. @param states (columns, D) @param out (columns, stride(V)) */
  rows(states: Floats, columns: number, out: Floats): void;
  /** A draft head of one text that knows better than to ask this one for each answer anew. */
  openDraft?(): DraftHead;
  /** Gives back what it took: not the weights, which are its maker's. */
  close(): void;
}

/** Below, the law is all with the best token: two f32 logits that differ at all are worlds apart. */
export const LEAST_TEMPERATURE = 1e-100;
const MOST_TEMPERATURE = 100;

/** A draw with its default filled in. @throws {RangeError | TypeError} If a field is out of range; the message names it. */
export function readDraw({ temperature = 1, seed, position }: HeadDraw): Required<HeadDraw> {
  expectNumber("temperature", temperature, 0, MOST_TEMPERATURE);
  expectInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
  expectInteger("position", position, 0, 2 ** 32 - 1);
  return { temperature, seed, position };
}

/** A temperature to divide by. */
export function expectTemperature(temperature: number): number {
  return expectNumber("temperature", temperature, LEAST_TEMPERATURE, MOST_TEMPERATURE);
}
