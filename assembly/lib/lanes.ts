/**
 * lanes: the vector idioms that more than one kernel needs, and the only file that knows which build this is.
 *
 * The relaxed build has `i32x4.relaxed_dot_i8x16_i7x16_add_s`: four products of bytes added to each 32-bit lane. It is
 * defined on every engine as long as its second operand stays in 0 … 127 and the pair sums fit 16 bits; the callers keep
 * to that, so both builds compute the same integers. Nothing here uses relaxed_madd, relaxed_min or relaxed_trunc.
 */

/** True in the build with relaxed SIMD. A constant: the other branch is not compiled. */
// @ts-ignore: decorator
@inline
export const RELAXED: bool = ASC_FEATURE_RELAXED_SIMD;

/** acc + Σ signed · unsigned over the 4 bytes of each lane; `unsigned` in 0 … 127. */
// @ts-ignore: decorator
@inline
export function dot_bytes(acc: v128, signed: v128, unsigned: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(signed, unsigned, acc);
}

/** acc + Σ a · b over the 2 halves of each lane. */
// @ts-ignore: decorator
@inline
export function dot_halves(acc: v128, a: v128, b: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(a, b));
}

/** [a0 + a1, a2 + a3, b0 + b1, b2 + b3] of two i32x4. */
// @ts-ignore: decorator
@inline
export function add_pairs(a: v128, b: v128): v128 {
  return i32x4.add(
    i8x16.shuffle(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
    i8x16.shuffle(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31),
  );
}

/** ((l0 + l1) + (l2 + l3)) of an f32x4: the one order in which lanes are summed. */
// @ts-ignore: decorator
@inline
export function sum_lanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) +
    f32x4.extract_lane(v, 1) +
    (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/** Largest lane of an f32x4. */
// @ts-ignore: decorator
@inline
export function max_lanes(v: v128): f32 {
  return max<f32>(
    max<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** Lanes 0 and 1 of an f32x4. */
// @ts-ignore: decorator
@inline
export function low_f64x2(w: v128): v128 {
  return f64x2.promote_low_f32x4(w);
}

/** Lanes 2 and 3 of an f32x4. */
// @ts-ignore: decorator
@inline
export function high_f64x2(w: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(w, w, 1, 1));
}

/** Lane i of an i32x4 in all four lanes. */
// @ts-ignore: decorator
@inline
export function splat0(v: v128): v128 {
  return i8x16.shuffle(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}
// @ts-ignore: decorator
@inline
export function splat1(v: v128): v128 {
  return i8x16.shuffle(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
}
// @ts-ignore: decorator
@inline
export function splat2(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11);
}
// @ts-ignore: decorator
@inline
export function splat3(v: v128): v128 {
  return i8x16.shuffle(v, v, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15);
}
