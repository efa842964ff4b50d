/**
 * measure: numbers read off a row, z: (vocab) f32.
 *
 *     highest        max z; NaN if any is
 *     moments        n, Σ z          over the n tokens above −∞
 *     deviations     Σ (z − mean)²   over the same
 *     partition      with x = (z − top)·inverse, e = exp x:  Σ e, Σ x·e, Σ e², Σ x·e²; the second largest e, the least
 *     probabilities  with p = e / Σe, d = p − 1 / vocab:  Σ d², Σ d⁴, Σ (exp(p / 2) − 1)
 *     distance       with e, f of two rows:  Σ e·(x − y),  Σ |e/Σe − f/Σf|
 *     rank           tokens above z[token], or equal with a lower id
 *
 * Numbers go to `out` as f64, in this order; inverse = 1 / temperature.
 * Accuracy  exp within 1 ULP of its argument; 128 terms to a lane are summed in f32, the rest in f64.
 * Cost      one pass and at most one exp per token and row.
 */
import { exp_f32x4 } from "../lib/exp";
import { high_f64x2, low_f64x2, max_lanes } from "../lib/lanes";
import { BLOCK, NEGLIGIBLE, four, is_nan, rest_of, total } from "./block";

/** Below, e is 0. */
const LEAST: f32 = -87;
/** Where e is 0, it stays 0 times anything finite. */
const FINITE: f32 = -3e38;

export function highest(row: usize, vocab: usize): f32 {
  const rest = rest_of(row, vocab);
  const whole = vocab & ~7;
  let even = f32x4.splat(-Infinity),
    odd = even,
    wrong = i32x4.splat(0);
  let i: usize = 0;
  for (; i < whole; i += 8) {
    const x = v128.load(row + i * 4);
    const y = v128.load(row + i * 4, 16);
    even = f32x4.pmax(even, x);
    odd = f32x4.pmax(odd, y);
    // Ordered only with each other: NaN if one of them is, or −∞ meets +∞, which is as wrong.
    const both = f32x4.add(x, y);
    wrong = v128.or(wrong, is_nan(both));
  }
  for (; i < vocab; i += 4) {
    const x = four(row, i, vocab, rest);
    even = f32x4.pmax(even, x);
    wrong = v128.or(wrong, is_nan(x));
  }
  return v128.any_true(wrong) ? NaN : max_lanes(f32x4.pmax(even, odd));
}

export function moments(row: usize, vocab: usize, out: usize): void {
  const rest = rest_of(row, vocab);
  let count = i32x4.splat(0);
  let low_sum = f64x2.splat(0),
    high_sum = low_sum;
  for (let i: usize = 0; i < vocab; i += 4) {
    const z = four(row, i, vocab, rest);
    const some = f32x4.gt(z, f32x4.splat(-Infinity));
    const value = v128.and(z, some);
    count = i32x4.sub(count, some);
    low_sum = f64x2.add(low_sum, low_f64x2(value));
    high_sum = f64x2.add(high_sum, high_f64x2(value));
  }
  store<f64>(
    out,
    <f64>(
      (i32x4.extract_lane(count, 0) +
        i32x4.extract_lane(count, 1) +
        i32x4.extract_lane(count, 2) +
        i32x4.extract_lane(count, 3))
    ),
  );
  store<f64>(out, add_lanes(f64x2.add(low_sum, high_sum)), 8);
}

export function deviations(row: usize, vocab: usize, mean: f64): f64 {
  const rest = rest_of(row, vocab);
  const mean_f64x2 = f64x2.splat(mean);
  let low_sum = f64x2.splat(0),
    high_sum = low_sum;
  for (let i: usize = 0; i < vocab; i += 4) {
    const z = four(row, i, vocab, rest);
    low_sum = f64x2.add(low_sum, square_from(low_f64x2(z), mean_f64x2));
    high_sum = f64x2.add(high_sum, square_from(high_f64x2(z), mean_f64x2));
  }
  return add_lanes(f64x2.add(low_sum, high_sum));
}

/** (z − mean)², 0 for −∞. */
// @ts-ignore: decorator
@inline
function square_from(z: v128, mean: v128): v128 {
  const d = v128.and(f64x2.sub(z, mean), f64x2.gt(z, f64x2.splat(-Infinity)));
  return f64x2.mul(d, d);
}

export function partition(row: usize, vocab: usize, top: f32, inverse: f32, out: usize): void {
  const rest = rest_of(row, vocab);
  const top_f32x4 = f32x4.splat(top);
  const inverse_f32x4 = f32x4.splat(inverse);
  let sum: f64 = 0,
    weighted: f64 = 0,
    squares: f64 = 0,
    squares_weighted: f64 = 0;
  let second = f32x4.splat(0),
    least = f32x4.splat(1),
    ties = i32x4.splat(0);
  let i: usize = 0;
  while (i < vocab) {
    const stop = min<usize>(vocab, i + BLOCK);
    let e_sum = f32x4.splat(0),
      xe_sum = e_sum,
      ee_sum = e_sum,
      xee_sum = e_sum;
    for (; i < stop; i += 4) {
      const z = four(row, i, vocab, rest);
      const x = f32x4.mul(f32x4.sub(z, top_f32x4), inverse_f32x4);
      const e = exp_f32x4(x);
      const xe = f32x4.mul(f32x4.pmax(x, f32x4.splat(LEAST)), e);
      e_sum = f32x4.add(e_sum, e);
      xe_sum = f32x4.add(xe_sum, xe);
      const square_root = v128.and(e, f32x4.gt(x, f32x4.splat(NEGLIGIBLE)));
      ee_sum = f32x4.add(ee_sum, f32x4.mul(e, square_root));
      xee_sum = f32x4.add(xee_sum, f32x4.mul(xe, square_root));
      const first = f32x4.eq(z, top_f32x4);
      ties = i32x4.sub(ties, first);
      second = f32x4.pmax(second, v128.andnot(e, first));
      if (i + 4 <= vocab) least = f32x4.pmin(least, e);
    }
    sum += total(e_sum);
    weighted += total(xe_sum);
    squares += total(ee_sum);
    squares_weighted += total(xee_sum);
  }
  store<f64>(out, sum);
  store<f64>(out, weighted, 8);
  store<f64>(out, squares, 16);
  store<f64>(out, squares_weighted, 24);
  const tops =
    i32x4.extract_lane(ties, 0) +
    i32x4.extract_lane(ties, 1) +
    i32x4.extract_lane(ties, 2) +
    i32x4.extract_lane(ties, 3);
  store<f64>(out, tops > 1 ? 1 : <f64>max_lanes(second), 32);
  let lowest = -max_lanes(f32x4.neg(least));
  for (i = vocab & ~3; i < vocab; i++) {
    const x = (load<f32>(row + i * 4) - top) * inverse;
    lowest = min<f32>(lowest, f32x4.extract_lane(exp_f32x4(f32x4.splat(x)), 0));
  }
  store<f64>(out, <f64>lowest, 40);
}

export function probabilities(row: usize, vocab: usize, top: f32, inverse: f32, sum: f64, out: usize): void {
  const rest = rest_of(row, vocab);
  const top_f32x4 = f32x4.splat(top);
  const inverse_f32x4 = f32x4.splat(inverse);
  const share = f64x2.splat(1 / sum);
  const mean = f64x2.splat(1 / <f64>vocab);
  let squares = f64x2.splat(0),
    fourths = squares,
    excess = squares;
  let i: usize = 0;
  for (; i < vocab; i += 4) {
    const e = exp_f32x4(f32x4.mul(f32x4.sub(four(row, i, vocab, rest), top_f32x4), inverse_f32x4));
    const low_p = f64x2.mul(low_f64x2(e), share);
    const high_p = f64x2.mul(high_f64x2(e), share);
    excess = f64x2.add(excess, f64x2.add(half_exp_less_1(low_p), half_exp_less_1(high_p)));
    const low = f64x2.sub(low_p, mean);
    const high = f64x2.sub(high_p, mean);
    const low_square = f64x2.mul(low, low);
    const high_square = f64x2.mul(high, high);
    squares = f64x2.add(squares, f64x2.add(low_square, high_square));
    fourths = f64x2.add(
      fourths,
      f64x2.add(f64x2.mul(low_square, low_square), f64x2.mul(high_square, high_square)),
    );
  }
  // Lanes behind the end have e = 0, and were counted as tokens.
  const surplus = <f64>(i - vocab);
  const square = 1 / (<f64>vocab * <f64>vocab);
  store<f64>(out, add_lanes(squares) - surplus * square);
  store<f64>(out, add_lanes(fourths) - surplus * square * square, 8);
  store<f64>(out, add_lanes(excess), 16);
}

/** 1/(k!·2^k) for k = 9, 8, …, 1. */
// prettier-ignore
const HALF_EXP: usize = memory.data<f64>([
  1.0 / 185794560, 1.0 / 10321920, 1.0 / 645120, 1.0 / 46080, 1.0 / 3840, 1.0 / 384, 1.0 / 48, 1.0 / 8, 1.0 / 2,
]);

/** exp(p / 2) − 1 for p from 0 to 1, by its series: within 3e-10. */
function half_exp_less_1(p: v128): v128 {
  let sum = v128.load64_splat(HALF_EXP);
  for (let i: usize = 8; i < 72; i += 8) sum = f64x2.add(f64x2.mul(sum, p), v128.load64_splat(HALF_EXP + i));
  return f64x2.mul(sum, p);
}

/** The first number is ∞ where the first row has a token that the second has not. */
export function distance(
  a: usize,
  b: usize,
  vocab: usize,
  a_top: f32,
  b_top: f32,
  a_share: f32,
  b_share: f32,
  out: usize,
): void {
  const a_rest = rest_of(a, vocab);
  const b_rest = rest_of(b, vocab);
  const a_top_f32x4 = f32x4.splat(a_top);
  const b_top_f32x4 = f32x4.splat(b_top);
  const a_share_f32x4 = f32x4.splat(a_share);
  const b_share_f32x4 = f32x4.splat(b_share);
  let sum: f64 = 0,
    apart: f64 = 0;
  let lost = i32x4.splat(0);
  let i: usize = 0;
  while (i < vocab) {
    const stop = min<usize>(vocab, i + BLOCK);
    let weighted = f32x4.splat(0),
      gaps = weighted;
    for (; i < stop; i += 4) {
      const x = f32x4.sub(four(a, i, vocab, a_rest), a_top_f32x4);
      const y = f32x4.sub(four(b, i, vocab, b_rest), b_top_f32x4);
      const e = exp_f32x4(x);
      const f = exp_f32x4(y);
      const gap = f32x4.sub(f32x4.pmax(x, f32x4.splat(LEAST)), f32x4.pmax(y, f32x4.splat(FINITE)));
      weighted = f32x4.add(weighted, f32x4.mul(e, gap));
      const p = f32x4.mul(e, a_share_f32x4);
      const q = f32x4.mul(f, b_share_f32x4);
      gaps = f32x4.add(gaps, f32x4.abs(f32x4.sub(p, q)));
      lost = v128.or(lost, v128.and(f32x4.gt(e, f32x4.splat(0)), f32x4.eq(y, f32x4.splat(-Infinity))));
    }
    sum += total(weighted);
    apart += total(gaps);
  }
  store<f64>(out, v128.any_true(lost) ? Infinity : sum);
  store<f64>(out, apart, 8);
}

export function rank(row: usize, vocab: usize, token: usize): u32 {
  const z = load<f32>(row + token * 4);
  let before: u32 = 0;
  for (let i: usize = 0; i < vocab; i++) {
    const x = load<f32>(row + i * 4);
    before += u32(x > z) + (u32(x == z) & u32(i < token));
  }
  return before;
}

// @ts-ignore: decorator
@inline
function add_lanes(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}
