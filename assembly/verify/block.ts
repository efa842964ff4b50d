/** The one order in which kernels that sum weights add four f64. */

// @ts-ignore: decorator
@inline
export function block_total(low_sum: v128, high_sum: v128): f64 {
  return (
    f64x2.extract_lane(low_sum, 0) +
    f64x2.extract_lane(low_sum, 1) +
    (f64x2.extract_lane(high_sum, 0) + f64x2.extract_lane(high_sum, 1))
  );
}
