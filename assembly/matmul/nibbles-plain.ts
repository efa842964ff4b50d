/**
 * nibbles without relaxed SIMD: 4-bit codes, of which a 16-bit lane holds four. One shift brings the odd ones to where the even ones stand;
 * then the two low ones count once and the two high ones 256 times, so each pair has a sum of its own, and the second is
 * shifted down at the end of a block (exactly: it is a multiple of 256).
 *
 * Layout, and what `blocks` and `steps` mean: as in nibbles-relaxed.ts.
 */
import { dot_halves } from "../lib/lanes";
import { ACCUMULATORS, TOTALS, fold, fold4 } from "./sums";
import { BLOCK_BYTES_Q4_0 } from "./tile";

const LOW_NIBBLES: usize = memory.data<u8>([15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0], 16);

/** One column, four streams side by side. */
export function dot_x1(
  codes: usize,
  stride: usize,
  streams: usize,
  group: usize,
  firsts: usize,
  steps: usize,
  blocks: usize,
): void {
  const sums = steps != 0 ? ACCUMULATORS : TOTALS;
  const end = sums + streams * 16;
  const low_nibbles = v128.load(LOW_NIBBLES);
  const high_nibbles = i16x8.shl(low_nibbles, 8);
  for (let n = blocks; n > 0; --n) {
    const first_i32x4 = v128.load32_splat(firsts);
    let tile_a = codes;
    for (let sum = sums; sum < end; sum += 64) {
      // Where fewer than four are left the last one serves again: its surplus sums are never looked at.
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      const tile_c = sum + 32 < end ? tile_b + stride : tile_b;
      const tile_d = sum + 48 < end ? tile_c + stride : tile_c;
      let a_low = first_i32x4,
        b_low = a_low,
        c_low = a_low,
        d_low = a_low;
      let a_high = i32x4.splat(0),
        b_high = a_high,
        c_high = a_high,
        d_high = a_high;
      let pa = tile_a,
        pb = tile_b,
        pc = tile_c,
        pd = tile_d,
        x = group;
      const stop = tile_a + 64;
      do {
        let wa = v128.load(pa),
          wb = v128.load(pb),
          wc = v128.load(pc),
          wd = v128.load(pd);
        let code = v128.load(x);
        a_low = dot_halves(a_low, v128.and(wa, low_nibbles), code);
        b_low = dot_halves(b_low, v128.and(wb, low_nibbles), code);
        c_low = dot_halves(c_low, v128.and(wc, low_nibbles), code);
        d_low = dot_halves(d_low, v128.and(wd, low_nibbles), code);
        code = v128.load(x, 32);
        a_high = dot_halves(a_high, v128.and(wa, high_nibbles), code);
        b_high = dot_halves(b_high, v128.and(wb, high_nibbles), code);
        c_high = dot_halves(c_high, v128.and(wc, high_nibbles), code);
        d_high = dot_halves(d_high, v128.and(wd, high_nibbles), code);
        wa = i16x8.shr_u(wa, 4);
        wb = i16x8.shr_u(wb, 4);
        wc = i16x8.shr_u(wc, 4);
        wd = i16x8.shr_u(wd, 4);
        code = v128.load(x, 16);
        a_low = dot_halves(a_low, v128.and(wa, low_nibbles), code);
        b_low = dot_halves(b_low, v128.and(wb, low_nibbles), code);
        c_low = dot_halves(c_low, v128.and(wc, low_nibbles), code);
        d_low = dot_halves(d_low, v128.and(wd, low_nibbles), code);
        code = v128.load(x, 48);
        a_high = dot_halves(a_high, v128.and(wa, high_nibbles), code);
        b_high = dot_halves(b_high, v128.and(wb, high_nibbles), code);
        c_high = dot_halves(c_high, v128.and(wc, high_nibbles), code);
        d_high = dot_halves(d_high, v128.and(wd, high_nibbles), code);
        pa += 16;
        pb += 16;
        pc += 16;
        pd += 16;
        x += 64;
      } while (pa < stop);
      const a = join(a_low, a_high),
        b = join(b_low, b_high);
      const c = join(c_low, c_high),
        d = join(d_low, d_high);
      if (steps != 0) {
        const step_f32x4 = v128.load32_splat(steps);
        fold(sum, tile_a - 8, step_f32x4, a);
        fold(sum + 16, tile_b - 8, step_f32x4, b);
        fold(sum + 32, tile_c - 8, step_f32x4, c);
        fold(sum + 48, tile_d - 8, step_f32x4, d);
      } else {
        v128.store(sum, a);
        v128.store(sum, b, 16);
        v128.store(sum, c, 32);
        v128.store(sum, d, 48);
      }
      tile_a = tile_d + stride;
    }
    codes += BLOCK_BYTES_Q4_0;
    group += 256;
    firsts += 4;
    if (steps != 0) steps += 4;
  }
}

/** Four columns, one stream at a time. */
export function dot_x4(
  codes: usize,
  stride: usize,
  streams: usize,
  group: usize,
  firsts: usize,
  steps: usize,
  blocks: usize,
): void {
  const low_nibbles = v128.load(LOW_NIBBLES);
  const high_nibbles = i16x8.shl(low_nibbles, 8);
  const totals = steps != 0 ? ACCUMULATORS : TOTALS;
  for (let n = blocks; n > 0; --n) {
    let tile = codes;
    for (let stream: usize = 0; stream < streams; stream++) {
      let low0 = v128.load32_splat(firsts),
        low1 = v128.load32_splat(firsts, 4);
      let low2 = v128.load32_splat(firsts, 8),
        low3 = v128.load32_splat(firsts, 12);
      let high0 = i32x4.splat(0),
        high1 = high0,
        high2 = high0,
        high3 = high0;
      let p = tile,
        x = group;
      const end = tile + 64;
      do {
        const w = v128.load(p);
        let nibbles = v128.and(w, low_nibbles);
        low0 = dot_halves(low0, nibbles, v128.load32_splat(x));
        low1 = dot_halves(low1, nibbles, v128.load32_splat(x, 4));
        low2 = dot_halves(low2, nibbles, v128.load32_splat(x, 8));
        low3 = dot_halves(low3, nibbles, v128.load32_splat(x, 12));
        nibbles = v128.and(w, high_nibbles);
        high0 = dot_halves(high0, nibbles, v128.load32_splat(x, 32));
        high1 = dot_halves(high1, nibbles, v128.load32_splat(x, 36));
        high2 = dot_halves(high2, nibbles, v128.load32_splat(x, 40));
        high3 = dot_halves(high3, nibbles, v128.load32_splat(x, 44));
        const shifted = i16x8.shr_u(w, 4);
        nibbles = v128.and(shifted, low_nibbles);
        low0 = dot_halves(low0, nibbles, v128.load32_splat(x, 16));
        low1 = dot_halves(low1, nibbles, v128.load32_splat(x, 20));
        low2 = dot_halves(low2, nibbles, v128.load32_splat(x, 24));
        low3 = dot_halves(low3, nibbles, v128.load32_splat(x, 28));
        nibbles = v128.and(shifted, high_nibbles);
        high0 = dot_halves(high0, nibbles, v128.load32_splat(x, 48));
        high1 = dot_halves(high1, nibbles, v128.load32_splat(x, 52));
        high2 = dot_halves(high2, nibbles, v128.load32_splat(x, 56));
        high3 = dot_halves(high3, nibbles, v128.load32_splat(x, 60));
        p += 16;
        x += 64;
      } while (p < end);
      const a0 = join(low0, high0),
        a1 = join(low1, high1);
      const a2 = join(low2, high2),
        a3 = join(low3, high3);
      const sum = totals + (stream >> 1) * 128 + (stream & 1) * 16;
      if (steps != 0) fold4(sum, tile - 8, steps, a0, a1, a2, a3);
      else {
        v128.store(sum, a0);
        v128.store(sum, a1, 32);
        v128.store(sum, a2, 64);
        v128.store(sum, a3, 96);
      }
      tile += stride;
    }
    codes += BLOCK_BYTES_Q4_0;
    group += 256;
    firsts += 16;
    if (steps != 0) steps += 16;
  }
}

// @ts-ignore: decorator
@inline
function join(low: v128, high: v128): v128 {
  return i32x4.add(low, i32x4.shr_s(high, 8));
}
