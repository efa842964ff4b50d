/**
 * bytes without relaxed SIMD: codes are widened as they are loaded, and pairs of halves multiplied. A chunk of 16 bytes
 * gives two vectors, rows 0-1 and rows 2-3, with two partial sums a row: they are added across at the end.
 */
import { add_pairs, dot_halves } from "../lib/lanes";
import { WIDE_BYTES } from "./codes";

/** Bytes that the codes of 16 k take in a group of four columns; 64 in a group of one. */
export const HALF_X4: usize = 128;

/** One column: totals[stream] = first + Σ code · x, for `bytes` of each block of WIDE from `from` on. */
export function dot_x1(
  from: usize,
  bytes: usize,
  streams: usize,
  x: usize,
  first: usize,
  totals: usize,
): void {
  const first_i32x4 = v128.load32_splat(first);
  const stop = x + bytes;
  for (let end = totals + streams * 16; totals < end; totals += 64) {
    // Past the last stream, blocks of an earlier call: their sums are never looked at.
    let a = i32x4.splat(0),
      b = a,
      c = a,
      d = a;
    let a2 = a,
      b2 = a,
      c2 = a,
      d2 = a;
    let p = from,
      k = x;
    do {
      const code = v128.load(k);
      a = dot_halves(a, v128.load8x8_u(p), code);
      a2 = dot_halves(a2, v128.load8x8_u(p, 8), code);
      b = dot_halves(b, v128.load8x8_u(p, 128), code);
      b2 = dot_halves(b2, v128.load8x8_u(p, 136), code);
      c = dot_halves(c, v128.load8x8_u(p, 256), code);
      c2 = dot_halves(c2, v128.load8x8_u(p, 264), code);
      d = dot_halves(d, v128.load8x8_u(p, 384), code);
      d2 = dot_halves(d2, v128.load8x8_u(p, 392), code);
      p += 16;
      k += 16;
    } while (k < stop);
    v128.store(totals, i32x4.add(add_pairs(a, a2), first_i32x4));
    v128.store(totals, i32x4.add(add_pairs(b, b2), first_i32x4), 16);
    v128.store(totals, i32x4.add(add_pairs(c, c2), first_i32x4), 32);
    v128.store(totals, i32x4.add(add_pairs(d, d2), first_i32x4), 48);
    from += WIDE_BYTES * 4;
  }
}

/** Four columns: totals laid out as the sums are. */
export function dot_x4(
  from: usize,
  bytes: usize,
  streams: usize,
  x: usize,
  firsts: usize,
  totals: usize,
): void {
  for (let stream: usize = 0; stream < streams; stream++) {
    let a0 = i32x4.splat(0);
    let a1 = a0,
      a2 = a0,
      a3 = a0,
      b0 = a0,
      b1 = a0,
      b2 = a0,
      b3 = a0;
    let p = from,
      k = x;
    const stop = from + bytes;
    do {
      const w = v128.load8x8_u(p),
        v = v128.load8x8_u(p, 8);
      let code = v128.load64_splat(k);
      a0 = dot_halves(a0, w, code);
      b0 = dot_halves(b0, v, code);
      code = v128.load64_splat(k, 8);
      a1 = dot_halves(a1, w, code);
      b1 = dot_halves(b1, v, code);
      code = v128.load64_splat(k, 16);
      a2 = dot_halves(a2, w, code);
      b2 = dot_halves(b2, v, code);
      code = v128.load64_splat(k, 24);
      a3 = dot_halves(a3, w, code);
      b3 = dot_halves(b3, v, code);
      p += 16;
      k += 32;
    } while (p < stop);
    const sum = totals + (stream >> 1) * 128 + (stream & 1) * 16;
    v128.store(sum, i32x4.add(add_pairs(a0, b0), v128.load32_splat(firsts)));
    v128.store(sum, i32x4.add(add_pairs(a1, b1), v128.load32_splat(firsts, 4)), 32);
    v128.store(sum, i32x4.add(add_pairs(a2, b2), v128.load32_splat(firsts, 8)), 64);
    v128.store(sum, i32x4.add(add_pairs(a3, b3), v128.load32_splat(firsts, 12)), 96);
    from += WIDE_BYTES;
  }
}
