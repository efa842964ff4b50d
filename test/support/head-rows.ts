import type { Backend, Matrix } from "../../src/backend/backend.ts";
import type { HeadRows } from "../../src/compress/method.ts";

/** Rows as the matrix has them, rounded to its type. */
export function rowsOf(backend: Backend, weights: Matrix): HeadRows {
  const row = backend.floats(weights.cols);
  return {
    vocab: weights.rows,
    hidden: weights.cols,
    type: weights.type,
    rows(first, count) {
      const all = new Float32Array(count * weights.cols);
      for (let i = 0; i < count; i++) {
        backend.embed(row, weights, [first + i]);
        all.set(backend.read(row) as Float32Array, i * weights.cols);
      }
      return all;
    },
  };
}
