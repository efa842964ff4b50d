/**
 * dense-head: a matrix as a head.
 *
 *     row  =  W · state       (V)
 *
 * Cost: one read of W; 4 bytes a token for the row.
 *
 * Argmax and the best tokens are looked for in the whole row. That takes 0.14 % of the product's time with V = 151,936,
 * D = 896 in Q8_0 (single-threaded, medians of 21 rounds), so tiles of the vocabulary could save no more than that, and
 * 594 KiB. Tiles of 1,024, 4,096 and 16,384 rows took 1.07, 1.12 and 1.04 times the product; the spread between rounds
 * was larger. A draw needs the row's total before its race. Where rows add up, for likelihoods, there are tiles:
 * likelihood.ts.
 */
import type { Backend, Floats, Matrix } from "../../backend/backend.ts";
import { RowHead } from "./row-head.ts";

export class DenseHead extends RowHead {
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #weights: Matrix;

  /** @param weights (V, D); stay the caller's. @throws {MemoryError} If there is no room for a row. */
  constructor(backend: Backend, weights: Matrix) {
    super(backend, weights.rows, weights.cols);
    this.bytes = weights.bytes;
    this.#backend = backend;
    this.#weights = weights;
  }

  override rows(states: Floats, columns: number, out: Floats): void {
    this.#backend.matmul(states, columns, [{ weights: this.#weights, out }]);
  }

  protected override makeRow(state: Floats, memory: Floats): void {
    this.rows(state, 1, memory);
  }
}
