/**
 * sixes with relaxed dots: one block of one column of Q6_K, four streams side by side, whose codes are widened in registers.
 * That saves half of the loads and stores of widen_6 (codes.ts) and of what follows it.
 *
 * code = 128·high + low as in bytes-relaxed.ts, whose bounds hold here too.
 */
import { dot_bytes } from "../lib/lanes";
import { HALVES, add_x1, bracket, inner_at } from "./scales";
import { SECOND_TOTALS, TOTALS } from "./sums";

// Loaded, not written as constants: V8 builds a vector constant anew at every use inside a loop.
const LOW_6: usize = memory.data<u8>([63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63], 16);
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
    let a_low = v128.load32_splat(first),
      b_low = a_low,
      c_low = a_low,
      d_low = a_low;
    let a_high = i32x4.splat(0),
      b_high = a_high,
      c_high = a_high,
      d_high = a_high;
    const end = x + 48;
    do {
      const high = v128.load(x);
      const low = v128.load(x, 128);
      let w = v128.and(v128.load(pa), low_6);
      a_high = dot_bytes(a_high, high, w);
      a_low = dot_bytes(a_low, low, w);
      w = v128.and(v128.load(pb), low_6);
      b_high = dot_bytes(b_high, high, w);
      b_low = dot_bytes(b_low, low, w);
      w = v128.and(v128.load(pc), low_6);
      c_high = dot_bytes(c_high, high, w);
      c_low = dot_bytes(c_low, low, w);
      w = v128.and(v128.load(pd), low_6);
      d_high = dot_bytes(d_high, high, w);
      d_low = dot_bytes(d_low, low, w);
      pa += 16;
      pb += 16;
      pc += 16;
      pd += 16;
      x += 16;
    } while (x < end);
    const high = v128.load(x);
    const low = v128.load(x, 128);
    let w = fourth(pa - 48);
    a_high = dot_bytes(a_high, high, w);
    a_low = dot_bytes(a_low, low, w);
    w = fourth(pb - 48);
    b_high = dot_bytes(b_high, high, w);
    b_low = dot_bytes(b_low, low, w);
    w = fourth(pc - 48);
    c_high = dot_bytes(c_high, high, w);
    c_low = dot_bytes(c_low, low, w);
    w = fourth(pd - 48);
    d_high = dot_bytes(d_high, high, w);
    d_low = dot_bytes(d_low, low, w);
    v128.store(to, i32x4.add(i32x4.shl(a_high, 7), a_low));
    v128.store(to, i32x4.add(i32x4.shl(b_high, 7), b_low), 16);
    v128.store(to, i32x4.add(i32x4.shl(c_high, 7), c_low), 32);
    v128.store(to, i32x4.add(i32x4.shl(d_high, 7), d_low), 48);
    first += next_array;
    x += 16;
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
