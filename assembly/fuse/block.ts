/** What kernels over whole rows share: vectors at the end of a row, and how f32 lanes are added up. */

/** Tokens whose terms are summed in f32 lanes before they go to f64, and that stay in the first-level cache. */
// @ts-ignore: decorator
@inline
export const BLOCK: usize = 512;

const REST: usize = memory.data(16, 16);

/** The logits that do not fill a vector; −∞ in the lanes behind them. */
export function rest_of(row: usize, vocab: usize): v128 {
  const whole = vocab & ~3;
  v128.store(REST, f32x4.splat(-Infinity));
  memory.copy(REST, row + whole * 4, (vocab - whole) * 4);
  return v128.load(REST);
}

/** Four logits from token i on. */
// @ts-ignore: decorator
@inline
export function four(row: usize, i: usize, vocab: usize, rest: v128): v128 {
  if (i + 4 <= vocab) return v128.load(row + i * 4);
  return rest;
}

/** ((l0 + l2) + (l1 + l3)) of an f32x4, in f64. */
// @ts-ignore: decorator
@inline
export function total(v: v128): f64 {
  const pairs = f64x2.add(f64x2.promote_low_f32x4(v), f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 1)));
  return f64x2.extract_lane(pairs, 0) + f64x2.extract_lane(pairs, 1);
}

/**
 * Exponents below this add nothing to a sum in which one is 0. They are left out where products of their exponentials would
 * be subnormal numbers, which are slow.
 */
// @ts-ignore: decorator
@inline
export const NEGLIGIBLE: f32 = -40;

/** All ones where a value is NaN. */
// @ts-ignore: decorator
@inline
export function is_nan(x: v128): v128 {
  return f32x4.ne(x, x);
}
