/**
 * row: what can be said of a row of logits.
 *
 *     argmax     the lowest index among the largest values; NaN counts as −∞
 *     logSumExp  max + log Σ exp(x − max)
 *     top        the largest, best first, of equal ones the lowest index first; never NaN or −∞
 *     softmax    exp(x − max) / Σ exp(x − max)
 *
 * Accuracy  f64 throughout; probabilities are rounded to f32 once. A NaN makes both sums NaN. A largest value that is
 *           infinite is the logSumExp, and makes every probability NaN.
 */
import { exp, log } from "../../math.ts";
import type { Top } from "../backend.ts";

export function argmax(x: Float32Array): number {
  let best = 0;
  let largest = -Infinity;
  for (let i = 0; i < x.length; i++) {
    if (x[i] > largest) {
      largest = x[i];
      best = i;
    }
  }
  return best;
}

export function top(x: Float32Array, count: number): Top {
  const ids = Uint32Array.from(x.keys()).filter((id) => x[id] > -Infinity);
  const best = ids.sort((a, b) => (x[a] === x[b] ? a - b : x[a] > x[b] ? -1 : 1)).slice(0, count);
  return { ids: best, logits: Float32Array.from(best, (id) => x[id]) };
}

export function logSumExp(x: Float32Array): number {
  const largest = maxOf(x);
  if (!Number.isFinite(largest)) return largest;
  return largest + log(sumOfExp(x, largest));
}

/** @param out May be x. */
export function softmax(out: Float32Array, x: Float32Array): void {
  const largest = maxOf(x);
  const total = sumOfExp(x, largest);
  for (let i = 0; i < x.length; i++) out[i] = exp(x[i] - largest) / total;
}

/** NaN if there is one. */
function maxOf(x: Float32Array): number {
  let largest = -Infinity;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, x[i]);
  return largest;
}

function sumOfExp(x: Float32Array, largest: number): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += exp(x[i] - largest);
  return sum;
}
