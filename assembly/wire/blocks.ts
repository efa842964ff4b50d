/**
 * blocks: a row as integers of 8 or 4 bits, in blocks of 32 tokens that share a scale and a minimum, both halves.
 *
 *     z  ≈  minimum + scale · code                  code = nearest((z − minimum) / scale), 0 … 255 or 0 … 15
 *     z  ≈  minimum + |scale| · (code − 1)          where the sign of the scale is set; code 0 is −∞ there
 *
 * The minimum is the half below the least logit of the block, but not further than `clip` below its largest one: what lies
 * lower gets the least code. The scale is the half above what brings the largest code to the largest logit.
 *
 * Source    the definition is src/format/wire/definition.ts, whose f32 steps these are.
 * Shapes    row: (vocab) f32, −∞ or up to 60,000; scales, minimums: (blocks) u16; codes: (vocab) u8, or two to a byte, the
 *           even token in the low bits. Codes, and rows that are decoded, are written in whole blocks.
 * Accuracy  |z − decoded| ≤ |scale| / 2 for what is not clipped, and two roundings of f32.
 * Cost      two passes over each block, which stays in the first-level cache.
 */
import { max_lanes } from "../lib/lanes";
import { half_above, half_below, half_value, LEAST_HALF } from "./halves";

const BLOCK: usize = 32;
const MASKED: u32 = 0x8000;

/** The last block, if it is not whole. */
const REST: usize = memory.data(128, 16);

export function wire_to_blocks(
  row: usize,
  vocab: usize,
  bits: i32,
  clip: f32,
  scales: usize,
  minimums: usize,
  codes: usize,
): void {
  const levels: f32 = bits == 8 ? 255 : 15;
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const source = first + BLOCK <= vocab ? row + first * 4 : rest_of(row, first, vocab);
    const header = first / BLOCK;
    to_block(source, levels, clip, scales + header * 2, minimums + header * 2, codes, bits);
    codes += bits == 8 ? 32 : 16;
  }
}

/** The logits from `first` on, and the first of them again to fill the block. */
function rest_of(row: usize, first: usize, vocab: usize): usize {
  const filler = load<f32>(row + first * 4);
  for (let i: usize = 0; i < BLOCK; i++) {
    store<f32>(REST + i * 4, first + i < vocab ? load<f32>(row + (first + i) * 4) : filler);
  }
  return REST;
}

function to_block(
  source: usize,
  levels: f32,
  clip: f32,
  scale_out: usize,
  minimum_out: usize,
  codes: usize,
  bits: i32,
): void {
  const none = f32x4.splat(-Infinity),
    infinite = f32x4.splat(Infinity);
  let most_f32x4 = none,
    least_f32x4 = infinite,
    some = i32x4.splat(-1);
  for (let i: usize = 0; i < 128; i += 16) {
    const z = v128.load(source + i);
    const is_some = f32x4.gt(z, none);
    most_f32x4 = f32x4.pmax(most_f32x4, z);
    least_f32x4 = f32x4.pmin(least_f32x4, v128.bitselect(z, infinite, is_some));
    some = v128.and(some, is_some);
  }
  const masked = !i32x4.all_true(some);
  const most = max<f32>(max_lanes(most_f32x4), LEAST_HALF);
  const lowest = -max_lanes(f32x4.neg(least_f32x4));
  // All are −∞: the range is empty, and so is the scale.
  const least: f32 = lowest == Infinity ? 0 : max<f32>(max<f32>(lowest, most - clip), LEAST_HALF);
  const minimum_half = half_below(least);
  const minimum = half_value(minimum_half);
  const top = levels - (masked ? 1 : 0);
  const range: f32 = lowest == Infinity ? 0 : most - minimum;
  const scale_half = half_above(range / top);
  const scale = half_value(scale_half);
  store<u16>(scale_out, <u16>(scale_half | (masked ? MASKED : 0)));
  store<u16>(minimum_out, <u16>minimum_half);

  const inverse = f32x4.splat(scale > 0 ? 1 / scale : 0);
  const minimum_f32x4 = f32x4.splat(minimum);
  const top_f32x4 = f32x4.splat(top);
  const zero = f32x4.splat(0);
  const one = i32x4.splat(masked ? 1 : 0);
  for (let i: usize = 0; i < 128; i += 32) {
    const low = to_codes(v128.load(source + i), minimum_f32x4, inverse, top_f32x4, zero, one);
    const high = to_codes(v128.load(source + i, 16), minimum_f32x4, inverse, top_f32x4, zero, one);
    let eight = i16x8.narrow_i32x4_u(low, high);
    if (bits == 8) {
      v128.store64_lane(codes + (i >> 2), i8x16.narrow_i16x8_u(eight, eight), 0);
    } else {
      // Pairs of 16-bit lanes: the even one stays, the odd one moves from 16 bits up to 4.
      eight = v128.and(v128.or(eight, i32x4.shr_u(eight, 12)), i32x4.splat(0xff));
      const pairs = i16x8.narrow_i32x4_u(eight, eight);
      v128.store32_lane(codes + (i >> 3), i8x16.narrow_i16x8_u(pairs, pairs), 0);
    }
  }
}

// @ts-ignore: decorator
@inline
function to_codes(z: v128, minimum: v128, inverse: v128, top: v128, zero: v128, one: v128): v128 {
  const steps = f32x4.nearest(f32x4.mul(f32x4.sub(z, minimum), inverse));
  // −∞ times 0 is NaN, which pmax with the 0 first makes 0.
  const code = i32x4.trunc_sat_f32x4_u(f32x4.pmin(top, f32x4.pmax(zero, steps)));
  return v128.and(i32x4.add(code, one), f32x4.gt(z, f32x4.splat(-Infinity)));
}

export function wire_from_blocks(
  scales: usize,
  minimums: usize,
  codes: usize,
  vocab: usize,
  bits: i32,
  out: usize,
): void {
  const none = f32x4.splat(-Infinity);
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const scale_half = <u32>load<u16>(scales + (first >> 4));
    const masked = (scale_half & MASKED) != 0;
    const scale = f32x4.splat(half_value(scale_half & 0x7fff));
    const minimum = f32x4.splat(half_value(<u32>load<u16>(minimums + (first >> 4))));
    const one = i32x4.splat(masked ? 1 : 0);
    const to = out + first * 4;
    for (let i: usize = 0; i < BLOCK; i += 8) {
      let eight: v128;
      if (bits == 8) eight = v128.load8x8_u(codes + first + i);
      else {
        const pairs = i32x4.extend_low_i16x8_u(
          i16x8.extend_low_i8x16_u(v128.load32_zero(codes + ((first + i) >> 1))),
        );
        eight = v128.or(v128.and(pairs, i32x4.splat(15)), i32x4.shl(i32x4.shr_u(pairs, 4), 16));
      }
      store_logits(to + i * 4, i32x4.extend_low_i16x8_u(eight), scale, minimum, one, none);
      store_logits(to + i * 4 + 16, i32x4.extend_high_i16x8_u(eight), scale, minimum, one, none);
    }
  }
}

// @ts-ignore: decorator
@inline
function store_logits(to: usize, code: v128, scale: v128, minimum: v128, one: v128, none: v128): void {
  const steps = f32x4.convert_i32x4_s(i32x4.sub(code, one));
  const z = f32x4.add(minimum, f32x4.mul(scale, steps));
  v128.store(to, v128.bitselect(none, z, i32x4.lt_s(code, one)));
}
