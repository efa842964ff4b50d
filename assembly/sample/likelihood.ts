/**
 * likelihood: adds the next logits of a row to its running sum, so that the row need never be in memory.
 *
 *     a, s  ←  a, s + exp(z − a)            while z is at most 32 above the anchor a, the first logit
 *     a, s  ←  z, s·exp(a − z) + 1          where it is further
 *
 * log Σ exp z = a + ln s. One after the other, in f64: the bits do not depend on how the row is cut, and are those of
 * src/backend/reference/likelihood.ts, whose operations these are; exp is that of src/math.ts, two lanes at a time.
 *
 * State     a, s: f64. −∞, 0 before the first logit. −∞ adds nothing.
 * Returns   −1, or the first logit's index that is NaN or +∞; then the state is as before.
 * Cost      one pass, an exp of f64 for each token.
 */

const REACH: f64 = 32;
/** Above, exp is a normal number; below the other it is 0. */
const NORMAL: f64 = -707;
const UNDERFLOW: f64 = -745.1332191019412;

const LOG2E: f64 = 1.4426950408889634;
/** ln 2: the first 32 bits, and the rest. */
const LN2_HIGH: f64 = 0.6931471803691238;
const LN2_LOW: f64 = 1.9082149292705877e-10;
/** 1/13!, 1/12!, …, 1/2! */
// prettier-ignore
const TERMS: usize = memory.data<f64>([
  1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
  1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2,
]);

export function likelihood_add(row: usize, count: usize, state: usize): i32 {
  let anchor = load<f64>(state);
  let sum = load<f64>(state, 8);
  const even = count & ~1;
  for (let i: usize = 0; i < even; i += 2) {
    const z = f64x2.promote_low_f32x4(v128.load64_zero(row + i * 4));
    const distance = f64x2.sub(z, f64x2.splat(anchor));
    const near = v128.and(f64x2.le(distance, f64x2.splat(REACH)), f64x2.ge(distance, f64x2.splat(NORMAL)));
    if (i64x2.all_true(near)) {
      const e = exp_normal(distance);
      sum += f64x2.extract_lane(e, 0);
      sum += f64x2.extract_lane(e, 1);
      continue;
    }
    for (let lane: usize = 0; lane < 2; lane++) {
      const x = load<f32>(row + (i + lane) * 4);
      if (x == -Infinity) continue;
      if (!(x < Infinity)) return <i32>(i + lane);
      const apart = <f64>x - anchor;
      if (apart <= REACH) {
        sum += exp(apart);
      } else {
        sum = sum * exp(-apart) + 1;
        anchor = x;
      }
    }
  }
  if (count & 1) {
    const x = load<f32>(row + even * 4);
    if (!(x < Infinity)) return <i32>even;
    const apart = <f64>x - anchor;
    if (x > -Infinity && apart <= REACH) {
      sum += exp(apart);
    } else if (x > -Infinity) {
      sum = sum * exp(-apart) + 1;
      anchor = x;
    }
  }
  store<f64>(state, anchor);
  store<f64>(state, sum, 8);
  return -1;
}

/** exp x, at most e^32. */
function exp(x: f64): f64 {
  if (x < UNDERFLOW) return 0;
  const n = f64x2.extract_lane(rounded(f64x2.splat(x * LOG2E)), 0);
  const fraction = f64x2.extract_lane(reduced(f64x2.splat(x), f64x2.splat(n)), 0);
  // In two steps, as 2^-1075 is not a number; the first is exact, so that the second alone rounds.
  const half = (<i32>n) >> 1;
  return fraction * power_of_two(half) * power_of_two(<i32>n - half);
}

/** exp of two lanes from −707 to 32. */
// @ts-ignore: decorator
@inline
function exp_normal(x: v128): v128 {
  const n = rounded(f64x2.mul(x, f64x2.splat(LOG2E)));
  const power = i64x2.shl(i64x2.extend_low_i32x4_s(i32x4.trunc_sat_f64x2_s_zero(n)), 52);
  // To add to the exponent is to multiply by a power of two.
  return i64x2.add(reduced(x, n), power);
}

/** Math.round */
// @ts-ignore: decorator
@inline
function rounded(x: v128): v128 {
  const below = f64x2.floor(x);
  const up = f64x2.ge(f64x2.sub(x, below), f64x2.splat(0.5));
  return f64x2.add(below, v128.and(up, f64x2.splat(1)));
}

/** exp(x) / 2^n */
// @ts-ignore: decorator
@inline
function reduced(x: v128, n: v128): v128 {
  const high = f64x2.sub(x, f64x2.mul(n, f64x2.splat(LN2_HIGH)));
  const low = f64x2.mul(n, f64x2.splat(LN2_LOW));
  const r = f64x2.sub(high, low);
  const lost = f64x2.sub(f64x2.sub(high, r), low);
  let tail = v128.load64_splat(TERMS);
  for (let i: usize = 8; i < 96; i += 8) tail = f64x2.add(f64x2.mul(tail, r), v128.load64_splat(TERMS + i));
  const square = f64x2.mul(r, r);
  return f64x2.add(f64x2.splat(1), f64x2.add(r, f64x2.add(f64x2.mul(square, tail), lost)));
}

function power_of_two(n: i32): f64 {
  return reinterpret<f64>((<u64>(n + 1023)) << 52);
}
