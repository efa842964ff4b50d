/** What kernels share that look at the tokens that base, expert and anti all have. */
import { exp_below_f32x4 } from "../lib/exp";

/** exp x, 0 where that is negligible. */
// @ts-ignore: decorator
@inline
export function exp_above(x: v128, negligible: v128): v128 {
  return v128.and(exp_below_f32x4(x), f32x4.gt(x, negligible));
}

/** All ones in lanes where no logit is −∞. */
// @ts-ignore: decorator
@inline
export function all_have(base: v128, expert: v128, anti: v128): v128 {
  const least = f32x4.pmin(f32x4.pmin(base, expert), anti);
  return f32x4.gt(least, f32x4.splat(-Infinity));
}

// @ts-ignore: decorator
@inline
export function difference(expert: v128, anti: v128, expert_centre: v128, anti_centre: v128): v128 {
  return f32x4.sub(f32x4.sub(expert, expert_centre), f32x4.sub(anti, anti_centre));
}
