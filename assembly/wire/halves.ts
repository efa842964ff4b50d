/**
 * halves: a row as 16-bit floats, and back.
 *
 *     encode   nearest half, ties to even; what lies below −65,504 becomes that, −∞ stays
 *     decode   exact; infinities and NaN stay what they are
 *
 * Source    the definition is src/format/wire/definition.ts.
 * Shapes    row: (vocab) f32, at most 65,504; halves: (vocab) u16. Both are read and written in whole vectors of 8.
 * Cost      one pass.
 */
import { HALF_SCALE, raw_load4 } from "../lib/half";

export const LEAST_HALF: f32 = -65504;

const LEAST: usize = memory.data<f32>([-65504, -65504, -65504, -65504], 16);
const NONE: usize = memory.data<f32>([-Infinity, -Infinity, -Infinity, -Infinity], 16);
const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
/** The least normal half, 2^-14, as f32; what a normal one's bits are moved by, and half of its last place. */
const NORMAL: usize = memory.data<u32>([0x38800000, 0x38800000, 0x38800000, 0x38800000], 16);
const REBIAS: usize = memory.data<u32>([0xc8000fff, 0xc8000fff, 0xc8000fff, 0xc8000fff], 16);

export function wire_to_halves(row: usize, vocab: usize, out: usize): void {
  for (let i: usize = 0; i < vocab; i += 8) {
    const low = to_halves(v128.load(row + i * 4));
    const high = to_halves(v128.load(row + i * 4, 16));
    v128.store(out + i * 2, i16x8.narrow_i32x4_u(low, high));
  }
}

export function wire_from_halves(halves: usize, vocab: usize, out: usize): void {
  for (let i: usize = 0; i < vocab; i += 4) v128.store(out + i * 4, from_halves(halves + i * 2));
}

/** Of 4 lanes, in the low half of each. */
// @ts-ignore: decorator
@inline
function to_halves(x: v128): v128 {
  const none = f32x4.eq(x, v128.load(NONE));
  const bits = f32x4.pmax(x, v128.load(LEAST));
  const magnitude = v128.and(bits, v128.load(MAGNITUDE));
  const sign = v128.and(i32x4.shr_u(bits, 16), i32x4.splat(0x8000));
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, v128.load(REBIAS)), odd), 13);
  // Adding 0.5 puts the last place of a subnormal half at that of the f32, and rounds.
  const half = f32x4.splat(0.5);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const small = i32x4.lt_u(magnitude, v128.load(NORMAL));
  const rounded = v128.or(sign, v128.bitselect(subnormal, normal, small));
  return v128.bitselect(i32x4.splat(0xfc00), rounded, none);
}

/** 4 halves at `source` as f32. */
// @ts-ignore: decorator
@inline
function from_halves(source: usize): v128 {
  const raw = raw_load4(source);
  const special = i32x4.ge_u(v128.and(raw, v128.load(MAGNITUDE)), i32x4.splat(0x0f800000));
  const value = f32x4.mul(raw, f32x4.splat(HALF_SCALE));
  return v128.bitselect(v128.or(raw, i32x4.splat(0x7f800000)), value, special);
}

/** The largest half that is not above `x`, which is from −65,504 to 65,504. */
export function half_below(x: f32): u32 {
  const half = nearest_half(x);
  if (half_value(half) <= x) return half;
  // One step down: towards zero from above it, away from it below.
  return half == 0 ? 0x8001 : half & 0x8000 ? half + 1 : half - 1;
}

/** The least half that is not below `x`, which is from 0 to 65,504. */
export function half_above(x: f32): u32 {
  const half = nearest_half(x);
  return half_value(half) >= x ? half : half + 1;
}

// @ts-ignore: decorator
@inline
function nearest_half(x: f32): u32 {
  return i32x4.extract_lane(to_halves(f32x4.splat(x)), 0);
}

// @ts-ignore: decorator
@inline
export function half_value(half: u32): f32 {
  return reinterpret<f32>(((half & 0x7fff) << 13) | ((half & 0x8000) << 16)) * HALF_SCALE;
}
