/**
 * sixes without relaxed SIMD: one block of one column of Q6_K, four streams side by side, whose codes are widened in registers:
 * of a 16-bit lane the low byte is masked, the high one shifted down. Half of the operations of widening to bytes first.
 */
import { dot_halves } from "../lib/lanes";
import { HALVES, add_x1, bracket, inner_at } from "./scales";
import { SECOND_TOTALS, TOTALS } from "./sums";

// Loaded, not written as constants: V8 builds a vector constant anew at every use inside a loop.
const LOW_6: usize = memory.data<u16>([63, 63, 63, 63, 63, 63, 63, 63], 16);
const LOW_2: usize = memory.data<u8>([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], 16);
const BITS_2_3: usize = memory.data<u8>([12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12], 16);
const BITS_4_5: usize = memory.data<u8>([48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48], 16);

/** As nibbles-*.ts, with the offsets of the last 16 columns `next_array` bytes after those of the first. */
// @ts-ignore: decorator
@inline
export function dot_x1(
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
  let first = step + next_array;
  const low_6 = v128.load(LOW_6);
  for (let to = TOTALS; to <= TOTALS + SECOND_TOTALS; to += SECOND_TOTALS) {
    let a = v128.load32_splat(first),
      b = a,
      c = a,
      d = a;
    const end = x + 96;
    do {
      const wa = v128.load(pa),
        wb = v128.load(pb),
        wc = v128.load(pc),
        wd = v128.load(pd);
      let code = v128.load(x);
      a = dot_halves(a, v128.and(wa, low_6), code);
      b = dot_halves(b, v128.and(wb, low_6), code);
      c = dot_halves(c, v128.and(wc, low_6), code);
      d = dot_halves(d, v128.and(wd, low_6), code);
      code = v128.load(x, 16);
      a = dot_halves(a, v128.and(i16x8.shr_u(wa, 8), low_6), code);
      b = dot_halves(b, v128.and(i16x8.shr_u(wb, 8), low_6), code);
      c = dot_halves(c, v128.and(i16x8.shr_u(wc, 8), low_6), code);
      d = dot_halves(d, v128.and(i16x8.shr_u(wd, 8), low_6), code);
      pa += 16;
      pb += 16;
      pc += 16;
      pd += 16;
      x += 32;
    } while (x < end);
    const even = v128.load(x);
    const odd = v128.load(x, 16);
    let w = fourth(pa - 48);
    a = dot_halves(dot_halves(a, v128.and(w, low_6), even), i16x8.shr_u(w, 8), odd);
    w = fourth(pb - 48);
    b = dot_halves(dot_halves(b, v128.and(w, low_6), even), i16x8.shr_u(w, 8), odd);
    w = fourth(pc - 48);
    c = dot_halves(dot_halves(c, v128.and(w, low_6), even), i16x8.shr_u(w, 8), odd);
    w = fourth(pd - 48);
    d = dot_halves(dot_halves(d, v128.and(w, low_6), even), i16x8.shr_u(w, 8), odd);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
    first += next_array;
    x += 32;
  }
  back += 96;
  add(sum, pa - back, index, step, TOTALS);
  add(sum + 16, pb - back, index, step, TOTALS + 16);
  add(sum + 32, pc - back, index, step, TOTALS + 32);
  add(sum + 48, pd - back, index, step, TOTALS + 48);
}

// @ts-ignore: decorator
@inline
function add(sum: usize, header: usize, index: usize, step: usize, totals: usize): void {
  const total = bracket(inner_at(header, index), v128.load(totals), v128.load(totals, SECOND_TOTALS));
  add_x1(HALVES, sum, header, index, step, 0, total);
}

/** The chunk in the high bits of three. */
// @ts-ignore: decorator
@inline
function fourth(codes: usize): v128 {
  return v128.or(
    v128.and(i16x8.shr_u(v128.load(codes), 6), v128.load(LOW_2)),
    v128.or(
      v128.and(i16x8.shr_u(v128.load(codes, 16), 4), v128.load(BITS_2_3)),
      v128.and(i16x8.shr_u(v128.load(codes, 32), 2), v128.load(BITS_4_5)),
    ),
  );
}
