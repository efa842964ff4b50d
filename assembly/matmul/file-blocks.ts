/**
 * file-blocks: where a GGUF file has the codes of 32 weights of one row; src/format/blocks.ts draws the blocks.
 *
 * Read once, when a matrix is packed.
 */
import { IQ4_NL, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, has_minimum } from "./tile";

/** Bytes of the file's block: 32 weights, or 256 of a K-type. */
export function file_block_bytes(format: i32): usize {
  if (format == Q4_1) return 20;
  if (format == Q5_0) return 22;
  if (format == Q5_1) return 24;
  if (format == IQ4_NL || format == Q4_0) return 18;
  if (format == Q4_K) return 144;
  return format == Q5_K ? 176 : 210;
}

/** Codes of block `index` (0 … 7; 0 where a block is 32 weights) of the file's block at `from`, to 32 bytes at `to`. */
export function read_codes(format: i32, from: usize, index: usize, to: usize): void {
  if (format == Q4_K) read_nibbles_64(from + 16, index, to);
  else if (format == Q5_K) {
    read_nibbles_64(from + 48, index, to);
    add_fifth_bits(to, v128.load(from, 16), v128.load(from, 32), i8x16.splat((<i8>1) << (<i8>index)));
  } else if (format == Q6_K) read_6_bits(from, index, to);
  else {
    const fifth: usize = format == Q5_0 || format == Q5_1 ? 4 : 0;
    const bits = from + (has_minimum(format) ? 4 : 2);
    const pairs = v128.load(bits + fifth);
    v128.store(to, v128.and(pairs, i8x16.splat(15)));
    v128.store(to, i8x16.shr_u(pairs, 4), 16);
    if (fifth == 0) return;
    const word = v128.load32_zero(bits);
    const low = i8x16.swizzle(word, i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    const high = i8x16.swizzle(word, i8x16(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    add_fifth_bits(to, low, high, i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128));
  }
}

/** 32 bytes hold two blocks: the low nibbles one, the high nibbles the next. */
function read_nibbles_64(nibbles: usize, index: usize, to: usize): void {
  const from = nibbles + (index >> 1) * 32;
  const shift = <i32>(index & 1) * 4;
  v128.store(to, v128.and(i8x16.shr_u(v128.load(from), shift), i8x16.splat(15)));
  v128.store(to, v128.and(i8x16.shr_u(v128.load(from, 16), shift), i8x16.splat(15)), 16);
}

/** 128 weights: 64 bytes of low nibbles, 32 of two high bits each; blocks q and q + 2 share nibbles, all four share bits. */
function read_6_bits(from: usize, index: usize, to: usize): void {
  const quarter = index & 3;
  const nibbles = from + (index >> 2) * 64 + (quarter & 1) * 32;
  const bits = from + 128 + (index >> 2) * 32;
  for (let at: usize = 0; at < 32; at += 16) {
    const low = v128.and(i8x16.shr_u(v128.load(nibbles + at), <i32>(quarter >> 1) * 4), i8x16.splat(15));
    const high = v128.and(i8x16.shr_u(v128.load(bits + at), <i32>quarter * 2), i8x16.splat(3));
    v128.store(to + at, v128.or(low, i8x16.shl(high, 4)));
  }
}

/** Adds 16 where `mask` meets the bits of `low` (the first 16 codes) and of `high`. */
// @ts-ignore: decorator
@inline
function add_fifth_bits(to: usize, low: v128, high: v128, mask: v128): void {
  const sixteen = i8x16.splat(16);
  v128.store(to, v128.or(v128.load(to), v128.and(i8x16.eq(v128.and(low, mask), mask), sixteen)));
  v128.store(to, v128.or(v128.load(to, 16), v128.and(i8x16.eq(v128.and(high, mask), mask), sixteen)), 16);
}
