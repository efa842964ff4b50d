/**
 * nibbles with relaxed dots: 4-bit codes are unsigned and small, so they are the operand that must stay in 0 … 127, and the code
 * of the activation is split into two signed bytes, code = 128·high + low: 2 dots per 16 weights and column.
 *
 * Vector c of a block holds chunk c in its low nibbles and chunk c + 4 in its high ones; see codes.ts. Of Q4_0 all `blocks`
 * are done at once and join the sums with their scales, which stand before the codes. Of other formats, called with `steps`
 * 0, one block is done and its totals are left in TOTALS, for scales.ts.
 */
import { dot_bytes } from "../lib/lanes";
import { ACCUMULATORS, TOTALS, fold, fold4 } from "./sums";
import { BLOCK_BYTES_Q4_0 } from "./tile";

const LOW_NIBBLES: usize = memory.data<u8>(
  [15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15],
  16,
);

/** One column, four streams side by side: a vector of codes is loaded once for 16 rows, and the memory bus has four places to go. */
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
  for (let n = blocks; n > 0; --n) {
    const first_i32x4 = v128.load32_splat(firsts);
    let tile_a = codes;
    for (let sum = sums; sum < end; sum += 64) {
      // Where fewer than four are left the last one serves again: its surplus sums are never looked at.
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      const tile_c = sum + 32 < end ? tile_b + stride : tile_b;
      const tile_d = sum + 48 < end ? tile_c + stride : tile_c;
      let a_high = i32x4.splat(0),
        b_high = a_high,
        c_high = a_high,
        d_high = a_high;
      let a_low = first_i32x4,
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
        const wa = v128.load(pa);
        const wb = v128.load(pb);
        const wc = v128.load(pc);
        const wd = v128.load(pd);
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
      const a = i32x4.add(i32x4.shl(a_high, 7), a_low),
        b = i32x4.add(i32x4.shl(b_high, 7), b_low);
      const c = i32x4.add(i32x4.shl(c_high, 7), c_low),
        d = i32x4.add(i32x4.shl(d_high, 7), d_low);
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

/** Four columns, two streams at a time; the high halves of the codes first, then the low ones on top of the same sums. */
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
  for (let n = blocks; n > 0; --n) {
    let tile = codes;
    let totals = steps != 0 ? ACCUMULATORS : TOTALS;
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
          const w = v128.load(p),
            v = v128.load(q);
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
          let offset = v128.load32_splat(firsts);
          a0 = i32x4.add(i32x4.shl(a0, 7), offset);
          b0 = i32x4.add(i32x4.shl(b0, 7), offset);
          offset = v128.load32_splat(firsts, 4);
          a1 = i32x4.add(i32x4.shl(a1, 7), offset);
          b1 = i32x4.add(i32x4.shl(b1, 7), offset);
          offset = v128.load32_splat(firsts, 8);
          a2 = i32x4.add(i32x4.shl(a2, 7), offset);
          b2 = i32x4.add(i32x4.shl(b2, 7), offset);
          offset = v128.load32_splat(firsts, 12);
          a3 = i32x4.add(i32x4.shl(a3, 7), offset);
          b3 = i32x4.add(i32x4.shl(b3, 7), offset);
        }
      }
      if (steps != 0) {
        fold4(totals, tile - 8, steps, a0, a1, a2, a3);
        fold4(totals + 16, other - 8, steps, b0, b1, b2, b3);
      } else {
        v128.store(totals, a0);
        v128.store(totals, a1, 32);
        v128.store(totals, a2, 64);
        v128.store(totals, a3, 96);
        v128.store(totals, b0, 16);
        v128.store(totals, b1, 48);
        v128.store(totals, b2, 80);
        v128.store(totals, b3, 112);
      }
      tile += stride * 2;
      totals += 128;
    }
    codes += BLOCK_BYTES_Q4_0;
    group += 256;
    firsts += 16;
    if (steps != 0) steps += 16;
  }
}
