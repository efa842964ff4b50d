/**
 * sixes with relaxed dots: 6-bit codes of 16 columns widened in registers and multiplied there. For one column this saves
 * half of the loads and stores of widen_6 (codes.ts) and what follows it; the codes of the activation stay in registers.
 *
 * code = 128·high + low as in bytes-relaxed.ts, whose bounds hold here too.
 */
import { dot_bytes } from "../lib/lanes";
import { SECOND_TOTALS, TOTALS } from "./sums";

// Loaded, not written as constants: V8 builds a vector constant anew at every use inside a loop.
const LOW_6: usize = memory.data<u8>([63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63], 16);
const LOW_2: usize = memory.data<u8>([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], 16);
const BITS_2_3: usize = memory.data<u8>([12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12], 16);
const BITS_4_5: usize = memory.data<u8>([48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48], 16);

/** One column, four streams side by side: totals[stream] = first + Σ code · x over 16 columns, whose codes are at `codes`. */
export function dot_x1(
  codes: usize,
  stride: usize,
  streams: usize,
  x: usize,
  first: usize,
  second: usize,
): void {
  const low_6 = v128.load(LOW_6);
  let totals = TOTALS;
  let pa = codes;
  const end = totals + streams * 16;
  for (; totals < end; totals += 64) {
    let pb = totals + 16 < end ? pa + stride : pa;
    let pc = totals + 32 < end ? pb + stride : pb;
    let pd = totals + 48 < end ? pc + stride : pc;
    const next = pd + stride;
    let k = x;
    let to = totals;
    let firsts = first;
    for (let half = 0; half < 2; half++) {
      const first_i32x4 = v128.load32_splat(firsts);
      let a_high = i32x4.splat(0),
        b_high = a_high,
        c_high = a_high,
        d_high = a_high;
      let a_low = first_i32x4,
        b_low = a_low,
        c_low = a_low,
        d_low = a_low;
      const k_end = k + 48;
      do {
        const high = v128.load(k);
        const low = v128.load(k, 128);
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
        k += 16;
      } while (k < k_end);
      const high = v128.load(k);
      const low = v128.load(k, 128);
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
      to += SECOND_TOTALS;
      firsts = second;
      k += 16;
    }
    pa = next;
  }
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
