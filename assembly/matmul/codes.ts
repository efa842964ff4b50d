/**
 * codes: weights of 4, 5 and 6 bits, from their place in a tile to a byte each, and back.
 *
 * Wide, a block is 8 chunks of 16 bytes, byte 4r + j of chunk c = code[r, 4c + j]: what the dots of bytes-*.ts read.
 * Narrow, some chunks keep their low bits where they are, and the bits above hold the other chunks:
 *
 *     4 bits   4 vectors          the high nibbles of vector c are chunk c + 4
 *     5 bits   5 vectors A … E    3 high bits of A and 2 of B are chunk 5, of C and D chunk 6, those of E and what is left
 *                                 of B and D chunk 7: 23 operations a block (a plane of high bits takes 36)
 *     6 bits   2 · 3 vectors      the 2 high bits of three chunks are the fourth; twice, as scales change after 16
 *
 * 4 bits of IQ4_NL choose from a table of signed bytes.
 *
 * Source    kvalues_iq4nl of ggml-common.h.
 * Cost      12, 23 and 22 operations per 128 weights, once however many columns there are.
 */
import { BLOCK_BYTES_Q8_0, code_bytes } from "./tile";

/** A block of each of 16 streams: 128 bytes wide or, for IQ4_NL, a block of a Q8_0 tile. */
export const WIDE: usize = memory.data(16 * 136, 16);

// @ts-ignore: decorator
@inline
export const WIDE_BYTES: usize = 128;

const TABLE: usize = memory.data<i8>(
  [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
  16,
);

/** Widens a block of `streams` tiles, `stride` bytes apart, to WIDE. */
export function widen(format: i32, codes: usize, stride: usize, streams: usize): void {
  const bytes = code_bytes(format);
  if (bytes == 64) widen_4(codes, stride, streams);
  else if (bytes == 80) widen_5(codes, stride, streams);
  else widen_6(codes, stride, streams);
}

function widen_4(codes: usize, stride: usize, streams: usize): void {
  const nibbles = i8x16.splat(15);
  for (let to = WIDE, end = WIDE + streams * WIDE_BYTES; to < end; to += WIDE_BYTES) {
    const a = v128.load(codes);
    const b = v128.load(codes, 16);
    const c = v128.load(codes, 32);
    const d = v128.load(codes, 48);
    v128.store(to, v128.and(a, nibbles));
    v128.store(to, v128.and(b, nibbles), 16);
    v128.store(to, v128.and(c, nibbles), 32);
    v128.store(to, v128.and(d, nibbles), 48);
    v128.store(to, v128.and(i16x8.shr_u(a, 4), nibbles), 64);
    v128.store(to, v128.and(i16x8.shr_u(b, 4), nibbles), 80);
    v128.store(to, v128.and(i16x8.shr_u(c, 4), nibbles), 96);
    v128.store(to, v128.and(i16x8.shr_u(d, 4), nibbles), 112);
    codes += stride;
  }
}

function widen_5(codes: usize, stride: usize, streams: usize): void {
  const low_5 = i8x16.splat(31);
  const low_3 = i8x16.splat(7);
  const bits_3_4 = i8x16.splat(24);
  const bit_3 = i8x16.splat(8);
  const bit_4 = i8x16.splat(16);
  for (let to = WIDE, end = WIDE + streams * WIDE_BYTES; to < end; to += WIDE_BYTES) {
    const a = v128.load(codes);
    const b = v128.load(codes, 16);
    const c = v128.load(codes, 32);
    const d = v128.load(codes, 48);
    const e = v128.load(codes, 64);
    v128.store(to, v128.and(a, low_5));
    v128.store(to, v128.and(b, low_5), 16);
    v128.store(to, v128.and(c, low_5), 32);
    v128.store(to, v128.and(d, low_5), 48);
    v128.store(to, v128.and(e, low_5), 64);
    const b_3 = i16x8.shr_u(b, 3);
    const d_3 = i16x8.shr_u(d, 3);
    v128.store(to, v128.or(v128.and(i16x8.shr_u(a, 5), low_3), v128.and(b_3, bits_3_4)), 80);
    v128.store(to, v128.or(v128.and(i16x8.shr_u(c, 5), low_3), v128.and(d_3, bits_3_4)), 96);
    const rest = v128.or(v128.and(i16x8.shr_u(b, 2), bit_3), v128.and(i16x8.shr_u(d, 1), bit_4));
    v128.store(to, v128.or(v128.and(i16x8.shr_u(e, 5), low_3), rest), 112);
    codes += stride;
  }
}

function widen_6(codes: usize, stride: usize, streams: usize): void {
  const low_6 = i8x16.splat(63);
  const low_2 = i8x16.splat(3);
  const bits_2_3 = i8x16.splat(12);
  const bits_4_5 = i8x16.splat(48);
  for (let to = WIDE, end = WIDE + streams * WIDE_BYTES; to < end; to += WIDE_BYTES) {
    for (let half: usize = 0; half < 2; half++) {
      const from = codes + half * 48;
      const at = to + half * 64;
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const c = v128.load(from, 32);
      v128.store(at, v128.and(a, low_6));
      v128.store(at, v128.and(b, low_6), 16);
      v128.store(at, v128.and(c, low_6), 32);
      const low = v128.and(i16x8.shr_u(a, 6), low_2);
      const middle = v128.and(i16x8.shr_u(b, 4), bits_2_3);
      const high = v128.and(i16x8.shr_u(c, 2), bits_4_5);
      v128.store(at, v128.or(v128.or(low, middle), high), 48);
    }
    codes += stride;
  }
}

/** Looks up a block of `streams` IQ4_NL tiles, so that WIDE holds them as blocks of a Q8_0 tile, scales first. */
export function look_up(tile: usize, stride: usize, streams: usize): void {
  const nibbles = i8x16.splat(15);
  const table = v128.load(TABLE);
  for (let to = WIDE, end = WIDE + streams * BLOCK_BYTES_Q8_0; to < end; to += BLOCK_BYTES_Q8_0) {
    store<u64>(to, load<u64>(tile));
    for (let chunk: usize = 0; chunk < 64; chunk += 16) {
      const pairs = v128.load(tile + chunk, 8);
      v128.store(to + chunk, i8x16.swizzle(table, v128.and(pairs, nibbles)), 8);
      v128.store(to + chunk, i8x16.swizzle(table, v128.and(i16x8.shr_u(pairs, 4), nibbles)), 72);
    }
    tile += stride;
  }
}

/** The inverse of `widen`: the first block of WIDE to `codes`. */
export function narrow(format: i32, codes: usize): void {
  const bytes = code_bytes(format);
  if (bytes == 64) {
    for (let at: usize = 0; at < 64; at += 16) {
      v128.store(codes + at, v128.or(chunk(at), i8x16.shl(chunk(at + 64), 4)));
    }
  } else if (bytes == 80) {
    const f = chunk(80);
    const g = chunk(96);
    const h = chunk(112);
    v128.store(codes, v128.or(chunk(0), i8x16.shl(f, 5)));
    v128.store(codes + 16, join_5(chunk(16), f, i8x16.shl(h, 2)));
    v128.store(codes + 32, v128.or(chunk(32), i8x16.shl(g, 5)));
    v128.store(codes + 48, join_5(chunk(48), g, i8x16.shl(h, 1)));
    v128.store(codes + 64, v128.or(chunk(64), i8x16.shl(h, 5)));
  } else {
    for (let half: usize = 0; half < 2; half++) {
      const from = half * 64;
      const to = codes + half * 48;
      const d = chunk(from + 48);
      v128.store(to, v128.or(chunk(from), i8x16.shl(d, 6)));
      v128.store(to + 16, v128.or(chunk(from + 16), i8x16.shl(i8x16.shr_u(d, 2), 6)));
      v128.store(to + 32, v128.or(chunk(from + 32), i8x16.shl(i8x16.shr_u(d, 4), 6)));
    }
  }
}

// @ts-ignore: decorator
@inline
function chunk(at: usize): v128 {
  return v128.load(WIDE + at);
}

/** 5 bits below, bits 3 and 4 of `pair` as the highest two, and bit 5 of `single` between. */
// @ts-ignore: decorator
@inline
function join_5(low: v128, pair: v128, single: v128): v128 {
  const high = i8x16.shl(i8x16.shr_u(pair, 3), 6);
  return v128.or(v128.or(low, high), v128.and(single, i8x16.splat(32)));
}
