/**
 * exp and log: the one polynomial of each, so that every engine and both builds round alike.
 *
 *     exp(x)  =  2^n · (1 + (t + t²·q(t)))     n = round(x / ln 2),  t = x − n·ln 2 in two steps
 *     log(x)  =  e·ln 2 + 2·(s + s³/3 + …)     s = (m − 1)/(m + 1),  x = 2^e · m
 *
 * Source    coefficients of q: Cephes expf (Moshier). log: the atanh series, in f64.
 * Accuracy  exp: at most 0.96 ULP on [−87, 0] without fused operations. log: below 1 ULP.
 */

// Four lanes of each constant, loaded where they are used: V8 builds a vector constant from three instructions at every
// use inside a loop.
const LARGEST: usize = memory.data<f32>([88, 88, 88, 88], 16);
const LEAST: usize = memory.data<f32>([-87, -87, -87, -87], 16);
const ONE: usize = memory.data<f32>([1, 1, 1, 1], 16);
const LOG2E: usize = memory.data<f32>([1.44269504, 1.44269504, 1.44269504, 1.44269504], 16);
/** 1.5·2^23 + 127: adding it rounds to an integer and leaves the biased exponent in the low bits. */
const MAGIC: usize = memory.data<f32>([12583039, 12583039, 12583039, 12583039], 16);
const LN2_HIGH: usize = memory.data<f32>([0.693359375, 0.693359375, 0.693359375, 0.693359375], 16);
const LN2_LOW: usize = memory.data<f32>([-2.1219444e-4, -2.1219444e-4, -2.1219444e-4, -2.1219444e-4], 16);
const Q5: usize = memory.data<f32>([1.98756915e-4, 1.98756915e-4, 1.98756915e-4, 1.98756915e-4], 16);
const Q4: usize = memory.data<f32>([1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3], 16);
const Q3: usize = memory.data<f32>([8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3], 16);
const Q2: usize = memory.data<f32>([4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2], 16);
const Q1: usize = memory.data<f32>([1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1], 16);
const Q0: usize = memory.data<f32>([5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1], 16);

/** exp of 4 lanes. Below −87 the result is 0, above 88 it stays at exp(88). NaN gives NaN. */
// @ts-ignore: decorator
@inline
export function exp_f32x4(x: v128): v128 {
  // pmin and pmax keep a NaN that comes first, and are one instruction each.
  const clamped_f32x4 = f32x4.pmax(f32x4.pmin(x, v128.load(LARGEST)), v128.load(LEAST));
  const biased = f32x4.add(f32x4.mul(clamped_f32x4, v128.load(LOG2E)), v128.load(MAGIC));
  const power_f32x4 = i32x4.shl(biased, 23);
  const n_f32x4 = f32x4.sub(biased, v128.load(MAGIC));
  let t_f32x4 = f32x4.sub(clamped_f32x4, f32x4.mul(n_f32x4, v128.load(LN2_HIGH)));
  t_f32x4 = f32x4.sub(t_f32x4, f32x4.mul(n_f32x4, v128.load(LN2_LOW)));
  let q_f32x4 = v128.load(Q5);
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), v128.load(Q4));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), v128.load(Q3));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), v128.load(Q2));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), v128.load(Q1));
  q_f32x4 = f32x4.add(f32x4.mul(q_f32x4, t_f32x4), v128.load(Q0));
  const square_f32x4 = f32x4.mul(t_f32x4, t_f32x4);
  const tail_f32x4 = f32x4.add(f32x4.mul(q_f32x4, square_f32x4), t_f32x4);
  const result_f32x4 = f32x4.mul(f32x4.add(v128.load(ONE), tail_f32x4), power_f32x4);
  return v128.andnot(result_f32x4, f32x4.lt(x, v128.load(LEAST)));
}

/** 2^f on [−1/2, 1/2], P5·f⁵ + … + P1·f + 1: least largest relative error, 9.2e-8. */
const P5: usize = memory.data<f32>([0.00132645911, 0.00132645911, 0.00132645911, 0.00132645911], 16);
const P4: usize = memory.data<f32>([0.00967161916, 0.00967161916, 0.00967161916, 0.00967161916], 16);
const P3: usize = memory.data<f32>([0.0555073507, 0.0555073507, 0.0555073507, 0.0555073507], 16);
const P2: usize = memory.data<f32>([0.240222409, 0.240222409, 0.240222409, 0.240222409], 16);
const P1: usize = memory.data<f32>([0.693147004, 0.693147004, 0.693147004, 0.693147004], 16);

/**
 * exp of 4 lanes that are at most 0, for sums, in three quarters of the steps: 2^n · 2^f of x·log2 e, a polynomial of degree
 * 5 within 1e-7. The rounding of x·log2 e costs up to |x|/2 ULP. Below −87 it stays at exp(−87). NaN gives NaN.
 */
// @ts-ignore: decorator
@inline
export function exp_below_f32x4(x: v128): v128 {
  const power = f32x4.mul(f32x4.pmax(x, v128.load(LEAST)), v128.load(LOG2E));
  const biased = f32x4.add(power, v128.load(MAGIC));
  const f_f32x4 = f32x4.sub(power, f32x4.sub(biased, v128.load(MAGIC)));
  let p_f32x4 = v128.load(P5);
  p_f32x4 = f32x4.add(f32x4.mul(p_f32x4, f_f32x4), v128.load(P4));
  p_f32x4 = f32x4.add(f32x4.mul(p_f32x4, f_f32x4), v128.load(P3));
  p_f32x4 = f32x4.add(f32x4.mul(p_f32x4, f_f32x4), v128.load(P2));
  p_f32x4 = f32x4.add(f32x4.mul(p_f32x4, f_f32x4), v128.load(P1));
  p_f32x4 = f32x4.add(f32x4.mul(p_f32x4, f_f32x4), v128.load(ONE));
  return f32x4.mul(p_f32x4, i32x4.shl(biased, 23));
}

/** ln 2 for `log_f64`: the first 32 bits, and the rest. */
const LN2_F64_HIGH: f64 = 0.6931471803691238;
const LN2_F64_LOW: f64 = 1.9082149292705877e-10;
// 2/21, 2/19, …, 2/3
const LOG_TERMS: usize = memory.data<f64>([
  2.0 / 21,
  2.0 / 19,
  2.0 / 17,
  2.0 / 15,
  2.0 / 13,
  2.0 / 11,
  2.0 / 9,
  2.0 / 7,
  2.0 / 5,
  2.0 / 3,
]);

/** Natural logarithm; −∞ for 0, NaN below. The bits of `log` in src/math.ts, which says why it is written so. */
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
  const f = m - 1;
  const s = f / (m + 1);
  const square = s * s;
  const half_square = 0.5 * f * f;
  let sum = load<f64>(LOG_TERMS);
  for (let i: usize = 8; i < 80; i += 8) sum = sum * square + load<f64>(LOG_TERMS + i);
  const tail = s * (half_square + square * sum) + <f64>exponent * LN2_F64_LOW;
  return <f64>exponent * LN2_F64_HIGH - (half_square - tail - f);
}
