/**
 * activation: the right-hand side of a quantised matmul, rounded to 14 or 8 bits and laid out for the kernels.
 *
 *     step[b]  =  max |x[k]| / levels over block b of 32     code[k]  =  round(x[k] / step[b])  in −levels … levels
 *
 * levels = 127 for Q4_0 and Q4_K, 8191 for all others; the integer dots are exact either way. Rounding to 8
 * bits costs 2e-4 nats of KL on a small model, 14 bits 5e-8. Weights of 4 bits are themselves 3e-2 off, to which that adds
 * 0.5 %, for half of the dots; to those of 5, 6 and 8 bits it would add 2.4, 12 and 131 %.
 *
 * Layout    columns come in groups of four and of one (see bands.ts). A group of G columns holds block_bytes of codes
 *           per block; then, G a block each,
 *             steps    f32, times 2^112 where scales are halves, so that these can be multiplied without conversion
 *             offsets  i32, −zero·Σ code, zero being the weights' code for 0; of Q6_K over the first 16
 *             seconds  of Q6_K the offset over the other 16; where weights have a minimum, step·Σ code as f32
 *           Every 4 bytes of codes fill 16: those of the four columns side by side or, in a group of one, repeated, so
 *           that one plain load brings what all rows of a tile are multiplied with (a splat costs two operations).
 *             relaxed  8 groups of high bytes (code >> 7, plus 64 for Q8_0 and IQ4_NL, whose weights are signed), 8 groups of
 *                      low bytes (code & 127); of codes of 8 bits 8 groups of these
 *             plain    Q8_0, IQ4_NL: 8 groups of 4 halves, in order of k
 *                      5 and 6 bits: 8 · 2 pairs of halves, (4c, 4c+2), (4c+1, 4c+3)
 *                      nibbles: 4 · 4 pairs of halves, paired as the nibbles of a 16-bit lane are: 256 · (4c, 4c+2),
 *                      16 · (16+4c, 16+4c+2), (4c+1, 4c+3), 256 · (16+4c+1, 16+4c+3); see nibbles-plain.ts
 * Accuracy  round to nearest, ties to even. A block below 1e-30 becomes zero; NaN and infinity spoil their block only.
 * Cost      one pass, once per input, shared by all matrices that read it.
 */
import { RELAXED, max_lanes, splat0, splat1, splat2, splat3 } from "../lib/lanes";
import { HALF_SCALE } from "../lib/half";
import { IQ4_NL, Q4_0, Q6_K, Q8_0, has_minimum, has_nibbles, is_k_type, zero_code } from "./tile";

/** 32 codes of the block at hand, i16. */
const CODES: usize = memory.data(64, 16);

/** Bytes that the codes of a block take in a group, of one column or four. */
// @ts-ignore: decorator
@inline
export function block_bytes(format: i32): usize {
  return RELAXED && has_nibbles(format) ? 128 : 256;
}

/** Bytes of one group of `columns` columns (1 or 4), `blocks` blocks long. */
// @ts-ignore: decorator
@inline
export function group_bytes(format: i32, blocks: usize, columns: usize): usize {
  return blocks * (block_bytes(format) + columns * 12);
}

/**
 * What the kernels' sums are to be multiplied with: 1, but for Q4_0, whose steps of 8 bits, held times 2^112, would overflow for
 * inputs above 8e6; sums in units of 2^8 allow 2e9.
 */
// @ts-ignore: decorator
@inline
export function sum_unit(format: i32): f32 {
  return format == Q4_0 ? 256 : 1;
}

/** Writes one column of its group, as weights of `format` need it. */
export function quantize_column(
  format: i32,
  x: usize,
  group: usize,
  blocks: usize,
  columns: usize,
  column: usize,
): void {
  const single = columns == 1;
  const nibbles = has_nibbles(format);
  const levels: f32 = nibbles ? 127 : 8191;
  const quads = !RELAXED && (format == Q8_0 || format == IQ4_NL);
  let codes = group + column * (quads ? 8 : 4);
  let steps = group + blocks * block_bytes(format) + column * 4;
  const next_array = blocks * columns * 4;
  const step_scale: f32 = is_k_type(format) ? 1 : HALF_SCALE / sum_unit(format);
  const bias: i16 = format == Q8_0 || format == IQ4_NL ? 64 : 0;
  const zero = zero_code(format);
  for (let block: usize = 0; block < blocks; block++) {
    const largest = block_max(x);
    const usable = largest > 1e-30;
    round_block(x, usable ? levels / largest : 0);
    const step: f32 = usable ? largest / levels : largest * 0;
    store<f32>(steps, step * step_scale);
    const first = sum_16(CODES);
    const second = sum_16(CODES + 32);
    const offsets = steps + next_array;
    store<i32>(offsets, -zero * (format == Q6_K ? first : first + second));
    if (has_minimum(format)) store<f32>(offsets + next_array, step * <f32>(first + second));
    else store<i32>(offsets + next_array, -zero * second);
    if (nibbles) {
      if (RELAXED) store_codes(codes, single);
      else store_nibble_pairs(codes, single);
    } else if (RELAXED) store_bytes(codes, single, bias);
    else if (quads) store_quads(codes, single);
    else store_pairs(codes, single);
    codes += block_bytes(format);
    steps += columns * 4;
    x += 128;
  }
}

function block_max(x: usize): f32 {
  let max_f32x4 = f32x4.abs(v128.load(x));
  for (let k: usize = 16; k < 128; k += 16) max_f32x4 = f32x4.max(max_f32x4, f32x4.abs(v128.load(x + k)));
  return max_lanes(max_f32x4);
}

/** Rounds 32 values into CODES. */
function round_block(x: usize, inverse: f32): void {
  const inverse_f32x4 = f32x4.splat(inverse);
  for (let k: usize = 0; k < 64; k += 16) {
    const a_f32x4 = f32x4.nearest(f32x4.mul(v128.load(x + k * 2), inverse_f32x4));
    const b_f32x4 = f32x4.nearest(f32x4.mul(v128.load(x + k * 2, 16), inverse_f32x4));
    const a_i32x4 = i32x4.trunc_sat_f32x4_s(a_f32x4);
    const b_i32x4 = i32x4.trunc_sat_f32x4_s(b_f32x4);
    v128.store(CODES + k, i16x8.narrow_i32x4_s(a_i32x4, b_i32x4));
  }
}

/** Of 16 codes. */
function sum_16(codes: usize): i32 {
  const sums = i32x4.extadd_pairwise_i16x8_s(i16x8.add(v128.load(codes), v128.load(codes, 16)));
  return (
    i32x4.extract_lane(sums, 0) +
    i32x4.extract_lane(sums, 1) +
    i32x4.extract_lane(sums, 2) +
    i32x4.extract_lane(sums, 3)
  );
}

function store_codes(target: usize, single: bool): void {
  for (let k: usize = 0; k < 64; k += 32) {
    store_lanes(target, single, i8x16.narrow_i16x8_s(v128.load(CODES + k), v128.load(CODES + k, 16)));
    target += 64;
  }
}

function store_bytes(target: usize, single: bool, bias: i16): void {
  const bias_i16x8 = i16x8.splat(bias);
  const low_mask = i16x8.splat(127);
  for (let k: usize = 0; k < 64; k += 32) {
    const a = v128.load(CODES + k);
    const b = v128.load(CODES + k, 16);
    const high = i8x16.narrow_i16x8_s(
      i16x8.add(i16x8.shr_s(a, 7), bias_i16x8),
      i16x8.add(i16x8.shr_s(b, 7), bias_i16x8),
    );
    const low = i8x16.narrow_i16x8_s(v128.and(a, low_mask), v128.and(b, low_mask));
    store_lanes(target, single, high);
    store_lanes(target + 128, single, low);
    target += 64;
  }
}

/** A quad of halves fills 8 bytes: a group of one repeats it once, four columns take 32 bytes. */
function store_quads(target: usize, single: bool): void {
  for (let k: usize = 0; k < 64; k += 8) {
    const quad = load<u64>(CODES + k);
    store<u64>(target, quad);
    if (single) store<u64>(target, quad, 8);
    target += single ? 16 : 32;
  }
}

/** Even and odd ones apart. */
function store_pairs(target: usize, single: bool): void {
  for (let k: usize = 0; k < 64; k += 16) {
    const codes = v128.load(CODES + k);
    const pairs = i8x16.shuffle(codes, codes, 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    store_lanes(target, single, pairs);
    target += 64;
  }
}

function store_nibble_pairs(target: usize, single: bool): void {
  const weights = i16x8(256, 256, 16, 16, 1, 1, 256, 256);
  for (let k: usize = 0; k < 32; k += 8) {
    const first = v128.load64_zero(CODES + k);
    const second = v128.load64_zero(CODES + k, 32);
    store_lanes(
      target,
      single,
      i16x8.mul(
        i8x16.shuffle(first, second, 0, 1, 4, 5, 16, 17, 20, 21, 2, 3, 6, 7, 18, 19, 22, 23),
        weights,
      ),
    );
    target += 64;
  }
}

/** Lane i goes 16·i bytes on, alone or repeated. */
// @ts-ignore: decorator
@inline
function store_lanes(target: usize, single: bool, lanes: v128): void {
  if (single) {
    v128.store(target, splat0(lanes));
    v128.store(target, splat1(lanes), 16);
    v128.store(target, splat2(lanes), 32);
    v128.store(target, splat3(lanes), 48);
  } else {
    v128.store32_lane(target, lanes, 0);
    v128.store32_lane(target, lanes, 1, 16);
    v128.store32_lane(target, lanes, 2, 32);
    v128.store32_lane(target, lanes, 3, 48);
  }
}
