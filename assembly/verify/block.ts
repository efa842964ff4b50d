/** What kernels that sum weights share: four f32 as four f64, and the one order in which those are added. */

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

// @ts-ignore: decorator
@inline
export function block_total(low_sum: v128, high_sum: v128): f64 {
  return (
    f64x2.extract_lane(low_sum, 0) +
    f64x2.extract_lane(low_sum, 1) +
    (f64x2.extract_lane(high_sum, 0) + f64x2.extract_lane(high_sum, 1))
  );
}
