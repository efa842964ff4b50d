/**
 * row: what can be said of a row of logits, x: (vocab) f32.
 *
 *     argmax       the lowest id among the largest values
 *     log_sum_exp  max + log Σ exp(x − max)
 *     softmax      exp(x − max) / Σ exp(x − max)
 *
 * NaN never wins and counts as −∞ in argmax; it spoils the sums.
 * Accuracy  exp within 1 ULP; 64 terms at a time are summed in f32, those sums in f64: relative error below 2e-7.
 * Cost      two passes over the row (softmax three).
 */
import { exp_f32x4, log_f64 } from "../lib/exp";
import { sum_lanes } from "../lib/lanes";

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
  return <f64>top + log_f64(exp_sum(row, 0, vocab, top));
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

function row_max(row: usize, vocab: usize): f32 {
  let max_f32x4 = f32x4.splat(-Infinity);
  const whole = vocab & ~3;
  for (let i: usize = 0; i < whole; i += 4) max_f32x4 = f32x4.pmax(max_f32x4, v128.load(row + i * 4));
  let top = max<f32>(
    max<f32>(f32x4.extract_lane(max_f32x4, 0), f32x4.extract_lane(max_f32x4, 1)),
    max<f32>(f32x4.extract_lane(max_f32x4, 2), f32x4.extract_lane(max_f32x4, 3)),
  );
  for (let i = whole; i < vocab; i++) {
    const x = load<f32>(row + i * 4);
    if (x > top) top = x;
  }
  return top;
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
