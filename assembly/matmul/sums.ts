/**
 * sums: the running sums of the matmul kernels, in f32, and how a block's total joins them.
 *
 *     sum  =  sum + total · (scale · step)        each product and sum rounded once, blocks in order
 *
 * Layout    one column: [stream] of 4 rows. Four columns: [pair of streams][column][2] of 4 rows.
 */
import { raw_load4 } from "../lib/half";

/** 16 streams · 4 columns · 4 rows. */
export const ACCUMULATORS: usize = memory.data(1024, 16);

/**
 * Totals of one block, laid out as the sums are; and those of its second 16 columns, for Q6_K. i32, until the header's scales
 * take them to the sums.
 */
export const TOTALS: usize = memory.data(2048, 16);

// @ts-ignore: decorator
@inline
export const SECOND_TOTALS: usize = 1024;

/** Not memory.fill: that is a call out of the module in V8. */
// @ts-ignore: decorator
@inline
export function clear(bytes: usize): void {
  const zero = i32x4.splat(0);
  for (let at = ACCUMULATORS; at < ACCUMULATORS + bytes; at += 16) v128.store(at, zero);
}

/** Adds the total of one block of the tile at `tile` (its scales come first), for a column with `step`. */
// @ts-ignore: decorator
@inline
export function fold(sum: usize, tile: usize, step_f32x4: v128, total: v128): void {
  add_scaled(sum, f32x4.mul(raw_load4(tile), step_f32x4), total);
}

/** The same for two columns, whose sums stand 32 bytes apart and whose steps stand side by side. */
// @ts-ignore: decorator
@inline
export function fold2(sum: usize, tile: usize, steps: usize, a0: v128, a1: v128): void {
  const scales_f32x4 = raw_load4(tile);
  add_scaled(sum, f32x4.mul(scales_f32x4, v128.load32_splat(steps)), a0);
  add_scaled(sum + 32, f32x4.mul(scales_f32x4, v128.load32_splat(steps, 4)), a1);
}

/** The same for four columns. */
// @ts-ignore: decorator
@inline
export function fold4(sum: usize, tile: usize, steps: usize, a0: v128, a1: v128, a2: v128, a3: v128): void {
  const scales_f32x4 = raw_load4(tile);
  add_scaled(sum, f32x4.mul(scales_f32x4, v128.load32_splat(steps)), a0);
  add_scaled(sum + 32, f32x4.mul(scales_f32x4, v128.load32_splat(steps, 4)), a1);
  add_scaled(sum + 64, f32x4.mul(scales_f32x4, v128.load32_splat(steps, 8)), a2);
  add_scaled(sum + 96, f32x4.mul(scales_f32x4, v128.load32_splat(steps, 12)), a3);
}

// @ts-ignore: decorator
@inline
export function add_scaled(sum: usize, factor_f32x4: v128, total: v128): void {
  v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.convert_i32x4_s(total), factor_f32x4)));
}
