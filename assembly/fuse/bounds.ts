/**
 * bounds: −∞ for tokens that are not inside. Of bounds in one group, one must hold; of the groups, all.
 *
 *     floor   x > value, or x = value and id ≤ last        x: (vocab) f32, of any row
 *     mask    bit id mod 32 of word ⌊id / 32⌋
 *
 * Entries   of 16 bytes: x or words u32 | value f32 | last i32 | flags u32: 1 a mask, 2 the first, 4 the last of its group.
 * Cost      for each bound one pass over a block of x and of marks, both in the first-level cache.
 */
import { BLOCK } from "./block";

const IS_MASK: u32 = 1;
const IS_FIRST: u32 = 2;
const IS_LAST: u32 = 4;

/** Which tokens of a block are inside, all ones in their lanes. */
const INSIDE: usize = memory.data(2048, 16);
const ITEMS: usize = memory.data<i32>([0, 1, 2, 3], 16);
const BITS: usize = memory.data<u32>([1, 2, 4, 8], 16);

/** Tokens first … stop − 1, at most a BLOCK; what fills the last vector is overwritten. Returns the largest of what is left, by lane. */
export function cut(bounds: usize, count: usize, out: usize, first: usize, stop: usize): v128 {
  const padded = (stop + 3) & ~3;
  for (let i = stop; i < padded; i++) store<f32>(out + i * 4, -Infinity);
  let top = f32x4.splat(-Infinity);
  for (const end = bounds + count * 16; bounds < end; bounds += 16) {
    const flags = load<u32>(bounds, 12);
    if (flags & IS_FIRST) memory.fill(INSIDE, 0, BLOCK * 4);
    if (flags & IS_MASK) mark_mask(bounds, first, padded);
    else mark_floor(bounds, first, padded);
    if (flags & IS_LAST) top = apply(out, first, padded);
  }
  return top;
}

function mark_floor(bound: usize, first: usize, stop: usize): void {
  const row = <usize>load<u32>(bound);
  const value = v128.load32_splat(bound, 4);
  const last = v128.load32_splat(bound, 8);
  let inside = INSIDE;
  for (let i = first; i < stop; i += 4, inside += 16) {
    const x = v128.load(row + i * 4);
    const early = i32x4.le_s(i32x4.add(i32x4.splat(<i32>i), v128.load(ITEMS)), last);
    const holds = v128.or(f32x4.gt(x, value), v128.and(f32x4.eq(x, value), early));
    v128.store(inside, v128.or(v128.load(inside), holds));
  }
}

function mark_mask(bound: usize, first: usize, stop: usize): void {
  const words = <usize>load<u32>(bound);
  const bits = v128.load(BITS);
  let inside = INSIDE;
  for (let i = first; i < stop; i += 4, inside += 16) {
    const nibble = i32x4.splat((<u32>load<u8>(words + (i >> 3))) >> ((<u32>i) & 4));
    const holds = i32x4.eq(v128.and(nibble, bits), bits);
    v128.store(inside, v128.or(v128.load(inside), holds));
  }
}

function apply(out: usize, first: usize, stop: usize): v128 {
  let top = f32x4.splat(-Infinity);
  let inside = INSIDE;
  for (let i = first; i < stop; i += 4, inside += 16) {
    const x = v128.bitselect(v128.load(out + i * 4), f32x4.splat(-Infinity), v128.load(inside));
    v128.store(out + i * 4, x);
    top = f32x4.pmax(top, x);
  }
  return top;
}
