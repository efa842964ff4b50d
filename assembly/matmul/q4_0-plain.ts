/**
 * q4_0 without relaxed SIMD: a 16-bit lane holds 4 nibbles. Three are multiplied where they stand (times 1, 16, 256), the
 * top one is shifted down, so 32 weights take 1 shift and 3 masks; the scales of the sums are undone by exact shifts at
 * the end of a block.
 */
import { raw_load4 } from "../lib/half";
import { dot_halves } from "../lib/lanes";
import { ACCUMULATORS, add_scaled, fold } from "./sums";
import { BLOCK_BYTES_Q4_0 } from "./tile";

const FIRST_NIBBLES: usize = memory.data<u8>([15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0], 16);

/** Two streams side by side: four kinds of nibbles need four sums a stream. */
export function q4_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const end = ACCUMULATORS + streams * 16;
  const nibble0 = v128.load(FIRST_NIBBLES);
  const nibble1 = i16x8.shl(nibble0, 4);
  const nibble2 = i16x8.shl(nibble0, 8);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 4;
  for (let n = blocks; n > 0; --n) {
    let tile_a = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 32) {
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      let a0 = v128.load32_splat(offsets),
        b0 = a0;
      let a1 = i32x4.splat(0),
        a2 = a1,
        a3 = a1,
        b1 = a1,
        b2 = a1,
        b3 = a1;
      let pa = tile_a,
        pb = tile_b,
        x = group;
      const stop = tile_a + 64;
      do {
        const wa = v128.load(pa, 8),
          wb = v128.load(pb, 8);
        let code = v128.load(x);
        a0 = dot_halves(a0, v128.and(wa, nibble0), code);
        b0 = dot_halves(b0, v128.and(wb, nibble0), code);
        code = v128.load(x, 16);
        a1 = dot_halves(a1, v128.and(wa, nibble1), code);
        b1 = dot_halves(b1, v128.and(wb, nibble1), code);
        code = v128.load(x, 32);
        a2 = dot_halves(a2, v128.and(wa, nibble2), code);
        b2 = dot_halves(b2, v128.and(wb, nibble2), code);
        code = v128.load(x, 48);
        a3 = dot_halves(a3, i16x8.shr_u(wa, 12), code);
        b3 = dot_halves(b3, i16x8.shr_u(wb, 12), code);
        pa += 16;
        pb += 16;
        x += 64;
      } while (pa < stop);
      const step_f32x4 = v128.load32_splat(steps);
      fold(sum, tile_a, step_f32x4, join(a0, a1, a2, a3));
      fold(sum + 16, tile_b, step_f32x4, join(b0, b1, b2, b3));
      tile_a = tile_b + stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 4;
    offsets += 4;
  }
}

/** One stream and two columns at a time: four kinds of nibbles need four sums a column. */
export function q4_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const nibble0 = v128.load(FIRST_NIBBLES);
  const nibble1 = i16x8.shl(nibble0, 4);
  const nibble2 = i16x8.shl(nibble0, 8);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 16;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    for (let stream: usize = 0; stream < streams; stream++) {
      let sum = ACCUMULATORS + (stream >> 1) * 128 + (stream & 1) * 16;
      const scale_f32x4 = raw_load4(tile);
      for (let column: usize = 0; column < 16; column += 8) {
        let a0 = v128.load32_splat(offsets + column),
          b0 = v128.load32_splat(offsets + column, 4);
        let a1 = i32x4.splat(0);
        let a2 = a1,
          a3 = a1,
          b1 = a1,
          b2 = a1,
          b3 = a1;
        let p = tile,
          x = group + column;
        const end = tile + 64;
        do {
          const w = v128.load(p, 8);
          let nibbles = v128.and(w, nibble0);
          a0 = dot_halves(a0, nibbles, v128.load32_splat(x));
          b0 = dot_halves(b0, nibbles, v128.load32_splat(x, 4));
          nibbles = v128.and(w, nibble1);
          a1 = dot_halves(a1, nibbles, v128.load32_splat(x, 16));
          b1 = dot_halves(b1, nibbles, v128.load32_splat(x, 20));
          nibbles = v128.and(w, nibble2);
          a2 = dot_halves(a2, nibbles, v128.load32_splat(x, 32));
          b2 = dot_halves(b2, nibbles, v128.load32_splat(x, 36));
          nibbles = i16x8.shr_u(w, 12);
          a3 = dot_halves(a3, nibbles, v128.load32_splat(x, 48));
          b3 = dot_halves(b3, nibbles, v128.load32_splat(x, 52));
          p += 16;
          x += 64;
        } while (p < end);
        add_scaled(sum, f32x4.mul(scale_f32x4, v128.load32_splat(steps + column)), join(a0, a1, a2, a3));
        add_scaled(
          sum + 32,
          f32x4.mul(scale_f32x4, v128.load32_splat(steps + column, 4)),
          join(b0, b1, b2, b3),
        );
        sum += 64;
      }
      tile += stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 16;
    offsets += 16;
  }
}

/** The sums of the four nibbles of a lane, brought to one scale. Exact: the middle two are multiples of 16 and 256. */
// @ts-ignore: decorator
@inline
function join(sum0: v128, sum1: v128, sum2: v128, sum3: v128): v128 {
  return i32x4.add(i32x4.add(sum0, sum3), i32x4.add(i32x4.shr_s(sum1, 4), i32x4.shr_s(sum2, 8)));
}
