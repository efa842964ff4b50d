/**
 * exp and log: the one polynomial of each, so that every engine and both builds round alike.
 *
 *     exp(x)  =  2^n · (1 + (t + t²·q(t)))     n = round(x / ln 2),  t = x − n·ln 2 in two steps
 *     log(x)  =  e·ln 2 + 2·(s + s³/3 + …)     s = (m − 1)/(m + 1),  x = 2^e · m
 *
 * Source    coefficients of q: Cephes expf (Moshier). log: the atanh series, 11 terms, in f64.
 * Accuracy  exp: at most 0.96 ULP on [−87, 0] without fused operations. log: below 1e-15 relative to 1.
 */

const LOG2E: f32 = 1.44269504088896341;
/** 1.5·2^23 + 127: adding it rounds to an integer and leaves the biased exponent in the low bits. */
const MAGIC: f32 = 12583039;
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.1219444e-4;

/** exp of 4 lanes. Below −87 the result is 0, above 88 it stays at exp(88). NaN gives NaN. */
// @ts-ignore: decorator
@inline
export function exp_f32x4(x: v128): v128 {
  const clamped_f32x4 = f32x4.max(f32x4.min(x, f32x4.splat(88)), f32x4.splat(-87));
  const biased = f32x4.add(f32x4.mul(clamped_f32x4, f32x4.splat(LOG2E)), f32x4.splat(MAGIC));
  const power_f32x4 = i32x4.shl(biased, 23);
  const n_f32x4 = f32x4.sub(biased, f32x4.splat(MAGIC));
  let t_f32x4 = f32x4.sub(clamped_f32x4, f32x4.mul(n_f32x4, f32x4.splat(LN2_HIGH)));
  t_f32x4 = f32x4.sub(t_f32x4, f32x4.mul(n_f32x4, f32x4.splat(LN2_LOW)));
  let q_f32x4 = f32x4.splat(1.98756915e-4);
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), f32x4.splat(1.3981999507e-3));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), f32x4.splat(8.3334519073e-3));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), f32x4.splat(4.1665795894e-2));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), f32x4.splat(1.6666665459e-1));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), f32x4.splat(5.0000001201e-1));
  const square_f32x4 = f32x4.mul(t_f32x4, t_f32x4);
  const tail_f32x4 = f32x4.add(f32x4.mul(q_f32x4, square_f32x4), t_f32x4);
  const result_f32x4 = f32x4.mul(f32x4.add(f32x4.splat(1), tail_f32x4), power_f32x4);
  return v128.andnot(result_f32x4, f32x4.lt(x, f32x4.splat(-87)));
}

/** Natural logarithm; −∞ for 0, NaN below. */
export function log_f64(x: f64): f64 {
  if (!(x > 0)) return x == 0 ? -Infinity : NaN;
  if (x == Infinity) return x;
  let bits = reinterpret<u64>(x);
  let exponent: i32 = 0;
  if (bits < 0x0010000000000000) {
    bits = reinterpret<u64>(x * 18014398509481984.0); // 2^54: subnormals
    exponent = -54;
  }
  exponent += <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const s = (m - 1) / (m + 1);
  const square = s * s;
  let sum: f64 = 0;
  for (let k: f64 = 21; k > 1; k -= 2) sum = (sum + 1 / k) * square;
  return <f64>exponent * 0.6931471805599453 + 2 * (s + s * sum);
}
