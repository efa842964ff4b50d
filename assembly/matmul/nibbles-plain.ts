/**
 * nibbles without relaxed SIMD: 4-bit codes, of which a 16-bit lane holds four. Three are masked and not moved, so they count
 * 1, 16 and 256 times; the fourth is shifted down and counts once. What each is multiplied with is held 256, 16, 1 and 256 times
 * as large (see activation.ts), so that all products are 256 times theirs; the total is shifted down in the end, exactly.
 *
 * Arguments as in nibbles-relaxed.ts.
 */
import { dot_halves } from "../lib/lanes";
import { add_x1, add_x2, add_x4 } from "./scales";

const FIRST_NIBBLES: usize = memory.data<u16>([15, 15, 15, 15, 15, 15, 15, 15], 16);

/** One column, four streams side by side. */
// @ts-ignore: decorator
@inline
export function dot_x1(
  kind: i32,
  pa: usize,
  pb: usize,
  pc: usize,
  pd: usize,
  x: usize,
  step: usize,
  next_array: usize,
  sum: usize,
  back: usize,
  index: usize,
): void {
  const first = step + next_array;
  const codes = first + next_array;
  const nibbles_0 = v128.load(FIRST_NIBBLES);
  const nibbles_1 = i16x8.shl(nibbles_0, 4);
  const nibbles_2 = i16x8.shl(nibbles_0, 8);
  let a = i32x4.shl(v128.load32_splat(first), 8),
    b = a,
    c = a,
    d = a;
  const stop = pa + 64;
  do {
    const wa = v128.load(pa),
      wb = v128.load(pb),
      wc = v128.load(pc),
      wd = v128.load(pd);
    let code = v128.load(x);
    a = dot_halves(a, v128.and(wa, nibbles_0), code);
    b = dot_halves(b, v128.and(wb, nibbles_0), code);
    c = dot_halves(c, v128.and(wc, nibbles_0), code);
    d = dot_halves(d, v128.and(wd, nibbles_0), code);
    code = v128.load(x, 16);
    a = dot_halves(a, v128.and(wa, nibbles_1), code);
    b = dot_halves(b, v128.and(wb, nibbles_1), code);
    c = dot_halves(c, v128.and(wc, nibbles_1), code);
    d = dot_halves(d, v128.and(wd, nibbles_1), code);
    code = v128.load(x, 32);
    a = dot_halves(a, v128.and(wa, nibbles_2), code);
    b = dot_halves(b, v128.and(wb, nibbles_2), code);
    c = dot_halves(c, v128.and(wc, nibbles_2), code);
    d = dot_halves(d, v128.and(wd, nibbles_2), code);
    code = v128.load(x, 48);
    a = dot_halves(a, i16x8.shr_u(wa, 12), code);
    b = dot_halves(b, i16x8.shr_u(wb, 12), code);
    c = dot_halves(c, i16x8.shr_u(wc, 12), code);
    d = dot_halves(d, i16x8.shr_u(wd, 12), code);
    pa += 16;
    pb += 16;
    pc += 16;
    pd += 16;
    x += 64;
  } while (pa < stop);
  back += 64;
  add_x1(kind, sum, pa - back, index, step, codes, i32x4.shr_s(a, 8));
  add_x1(kind, sum + 16, pb - back, index, step, codes, i32x4.shr_s(b, 8));
  add_x1(kind, sum + 32, pc - back, index, step, codes, i32x4.shr_s(c, 8));
  add_x1(kind, sum + 48, pd - back, index, step, codes, i32x4.shr_s(d, 8));
}

/** Two columns, four streams, two of them at a time. */
// @ts-ignore: decorator
@inline
export function dot_x2(
  kind: i32,
  pa: usize,
  pb: usize,
  pc: usize,
  pd: usize,
  x: usize,
  step: usize,
  next_array: usize,
  sum: usize,
  back: usize,
  index: usize,
): void {
  const firsts = step + next_array;
  const codes = firsts + next_array;
  const nibbles_0 = v128.load(FIRST_NIBBLES);
  const nibbles_1 = i16x8.shl(nibbles_0, 4);
  const nibbles_2 = i16x8.shl(nibbles_0, 8);
  for (let pair = 0; pair < 2; pair++) {
    let p = pair == 0 ? pa : pc,
      q = pair == 0 ? pb : pd,
      at = x;
    let a0 = i32x4.shl(v128.load32_splat(firsts), 8),
      a1 = i32x4.shl(v128.load32_splat(firsts, 4), 8);
    let b0 = a0,
      b1 = a1;
    const end = p + 64;
    do {
      const w = v128.load(p),
        v = v128.load(q);
      let code0 = v128.load32_splat(at),
        code1 = v128.load32_splat(at, 4);
      let nibbles = v128.and(w, nibbles_0);
      a0 = dot_halves(a0, nibbles, code0);
      a1 = dot_halves(a1, nibbles, code1);
      nibbles = v128.and(v, nibbles_0);
      b0 = dot_halves(b0, nibbles, code0);
      b1 = dot_halves(b1, nibbles, code1);
      code0 = v128.load32_splat(at, 16);
      code1 = v128.load32_splat(at, 20);
      nibbles = v128.and(w, nibbles_1);
      a0 = dot_halves(a0, nibbles, code0);
      a1 = dot_halves(a1, nibbles, code1);
      nibbles = v128.and(v, nibbles_1);
      b0 = dot_halves(b0, nibbles, code0);
      b1 = dot_halves(b1, nibbles, code1);
      code0 = v128.load32_splat(at, 32);
      code1 = v128.load32_splat(at, 36);
      nibbles = v128.and(w, nibbles_2);
      a0 = dot_halves(a0, nibbles, code0);
      a1 = dot_halves(a1, nibbles, code1);
      nibbles = v128.and(v, nibbles_2);
      b0 = dot_halves(b0, nibbles, code0);
      b1 = dot_halves(b1, nibbles, code1);
      code0 = v128.load32_splat(at, 48);
      code1 = v128.load32_splat(at, 52);
      nibbles = i16x8.shr_u(w, 12);
      a0 = dot_halves(a0, nibbles, code0);
      a1 = dot_halves(a1, nibbles, code1);
      nibbles = i16x8.shr_u(v, 12);
      b0 = dot_halves(b0, nibbles, code0);
      b1 = dot_halves(b1, nibbles, code1);
      p += 16;
      q += 16;
      at += 64;
    } while (p < end);
    add_x2(kind, sum, p - back - 64, index, step, codes, i32x4.shr_s(a0, 8), i32x4.shr_s(a1, 8));
    add_x2(kind, sum + 16, q - back - 64, index, step, codes, i32x4.shr_s(b0, 8), i32x4.shr_s(b1, 8));
    sum += 128;
  }
}

/** Four columns, two streams. */
// @ts-ignore: decorator
@inline
export function dot_x4(
  kind: i32,
  p: usize,
  q: usize,
  x: usize,
  step: usize,
  next_array: usize,
  sum: usize,
  back: usize,
  index: usize,
): void {
  const firsts = step + next_array;
  const codes = firsts + next_array;
  const nibbles_0 = v128.load(FIRST_NIBBLES);
  const nibbles_1 = i16x8.shl(nibbles_0, 4);
  const nibbles_2 = i16x8.shl(nibbles_0, 8);
  for (let stream = 0; stream < 2; stream++) {
    let at = x;
    let a0 = i32x4.shl(v128.load32_splat(firsts), 8),
      a1 = i32x4.shl(v128.load32_splat(firsts, 4), 8),
      a2 = i32x4.shl(v128.load32_splat(firsts, 8), 8),
      a3 = i32x4.shl(v128.load32_splat(firsts, 12), 8);
    const end = p + 64;
    do {
      const w = v128.load(p);
      let nibbles = v128.and(w, nibbles_0);
      a0 = dot_halves(a0, nibbles, v128.load32_splat(at));
      a1 = dot_halves(a1, nibbles, v128.load32_splat(at, 4));
      a2 = dot_halves(a2, nibbles, v128.load32_splat(at, 8));
      a3 = dot_halves(a3, nibbles, v128.load32_splat(at, 12));
      nibbles = v128.and(w, nibbles_1);
      a0 = dot_halves(a0, nibbles, v128.load32_splat(at, 16));
      a1 = dot_halves(a1, nibbles, v128.load32_splat(at, 20));
      a2 = dot_halves(a2, nibbles, v128.load32_splat(at, 24));
      a3 = dot_halves(a3, nibbles, v128.load32_splat(at, 28));
      nibbles = v128.and(w, nibbles_2);
      a0 = dot_halves(a0, nibbles, v128.load32_splat(at, 32));
      a1 = dot_halves(a1, nibbles, v128.load32_splat(at, 36));
      a2 = dot_halves(a2, nibbles, v128.load32_splat(at, 40));
      a3 = dot_halves(a3, nibbles, v128.load32_splat(at, 44));
      nibbles = i16x8.shr_u(w, 12);
      a0 = dot_halves(a0, nibbles, v128.load32_splat(at, 48));
      a1 = dot_halves(a1, nibbles, v128.load32_splat(at, 52));
      a2 = dot_halves(a2, nibbles, v128.load32_splat(at, 56));
      a3 = dot_halves(a3, nibbles, v128.load32_splat(at, 60));
      p += 16;
      at += 64;
    } while (p < end);
    a0 = i32x4.shr_s(a0, 8);
    a1 = i32x4.shr_s(a1, 8);
    a2 = i32x4.shr_s(a2, 8);
    a3 = i32x4.shr_s(a3, 8);
    add_x4(kind, sum, p - back - 64, index, step, codes, a0, a1, a2, a3);
    p = q;
    sum += 16;
  }
}
