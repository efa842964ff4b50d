/**
 * certified-head: the answers of a dense head, bit for bit, without reading most of it.
 *
 *     screen  =  Ŵ · state                        all tokens, from a coarser copy of the weights
 *     near    =  the best tokens of the screen    exactly, from W: the best of them is the bar
 *     rest    =  all tokens whose upper bound reaches the bar, exactly. What is left out cannot be the answer
 *
 * The bar is a logit for `argmax`, the count-th best one for `top`, and a score of the exponential race for `sample`, to
 * which a token's own noise is added: it belongs to seed, position and token, and is known without the logit. Exact logits
 * are made by the matmul that would make the whole row, of the same tiles, so they are its bits. Where too many tokens
 * cannot be excluded, the whole row is made; for some states after that the screen is not even asked.
 *
 * Cost      a read of the screen, and of a few tiles: of a hundred rows where logits stand apart, or for a draw at
 *           temperature 1 about exp(bound) of them.
 *
 * certified-bound.ts has the bound and its proof; certified-format.ts the tensors.
 */
import { type Backend, type Floats, type Matrix, stride, type Top } from "../../backend/backend.ts";
import type { ScreenKernels } from "../../backend/screen-kernels.ts";
import { expectInteger } from "../../errors.ts";
import { screenBound } from "./certified-bound.ts";
import { floorOf, winnerOf } from "./certified-race.ts";
import { DenseHead } from "./dense-head.ts";
import { ExactTokens } from "./exact-tokens.ts";
import { type Head, type HeadDraw, type HeadLook, readDraw } from "./head.ts";

export interface CertifiedWeights {
  /** W, (V, D): defines the row. Stays the caller's, as do the others. */
  readonly exact: Matrix;
  /** Ŵ, (V, D) */
  readonly screen: Matrix;
  /** (V) at least ‖w − ŵ‖ of each row. */
  readonly errors: Floats;
  /** At least ‖w‖ + ‖w − ŵ‖ of any row. */
  readonly norm: number;
}

/** What a head did so far. */
export interface CertifiedCounts {
  /** States that were asked about. */
  readonly states: number;
  /** Of these, answered without the whole row. */
  readonly certified: number;
  /** Rows made exactly for those. */
  readonly rescored: number;
}

/** Best tokens of the screen that are made exactly at once. */
const NEAR = 8;
/** For a race, beside the one that leads it. */
const NEAR_RACE = 8;
/** Part of the vocabulary beyond which reading all of W in one go is quicker. */
const MOST_SHARE = 1 / 16;
/** Below it a race is about the few tokens next to the best one. */
const COOL = 1e-2;
/** exp(−50) · 1e10 is no match for the best token, whatever the noise. */
const OUT_OF_RACE = 50;
/** States without a screen after it failed: doubles each time, up to here. */
const MOST_SKIPPED = 64;

export class CertifiedHead implements Head {
  readonly vocab: number;
  readonly hidden: number;
  readonly bytes: number;
  readonly draws = "race";
  readonly #backend: Backend;
  readonly #kernels: ScreenKernels;
  readonly #weights: CertifiedWeights;
  readonly #dense: DenseHead;
  /** (stride(V)): the screen's row, then upper bounds. */
  readonly #row: Floats;
  readonly #most: number;
  #skip = 0;
  #skipNext = 1;
  #states = 0;
  #certified = 0;
  #rescored = 0;

  /** @throws {MemoryError} If there is no room for two rows. */
  constructor(backend: Backend, weights: CertifiedWeights) {
    const { exact, screen } = weights;
    this.vocab = exact.rows;
    this.hidden = exact.cols;
    this.bytes =
      screen.bytes + exact.rows * 4 + Math.ceil((NEAR * 4 * exact.bytes) / Math.max(exact.rows, 1));
    this.#backend = backend;
    this.#kernels = backend.screenKernels();
    this.#weights = weights;
    this.#row = backend.floats(stride(exact.rows));
    try {
      this.#dense = new DenseHead(backend, exact);
    } catch (error) {
      backend.free(this.#row);
      throw error;
    }
    this.#most = Math.max(NEAR, Math.floor(exact.rows * MOST_SHARE));
  }

  get counts(): CertifiedCounts {
    return { states: this.#states, certified: this.#certified, rescored: this.#rescored };
  }

  argmax(state: Floats): number {
    const found = this.#found(state, 1);
    return found === null ? (this.#dense.argmax(state) as number) : found.ids[0];
  }

  top(state: Floats, count: number): Top {
    expectInteger("count", count, 0, this.vocab);
    const found = count > 0 && count <= this.#most ? this.#found(state, count) : null;
    return found ?? (this.#dense.top(state, count) as Top);
  }

  sample(state: Floats, draw: HeadDraw): number {
    const read = readDraw(draw);
    if (read.temperature === 0) return this.argmax(state);
    return this.#drawn(state, read) ?? (this.#dense.sample(state, draw) as number);
  }

  logPartition(state: Floats, temperature?: number): number {
    return this.#dense.logPartition(state, temperature) as number;
  }

  look(state: Floats): HeadLook {
    const exact = new ExactTokens(this.#kernels, this.#weights.exact, state);
    return {
      logit(token) {
        exact.add([token]);
        return exact.logitOf(token) as number;
      },
      top: (count) => this.top(state, count),
      race: (draw) => this.#drawn(state, draw),
    };
  }

  rows(states: Floats, columns: number, out: Floats): void {
    this.#dense.rows(states, columns, out);
  }

  close(): void {
    this.#dense.close();
    this.#backend.free(this.#row);
  }

  /** The `count` best tokens; null: too many may be among them. */
  #found(state: Floats, count: number): Top | null {
    return this.#certify(state, (exact, raise) => {
      exact.add(this.#near(Math.min(count + NEAR, this.vocab)));
      const bar = exact.best(count).logits;
      // The screen gave fewer tokens, as it is not finite.
      if (bar.length < count) return null;
      raise();
      const rest = this.#kernels.listAbove(this.#row, this.vocab, bar[count - 1], this.#most);
      if (rest === null) return null;
      exact.add(rest);
      return exact.best(count);
    });
  }

  /** The token that wins the race over the row; null: too many may, or two are level but for rounding. */
  #drawn(state: Floats, draw: Required<HeadDraw>): number | null {
    const { temperature, seed, position } = draw;
    return this.#certify(state, (exact, raise) => {
      const near = this.#near(NEAR_RACE);
      if (near.length === 0) return null;
      if (temperature >= COOL) {
        const top = (this.#backend.read(this.#row) as Float32Array)[near[0]];
        const bar = { temperature, top, score: floorOf(1), seed, position };
        const leader = this.#kernels.racer(this.#row, this.vocab, bar);
        if (leader >= 0) exact.add([leader]);
      }
      exact.add(near);
      const top = exact.best(1).logits[0];
      raise();
      let rest: Uint32Array | null;
      if (temperature >= COOL) {
        const { score } = winnerOf(exact.ids, exact.logits, top, draw);
        rest = this.#kernels.listRacers(
          this.#row,
          this.vocab,
          { temperature, top, score, seed, position },
          this.#most,
        );
      } else {
        const bar = top - OUT_OF_RACE * temperature;
        rest = this.#kernels.listAbove(this.#row, this.vocab, bar - Math.abs(bar) * 1e-6, this.#most);
      }
      if (rest === null) return null;
      exact.add(rest);
      const { token, isClear } = winnerOf(exact.ids, exact.logits, exact.best(1).logits[0], draw);
      return isClear ? token : null;
    });
  }

  /**
   * Asks the screen about a state.
   *
   * @param answer Gets what is known exactly, and how to turn the screen's row into upper bounds.
   */
  #certify<T>(state: Floats, answer: (exact: ExactTokens, raise: () => void) => T | null): T | null {
    this.#states++;
    if (this.#skip > 0) {
      this.#skip--;
      return null;
    }
    const backend = this.#backend;
    const { exact: weights, screen, errors, norm } = this.#weights;
    const values = (backend.read(state) as Float32Array).subarray(0, this.hidden);
    const bound = screenBound(values, norm);
    if (bound === null) return null;
    backend.matmul(state, 1, [{ weights: screen, out: this.#row }]);
    const exact = new ExactTokens(this.#kernels, weights, state);
    const raise = () => this.#kernels.raise(this.#row, errors, this.vocab, bound.scale, bound.slack);
    const result = answer(exact, raise);
    if (result === null) {
      this.#skip = this.#skipNext;
      this.#skipNext = Math.min(2 * this.#skipNext, MOST_SKIPPED);
      return null;
    }
    this.#skipNext = 1;
    this.#certified++;
    this.#rescored += exact.count;
    return result;
  }

  #near(count: number): Uint32Array {
    return (this.#backend.top(this.#row, this.vocab, count) as Top).ids;
  }
}
