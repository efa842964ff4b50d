/**
 * dense-head: a matrix as a head.
 *
 *     row  =  W · state       (V)
 *
 * Cost: one read of W; 4 bytes a token for the row.
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
