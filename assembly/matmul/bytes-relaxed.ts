/**
 * bytes with relaxed dots: codes of at most 6 bits are the operand that must stay in 0 … 127, and the code of the activation
 * is split into two signed bytes, code = 128·high + low. Pair sums stay below 2·127·63 = 16,002, far from 16 bits' end.
 */
import { dot_bytes } from "../lib/lanes";
import { WIDE_BYTES } from "./codes";
import { TOTALS } from "./sums";

/** Bytes that the codes of 16 k take in a group of four columns. */
export const HALF_X4: usize = 64;

/** One column: TOTALS[stream] = first + Σ code · x, for the blocks of WIDE. */
export function dot_x1(from: usize, streams: usize, x: usize, first: usize): void {
  const first_i32x4 = v128.load32_splat(first);
  const stop = x + 128;
  let totals = TOTALS;
  for (let end = totals + streams * 16; totals < end; totals += 64) {
    // Past the last stream, blocks of an earlier call: their sums are never looked at.
    let a_high = i32x4.splat(0),
      b_high = a_high,
      c_high = a_high,
      d_high = a_high;
    let a_low = first_i32x4,
      b_low = a_low,
      c_low = a_low,
      d_low = a_low;
    let p = from,
      k = x;
    do {
      const high = v128.load(k);
      const low = v128.load(k, 128);
      let w = v128.load(p);
      a_high = dot_bytes(a_high, high, w);
      a_low = dot_bytes(a_low, low, w);
      w = v128.load(p, 128);
      b_high = dot_bytes(b_high, high, w);
      b_low = dot_bytes(b_low, low, w);
      w = v128.load(p, 256);
      c_high = dot_bytes(c_high, high, w);
      c_low = dot_bytes(c_low, low, w);
      w = v128.load(p, 384);
      d_high = dot_bytes(d_high, high, w);
      d_low = dot_bytes(d_low, low, w);
      p += 16;
      k += 16;
    } while (k < stop);
    v128.store(totals, join(a_high, a_low));
    v128.store(totals, join(b_high, b_low), 16);
    v128.store(totals, join(c_high, c_low), 32);
    v128.store(totals, join(d_high, d_low), 48);
    from += WIDE_BYTES * 4;
  }
}

/** Four columns, `bytes` of each block from `from` on: totals laid out as the sums are. Two streams at a time; the high halves first, the low ones on top of them. */
export function dot_x4(
  from: usize,
  bytes: usize,
  streams: usize,
  x: usize,
  firsts: usize,
  totals: usize,
): void {
  for (let end = totals + streams * 64; totals < end; totals += 128) {
    let a0 = i32x4.splat(0);
    let a1 = a0,
      a2 = a0,
      a3 = a0,
      b0 = a0,
      b1 = a0,
      b2 = a0,
      b3 = a0;
    let k = x;
    for (let part = 0; part < 2; part++) {
      let p = from;
      const stop = from + bytes;
      do {
        const w = v128.load(p),
          v = v128.load(p, 128);
        let code = v128.load32_splat(k);
        a0 = dot_bytes(a0, code, w);
        b0 = dot_bytes(b0, code, v);
        code = v128.load32_splat(k, 4);
        a1 = dot_bytes(a1, code, w);
        b1 = dot_bytes(b1, code, v);
        code = v128.load32_splat(k, 8);
        a2 = dot_bytes(a2, code, w);
        b2 = dot_bytes(b2, code, v);
        code = v128.load32_splat(k, 12);
        a3 = dot_bytes(a3, code, w);
        b3 = dot_bytes(b3, code, v);
        p += 16;
        k += 16;
      } while (p < stop);
      k = x + 128;
      if (part == 0) {
        let first = v128.load32_splat(firsts);
        a0 = join(a0, first);
        b0 = join(b0, first);
        first = v128.load32_splat(firsts, 4);
        a1 = join(a1, first);
        b1 = join(b1, first);
        first = v128.load32_splat(firsts, 8);
        a2 = join(a2, first);
        b2 = join(b2, first);
        first = v128.load32_splat(firsts, 12);
        a3 = join(a3, first);
        b3 = join(b3, first);
      }
    }
    v128.store(totals, a0);
    v128.store(totals, b0, 16);
    v128.store(totals, a1, 32);
    v128.store(totals, b1, 48);
    v128.store(totals, a2, 64);
    v128.store(totals, b2, 80);
    v128.store(totals, a3, 96);
    v128.store(totals, b3, 112);
    from += WIDE_BYTES * 2;
  }
}

// @ts-ignore: decorator
@inline
function join(high: v128, low: v128): v128 {
  return i32x4.add(i32x4.shl(high, 7), low);
}
