/**
 * q4_0 with relaxed dots: nibbles are unsigned and small, so they are the operand that must stay in 0 … 127, and the code
 * of the activation is split into two signed bytes, code = 128·high + low: 4 dots per 32 weights and column.
 */
import { dot_bytes } from "../lib/lanes";
import { ACCUMULATORS, fold, fold4 } from "./sums";
import { BLOCK_BYTES_Q4_0 } from "./tile";

const LOW_NIBBLES: usize = memory.data<u8>(
  [15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15],
  16,
);

/** Four streams side by side: a vector of codes is loaded once for 16 rows, and the memory bus has four places to go. */
export function q4_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const end = ACCUMULATORS + streams * 16;
  const low_nibbles = v128.load(LOW_NIBBLES);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 4;
  for (let n = blocks; n > 0; --n) {
    let tile_a = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 64) {
      // Where fewer than four are left the last one serves again: its surplus sums are never looked at.
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      const tile_c = sum + 32 < end ? tile_b + stride : tile_b;
      const tile_d = sum + 48 < end ? tile_c + stride : tile_c;
      let a_high = i32x4.splat(0),
        b_high = a_high,
        c_high = a_high,
        d_high = a_high;
      let a_low = v128.load32_splat(offsets),
        b_low = a_low,
        c_low = a_low,
        d_low = a_low;
      let pa = tile_a,
        pb = tile_b,
        pc = tile_c,
        pd = tile_d,
        x = group;
      const stop = tile_a + 64;
      do {
        const wa = v128.load(pa, 8);
        const wb = v128.load(pb, 8);
        const wc = v128.load(pc, 8);
        const wd = v128.load(pd, 8);
        let na = v128.and(wa, low_nibbles);
        let nb = v128.and(wb, low_nibbles);
        let nc = v128.and(wc, low_nibbles);
        let nd = v128.and(wd, low_nibbles);
        let code = v128.load(x);
        a_high = dot_bytes(a_high, code, na);
        b_high = dot_bytes(b_high, code, nb);
        c_high = dot_bytes(c_high, code, nc);
        d_high = dot_bytes(d_high, code, nd);
        code = v128.load(x, 128);
        a_low = dot_bytes(a_low, code, na);
        b_low = dot_bytes(b_low, code, nb);
        c_low = dot_bytes(c_low, code, nc);
        d_low = dot_bytes(d_low, code, nd);
        na = v128.and(i16x8.shr_u(wa, 4), low_nibbles);
        nb = v128.and(i16x8.shr_u(wb, 4), low_nibbles);
        nc = v128.and(i16x8.shr_u(wc, 4), low_nibbles);
        nd = v128.and(i16x8.shr_u(wd, 4), low_nibbles);
        code = v128.load(x, 64);
        a_high = dot_bytes(a_high, code, na);
        b_high = dot_bytes(b_high, code, nb);
        c_high = dot_bytes(c_high, code, nc);
        d_high = dot_bytes(d_high, code, nd);
        code = v128.load(x, 192);
        a_low = dot_bytes(a_low, code, na);
        b_low = dot_bytes(b_low, code, nb);
        c_low = dot_bytes(c_low, code, nc);
        d_low = dot_bytes(d_low, code, nd);
        pa += 16;
        pb += 16;
        pc += 16;
        pd += 16;
        x += 16;
      } while (pa < stop);
      const step_f32x4 = v128.load32_splat(steps);
      fold(sum, tile_a, step_f32x4, i32x4.add(i32x4.shl(a_high, 7), a_low));
      fold(sum + 16, tile_b, step_f32x4, i32x4.add(i32x4.shl(b_high, 7), b_low));
      fold(sum + 32, tile_c, step_f32x4, i32x4.add(i32x4.shl(c_high, 7), c_low));
      fold(sum + 48, tile_d, step_f32x4, i32x4.add(i32x4.shl(d_high, 7), d_low));
      tile_a = tile_d + stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 4;
    offsets += 4;
  }
}

/** Two streams at a time; the high halves of the codes first, then the low ones on top of the same sums. */
export function q4_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const low_nibbles = v128.load(LOW_NIBBLES);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 16;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    let sum = ACCUMULATORS;
    for (let left: isize = streams; left > 0; left -= 2) {
      const other = left > 1 ? tile + stride : tile;
      let a0 = i32x4.splat(0);
      let a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0;
      let x = group;
      for (let part = 0; part < 2; part++) {
        let p = tile,
          q = other;
        const end = tile + 64;
        do {
          const w = v128.load(p, 8),
            v = v128.load(q, 8);
          let w_nibbles = v128.and(w, low_nibbles),
            v_nibbles = v128.and(v, low_nibbles);
          let code = v128.load32_splat(x);
          a0 = dot_bytes(a0, code, w_nibbles);
          b0 = dot_bytes(b0, code, v_nibbles);
          code = v128.load32_splat(x, 4);
          a1 = dot_bytes(a1, code, w_nibbles);
          b1 = dot_bytes(b1, code, v_nibbles);
          code = v128.load32_splat(x, 8);
          a2 = dot_bytes(a2, code, w_nibbles);
          b2 = dot_bytes(b2, code, v_nibbles);
          code = v128.load32_splat(x, 12);
          a3 = dot_bytes(a3, code, w_nibbles);
          b3 = dot_bytes(b3, code, v_nibbles);
          w_nibbles = v128.and(i16x8.shr_u(w, 4), low_nibbles);
          v_nibbles = v128.and(i16x8.shr_u(v, 4), low_nibbles);
          code = v128.load32_splat(x, 64);
          a0 = dot_bytes(a0, code, w_nibbles);
          b0 = dot_bytes(b0, code, v_nibbles);
          code = v128.load32_splat(x, 68);
          a1 = dot_bytes(a1, code, w_nibbles);
          b1 = dot_bytes(b1, code, v_nibbles);
          code = v128.load32_splat(x, 72);
          a2 = dot_bytes(a2, code, w_nibbles);
          b2 = dot_bytes(b2, code, v_nibbles);
          code = v128.load32_splat(x, 76);
          a3 = dot_bytes(a3, code, w_nibbles);
          b3 = dot_bytes(b3, code, v_nibbles);
          p += 16;
          q += 16;
          x += 16;
        } while (p < end);
        x += 64;
        if (part == 0) {
          let offset = v128.load32_splat(offsets);
          a0 = i32x4.add(i32x4.shl(a0, 7), offset);
          b0 = i32x4.add(i32x4.shl(b0, 7), offset);
          offset = v128.load32_splat(offsets, 4);
          a1 = i32x4.add(i32x4.shl(a1, 7), offset);
          b1 = i32x4.add(i32x4.shl(b1, 7), offset);
          offset = v128.load32_splat(offsets, 8);
          a2 = i32x4.add(i32x4.shl(a2, 7), offset);
          b2 = i32x4.add(i32x4.shl(b2, 7), offset);
          offset = v128.load32_splat(offsets, 12);
          a3 = i32x4.add(i32x4.shl(a3, 7), offset);
          b3 = i32x4.add(i32x4.shl(b3, 7), offset);
        }
      }
      fold4(sum, tile, steps, a0, a1, a2, a3);
      fold4(sum + 16, other, steps, b0, b1, b2, b3);
      tile += stride * 2;
      sum += 128;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 16;
    offsets += 16;
  }
}
