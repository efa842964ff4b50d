/**
 * tempered: a row of logits as probabilities.
 *
 *     out[i]  =  exp((x[i] − max) / T) / Σ exp((x − max) / T)
 *
 * NaN and −∞ have no chance; +∞ counts as the largest f32.
 *
 * Shapes    row, out: (vocab) f32; out may be row. inverse = 1/T, at most 1e30.
 * Returns   Σ out in the order of sums.ts; NaN if no logit is above −∞.
 * Accuracy  exp within 1 ULP of its argument, which is rounded twice; sums in f64.
 * Cost      three passes over the row and the one of `mass`.
 */
import { exp_f32x4 } from "../lib/exp";
import { row_max } from "../lib/max";
import { high_f64x2, low_f64x2 } from "../lib/lanes";
import { block_total } from "./block";
import { mass } from "./sums";

const MOST: f32 = 3.4028234663852886e38;

const REST: usize = memory.data(16, 16);

export function tempered(row: usize, out: usize, vocab: usize, inverse: f32): f64 {
  const whole = vocab & ~3;
  const top = min<f32>(row_max(row, vocab), MOST);
  if (top == -Infinity) return NaN;

  const top_f32x4 = f32x4.splat(top);
  const inverse_f32x4 = f32x4.splat(inverse);
  let low_sum = f64x2.splat(0),
    high_sum = f64x2.splat(0);
  for (let i: usize = 0; i < whole; i += 4) {
    const e = weigh(v128.load(row + i * 4), top_f32x4, inverse_f32x4);
    v128.store(out + i * 4, e);
    low_sum = f64x2.add(low_sum, low_f64x2(e));
    high_sum = f64x2.add(high_sum, high_f64x2(e));
  }
  if (whole < vocab) {
    const e = weigh(rest(row, whole, vocab), top_f32x4, inverse_f32x4);
    low_sum = f64x2.add(low_sum, low_f64x2(e));
    high_sum = f64x2.add(high_sum, high_f64x2(e));
    v128.store(REST, e);
    memory.copy(out + whole * 4, REST, (vocab - whole) * 4);
  }

  const factor = <f32>(1 / block_total(low_sum, high_sum));
  const factor_f32x4 = f32x4.splat(factor);
  for (let i: usize = 0; i < whole; i += 4)
    v128.store(out + i * 4, f32x4.mul(v128.load(out + i * 4), factor_f32x4));
  for (let i = whole; i < vocab; i++) store<f32>(out + i * 4, load<f32>(out + i * 4) * factor);
  return mass(out, vocab);
}

/** exp((x − top) / T) of 4 logits. */
// @ts-ignore: decorator
@inline
function weigh(x: v128, top_f32x4: v128, inverse_f32x4: v128): v128 {
  const below = f32x4.sub(f32x4.pmin(x, f32x4.splat(MOST)), top_f32x4);
  return v128.and(exp_f32x4(f32x4.mul(below, inverse_f32x4)), f32x4.eq(x, x));
}

/** The logits that do not fill a vector; the lanes behind them have no chance. */
function rest(row: usize, whole: usize, vocab: usize): v128 {
  v128.store(REST, f32x4.splat(-Infinity));
  memory.copy(REST, row + whole * 4, (vocab - whole) * 4);
  return v128.load(REST);
}
