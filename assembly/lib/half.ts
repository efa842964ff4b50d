/**
 * half: 16-bit floats to f32 and back.
 *
 * A half h and the float with the bits (sign | exponent and mantissa << 13) differ by the factor 2^112 exactly, subnormals
 * included. Kernels multiply by it once per block (or fold it into another factor) and skip a conversion per weight.
 * The factor maps infinities and NaN to large finite numbers: stored weights have none (checked at load).
 */

/** 2^112: true value = raw value · HALF_SCALE. */
// @ts-ignore: decorator
@inline
export const HALF_SCALE: f32 = reinterpret<f32>(0x77800000);

// Loaded where it is used: V8 builds a vector constant from three instructions at every use inside a loop.
const RAW_MASK: usize = memory.data<u32>([0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000], 16);

/** The even halves (low 16 bits) of 4 lanes, raw. */
// @ts-ignore: decorator
@inline
export function raw_even(halves: v128): v128 {
  return v128.and(i32x4.shr_s(i32x4.shl(halves, 16), 3), v128.load(RAW_MASK));
}

/** The odd halves (high 16 bits) of 4 lanes, raw. */
// @ts-ignore: decorator
@inline
export function raw_odd(halves: v128): v128 {
  return v128.and(i32x4.shr_s(halves, 3), v128.load(RAW_MASK));
}

/** 4 consecutive halves at `source`, raw. */
// @ts-ignore: decorator
@inline
export function raw_load4(source: usize): v128 {
  return v128.and(i32x4.shl(v128.load16x4_s(source), 13), v128.load(RAW_MASK));
}

/** One half as f32. */
// @ts-ignore: decorator
@inline
export function half_to_f32(half: u32): f32 {
  return reinterpret<f32>(((half & 0x7fff) << 13) | ((half & 0x8000) << 16)) * HALF_SCALE;
}
