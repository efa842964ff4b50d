/**
 * The definition of a running log-sum-exp, Σ e^(z/T):
 *
 *     a, s  ←  a, s + e^((z − a)/T)              while z stays within reach of the anchor a, the first logit
 *     a, s  ←  z, s·e^((a − z)/T) + 1            where it would not: (z − a)/T > 32
 *     lse   =  a/T + ln s
 *
 * Token by token, in f64, not block by block: the value is the same, to the last bit, however the row is cut. To move the
 * anchor with every new maximum, as is usual, would multiply rounding errors along a row that ascends. −∞ adds nothing.
 */
import { exp } from "../../math.ts";
import { type Floats, stride } from "../backend.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import { valuesOf } from "./memory.ts";

/** How far above the anchor a logit may be, in units of T: e^32 is 8e13. */
const REACH = 32;

export interface RunningSum {
  anchor: number;
  sum: number;
}

/** Adds `logits` to the sum. Returns −1, or the index of the first that is NaN or +∞; then the sum is as it was. */
export function addLogits(running: RunningSum, logits: ArrayLike<number>, temperature = 1): number {
  let { anchor, sum } = running;
  for (let i = 0; i < logits.length; i++) {
    const z = logits[i];
    if (z === -Infinity) continue;
    if (!(z < Infinity)) return i;
    const distance = (z - anchor) / temperature;
    if (distance <= REACH) {
      sum += exp(distance);
    } else {
      sum = sum * exp(-distance) + 1;
      anchor = z;
    }
  }
  running.anchor = anchor;
  running.sum = sum;
  return -1;
}

export const referenceLikelihoodKernels: LikelihoodKernels = {
  add(x: Floats, count: number, columns: number, sums: Float64Array): number {
    const values = valuesOf(x, "x", columns * stride(count));
    let first = -1;
    for (let column = 0; column < columns; column++) {
      const at = column * stride(count);
      const running = { anchor: sums[2 * column], sum: sums[2 * column + 1] };
      const wrong = addLogits(running, values.subarray(at, at + count));
      if (wrong >= 0 && first < 0) first = at + wrong;
      sums[2 * column] = running.anchor;
      sums[2 * column + 1] = running.sum;
    }
    return first;
  },
};
