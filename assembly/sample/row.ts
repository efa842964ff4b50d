/**
 * row: what can be said of a row of logits, x: (vocab) f32.
 *
 *     argmax       the lowest id among the largest values
 *     log_sum_exp  max + log Σ exp(x − max)
 *     softmax      exp(x − max) / Σ exp(x − max)
 *
 * NaN never wins and counts as −∞ in argmax; it spoils the sums.
 * Accuracy  softmax: exp within 1 ULP, 64 terms at a time summed in f32, those sums in f64; relative error below 2e-7.
 *           log_sum_exp: the quicker exp, 128 terms at a time; absolute error below 2e-7 where logits differ, below 1e-6
 *           where thousands are equal, whose errors do not cancel.
 * Cost      two passes over the row (softmax three).
 */
import { exp_below_f32x4, exp_f32x4, log_f64 } from "../lib/exp";
import { sum_lanes } from "../lib/lanes";
import { row_max } from "../lib/max";

export function argmax(row: usize, vocab: usize): u32 {
  const top = row_max(row, vocab);
  if (top == -Infinity) return 0;
  const top_f32x4 = f32x4.splat(top);
  const whole = vocab & ~3;
  for (let i: usize = 0; i < whole; i += 4) {
    const equal = f32x4.eq(v128.load(row + i * 4), top_f32x4);
    if (v128.any_true(equal)) return <u32>i + <u32>ctz(i32x4.bitmask(equal));
  }
  for (let i = whole; i < vocab; i++) if (load<f32>(row + i * 4) == top) return <u32>i;
  return 0;
}

export function log_sum_exp(row: usize, vocab: usize): f64 {
  const top = row_max(row, vocab);
  if (abs(top) == Infinity) {
    for (let i: usize = 0; i < vocab; i++) if (isNaN(load<f32>(row + i * 4))) return NaN;
    return <f64>top;
  }
  return <f64>top + log_f64(sum_of_exp(row, vocab, top));
}

/** Writes the probabilities to `out`, which may be `row`. */
export function softmax(row: usize, out: usize, vocab: usize): void {
  const factor = <f32>(1 / exp_sum(row, out, vocab, row_max(row, vocab)));
  const factor_f32x4 = f32x4.splat(factor);
  const whole = vocab & ~3;
  for (let i: usize = 0; i < whole; i += 4)
    v128.store(out + i * 4, f32x4.mul(v128.load(out + i * 4), factor_f32x4));
  for (let i = whole; i < vocab; i++) store<f32>(out + i * 4, load<f32>(out + i * 4) * factor);
}

/** Σ exp(x − top) */
function sum_of_exp(row: usize, vocab: usize, top: f32): f64 {
  const top_f32x4 = f32x4.splat(top);
  const end = row + vocab * 4;
  const whole = row + (vocab & ~7) * 4;
  let total: f64 = 0;
  while (row < whole) {
    let even_f32x4 = f32x4.splat(0),
      odd_f32x4 = even_f32x4;
    for (const stop = min<usize>(whole, row + 512); row < stop; row += 32) {
      even_f32x4 = f32x4.add(even_f32x4, exp_below_f32x4(f32x4.sub(v128.load(row), top_f32x4)));
      odd_f32x4 = f32x4.add(odd_f32x4, exp_below_f32x4(f32x4.sub(v128.load(row, 16), top_f32x4)));
    }
    total += <f64>sum_lanes(f32x4.add(even_f32x4, odd_f32x4));
  }
  for (; row < end; row += 4) {
    total += <f64>f32x4.extract_lane(exp_below_f32x4(f32x4.splat(load<f32>(row) - top)), 0);
  }
  return total;
}

/** Σ exp(x − top); the terms go to `out` unless it is 0. */
function exp_sum(row: usize, out: usize, vocab: usize, top: f32): f64 {
  const top_f32x4 = f32x4.splat(top);
  let total: f64 = 0;
  let i: usize = 0;
  while (i + 4 <= vocab) {
    const stop = min<usize>(vocab & ~3, i + 64);
    let sum_f32x4 = f32x4.splat(0);
    for (; i < stop; i += 4) {
      const e = exp_f32x4(f32x4.sub(v128.load(row + i * 4), top_f32x4));
      if (out) v128.store(out + i * 4, e);
      sum_f32x4 = f32x4.add(sum_f32x4, e);
    }
    total += <f64>sum_lanes(sum_f32x4);
  }
  for (; i < vocab; i++) {
    const e = f32x4.extract_lane(exp_f32x4(f32x4.splat(load<f32>(row + i * 4) - top)), 0);
    if (out) store<f32>(out + i * 4, e);
    total += <f64>e;
  }
  return total;
}
