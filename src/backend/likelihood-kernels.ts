/**
 * LikelihoodKernels: the log-sum-exp of rows that come a piece at a time, so that none is ever in memory.
 * reference/likelihood.ts is the definition, wasm/likelihood.ts does it in linear memory, to the same bits.
 */
import type { Floats } from "./backend.ts";

export interface LikelihoodKernels {
  /**
   * Adds the next `count` logits of each of several rows to their running sums.
   *
   * @param x (columns, stride(count))
   * @param sums (columns, 2): a and s of each row, where log Σ exp z = a + ln s; −∞ and 0 before the first logit. Of a row
   *   with a wrong logit they stay as they are.
   * @returns −1, or the index in `x` of the first logit that is NaN or +∞.
   */
  add(x: Floats, count: number, columns: number, sums: Float64Array): number | Promise<number>;
}
