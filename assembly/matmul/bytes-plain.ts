/**
 * bytes without relaxed SIMD: codes are unsigned, so of a 16-bit lane the low byte is masked and the high one shifted down, and
 * pairs of halves multiplied, 8 products an instruction. The activation is paired in the same way; see activation.ts.
 */
import { dot_halves } from "../lib/lanes";
import { WIDE_BYTES } from "./codes";
import { TOTALS } from "./sums";

/** Bytes that the codes of 16 k take in a group of four columns. */
export const HALF_X4: usize = 128;

// Loaded, not written as a constant: V8 builds a vector constant anew at every use inside a loop.
const LOW_BYTES: usize = memory.data<u16>([255, 255, 255, 255, 255, 255, 255, 255], 16);

/** One column: TOTALS[stream] = first + Σ code · x, for the blocks of WIDE. */
export function dot_x1(from: usize, streams: usize, x: usize, first: usize): void {
  const low_bytes = v128.load(LOW_BYTES);
  const stop = x + 256;
  let totals = TOTALS;
  for (let end = totals + streams * 16; totals < end; totals += 64) {
    // Past the last stream, blocks of an earlier call: their sums are never looked at.
    let a = v128.load32_splat(first),
      b = a,
      c = a,
      d = a;
    let p = from,
      k = x;
    do {
      const wa = v128.load(p),
        wb = v128.load(p, 128),
        wc = v128.load(p, 256),
        wd = v128.load(p, 384);
      let code = v128.load(k);
      a = dot_halves(a, v128.and(wa, low_bytes), code);
      b = dot_halves(b, v128.and(wb, low_bytes), code);
      c = dot_halves(c, v128.and(wc, low_bytes), code);
      d = dot_halves(d, v128.and(wd, low_bytes), code);
      code = v128.load(k, 16);
      a = dot_halves(a, i16x8.shr_u(wa, 8), code);
      b = dot_halves(b, i16x8.shr_u(wb, 8), code);
      c = dot_halves(c, i16x8.shr_u(wc, 8), code);
      d = dot_halves(d, i16x8.shr_u(wd, 8), code);
      p += 16;
      k += 32;
    } while (k < stop);
    v128.store(totals, a);
    v128.store(totals, b, 16);
    v128.store(totals, c, 32);
    v128.store(totals, d, 48);
    from += WIDE_BYTES * 4;
  }
}

/** Four columns, `bytes` of each block from `from` on: totals laid out as the sums are. Two streams at a time. */
export function dot_x4(
  from: usize,
  bytes: usize,
  streams: usize,
  x: usize,
  firsts: usize,
  totals: usize,
): void {
  const low_bytes = v128.load(LOW_BYTES);
  for (let end = totals + streams * 64; totals < end; totals += 128) {
    let a0 = v128.load32_splat(firsts),
      a1 = v128.load32_splat(firsts, 4),
      a2 = v128.load32_splat(firsts, 8),
      a3 = v128.load32_splat(firsts, 12);
    let b0 = a0,
      b1 = a1,
      b2 = a2,
      b3 = a3;
    let p = from,
      k = x;
    const stop = from + bytes;
    do {
      const u = v128.load(p),
        v = v128.load(p, 128);
      let a = v128.and(u, low_bytes),
        b = v128.and(v, low_bytes);
      let code = v128.load32_splat(k);
      a0 = dot_halves(a0, a, code);
      b0 = dot_halves(b0, b, code);
      code = v128.load32_splat(k, 4);
      a1 = dot_halves(a1, a, code);
      b1 = dot_halves(b1, b, code);
      code = v128.load32_splat(k, 8);
      a2 = dot_halves(a2, a, code);
      b2 = dot_halves(b2, b, code);
      code = v128.load32_splat(k, 12);
      a3 = dot_halves(a3, a, code);
      b3 = dot_halves(b3, b, code);
      a = i16x8.shr_u(u, 8);
      b = i16x8.shr_u(v, 8);
      code = v128.load32_splat(k, 16);
      a0 = dot_halves(a0, a, code);
      b0 = dot_halves(b0, b, code);
      code = v128.load32_splat(k, 20);
      a1 = dot_halves(a1, a, code);
      b1 = dot_halves(b1, b, code);
      code = v128.load32_splat(k, 24);
      a2 = dot_halves(a2, a, code);
      b2 = dot_halves(b2, b, code);
      code = v128.load32_splat(k, 28);
      a3 = dot_halves(a3, a, code);
      b3 = dot_halves(b3, b, code);
      p += 16;
      k += 32;
    } while (p < stop);
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
