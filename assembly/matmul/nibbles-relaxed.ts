/**
 * nibbles with relaxed dots: 4-bit codes are unsigned and small, so they are the operand that must stay in 0 … 127, and the code
 * of the activation, of 8 bits, is the signed one: one dot per 16 weights and column.
 *
 * Each function does one block, of which vector c holds chunk c in its low nibbles and chunk c + 4 in its high ones (codes.ts),
 * and adds it to the sums. They are inlined into walk.ts. Of their arguments
 *
 *     pa … pd     codes of a block of each stream, `back` bytes behind its header; `index`: the block's among those of the header
 *     x           codes of the activation; `step`: its steps, then, `next_array` bytes apart, its offsets and seconds (activation.ts)
 *     kind, sum   as in scales.ts
 */
import { dot_bytes } from "../lib/lanes";
import { add_x1, add_x2, add_x4 } from "./scales";

const LOW_NIBBLES: usize = memory.data<u8>(
  [15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15],
  16,
);

/** One column, four streams side by side: a vector of codes is loaded once for 16 rows, and the memory bus has four places to go. */
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
  const low_nibbles = v128.load(LOW_NIBBLES);
  // Two sums per stream: a dot takes five cycles, and waits for the one before on the same sum.
  let a_low = v128.load32_splat(first),
    b_low = a_low,
    c_low = a_low,
    d_low = a_low;
  let a_high = i32x4.splat(0),
    b_high = a_high,
    c_high = a_high,
    d_high = a_high;
  const stop = pa + 64;
  do {
    const wa = v128.load(pa),
      wb = v128.load(pb),
      wc = v128.load(pc),
      wd = v128.load(pd);
    let code = v128.load(x);
    a_low = dot_bytes(a_low, code, v128.and(wa, low_nibbles));
    b_low = dot_bytes(b_low, code, v128.and(wb, low_nibbles));
    c_low = dot_bytes(c_low, code, v128.and(wc, low_nibbles));
    d_low = dot_bytes(d_low, code, v128.and(wd, low_nibbles));
    code = v128.load(x, 64);
    a_high = dot_bytes(a_high, code, v128.and(i16x8.shr_u(wa, 4), low_nibbles));
    b_high = dot_bytes(b_high, code, v128.and(i16x8.shr_u(wb, 4), low_nibbles));
    c_high = dot_bytes(c_high, code, v128.and(i16x8.shr_u(wc, 4), low_nibbles));
    d_high = dot_bytes(d_high, code, v128.and(i16x8.shr_u(wd, 4), low_nibbles));
    pa += 16;
    pb += 16;
    pc += 16;
    pd += 16;
    x += 16;
  } while (pa < stop);
  back += 64;
  add_x1(kind, sum, pa - back, index, step, codes, i32x4.add(a_high, a_low));
  add_x1(kind, sum + 16, pb - back, index, step, codes, i32x4.add(b_high, b_low));
  add_x1(kind, sum + 32, pc - back, index, step, codes, i32x4.add(c_high, c_low));
  add_x1(kind, sum + 48, pd - back, index, step, codes, i32x4.add(d_high, d_low));
}

/** Two columns, four streams side by side, as two pairs in the sums of four columns. */
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
  const low_nibbles = v128.load(LOW_NIBBLES);
  let a0 = v128.load32_splat(firsts),
    a1 = v128.load32_splat(firsts, 4);
  let b0 = a0,
    b1 = a1,
    c0 = a0,
    c1 = a1,
    d0 = a0,
    d1 = a1;
  const stop = pa + 64;
  do {
    const wa = v128.load(pa),
      wb = v128.load(pb),
      wc = v128.load(pc),
      wd = v128.load(pd);
    let code0 = v128.load32_splat(x),
      code1 = v128.load32_splat(x, 4);
    let nibbles = v128.and(wa, low_nibbles);
    a0 = dot_bytes(a0, code0, nibbles);
    a1 = dot_bytes(a1, code1, nibbles);
    nibbles = v128.and(wb, low_nibbles);
    b0 = dot_bytes(b0, code0, nibbles);
    b1 = dot_bytes(b1, code1, nibbles);
    nibbles = v128.and(wc, low_nibbles);
    c0 = dot_bytes(c0, code0, nibbles);
    c1 = dot_bytes(c1, code1, nibbles);
    nibbles = v128.and(wd, low_nibbles);
    d0 = dot_bytes(d0, code0, nibbles);
    d1 = dot_bytes(d1, code1, nibbles);
    code0 = v128.load32_splat(x, 64);
    code1 = v128.load32_splat(x, 68);
    nibbles = v128.and(i16x8.shr_u(wa, 4), low_nibbles);
    a0 = dot_bytes(a0, code0, nibbles);
    a1 = dot_bytes(a1, code1, nibbles);
    nibbles = v128.and(i16x8.shr_u(wb, 4), low_nibbles);
    b0 = dot_bytes(b0, code0, nibbles);
    b1 = dot_bytes(b1, code1, nibbles);
    nibbles = v128.and(i16x8.shr_u(wc, 4), low_nibbles);
    c0 = dot_bytes(c0, code0, nibbles);
    c1 = dot_bytes(c1, code1, nibbles);
    nibbles = v128.and(i16x8.shr_u(wd, 4), low_nibbles);
    d0 = dot_bytes(d0, code0, nibbles);
    d1 = dot_bytes(d1, code1, nibbles);
    pa += 16;
    pb += 16;
    pc += 16;
    pd += 16;
    x += 16;
  } while (pa < stop);
  back += 64;
  add_x2(kind, sum, pa - back, index, step, codes, a0, a1);
  add_x2(kind, sum + 16, pb - back, index, step, codes, b0, b1);
  add_x2(kind, sum + 128, pc - back, index, step, codes, c0, c1);
  add_x2(kind, sum + 144, pd - back, index, step, codes, d0, d1);
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
  const low_nibbles = v128.load(LOW_NIBBLES);
  let a0 = v128.load32_splat(firsts),
    a1 = v128.load32_splat(firsts, 4),
    a2 = v128.load32_splat(firsts, 8),
    a3 = v128.load32_splat(firsts, 12);
  let b0 = a0,
    b1 = a1,
    b2 = a2,
    b3 = a3;
  const end = p + 64;
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
  back += 64;
  add_x4(kind, sum, p - back, index, step, codes, a0, a1, a2, a3);
  add_x4(kind, sum + 16, q - back, index, step, codes, b0, b1, b2, b3);
}
