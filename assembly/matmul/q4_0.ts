/**
 * q4_0: y = W x over 4-bit blocks.
 *
 *     y[r]  =  Σ_b  (scale[r,b] · step[b]) · (Σ_{k in b} nibble[r,k] · code[k]  −  8 · Σ_{k in b} code[k])
 *
 * The bracket is exact in 32-bit integers; the offset −8·Σ code comes with the activation and starts the sum.
 *
 * Format    GGUF Q4_0: blocks of 32, w = scale (f16) · (nibble − 8); byte j holds weight j (low) and j + 16 (high).
 * Layout    tile of 4 rows: per block 4 scales (f16), then 4 chunks of 16 bytes; byte 4r + j of chunk c is the file's
 *           byte 4c + j of row r.
 * Shapes    as in q8_0.ts.
 * Accuracy  that of the 14-bit activation.
 * Cost      0.5625 bytes a weight. Relaxed: 4 dots per 32 weights and column. Plain: a 16-bit lane holds 4 nibbles, taken
 *           where they stand (times 1, 16, 256) or shifted down (the top one), so 1 shift and 3 masks per 32 weights;
 *           the three scales of the sums are undone by exact shifts at the end of the block.
 */
import { RELAXED, dot_bytes, dot_halves } from "../lib/lanes";
import { raw_load4 } from "../lib/half";
import { ACCUMULATORS } from "./bands";

export const BLOCK_BYTES_Q4_0: usize = 72;

const LOW_NIBBLES: usize = memory.data<u8>(
  [15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15],
  16,
);
const FIRST_NIBBLES: usize = memory.data<u8>([15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0], 16);

/** Rearranges 4 rows of GGUF blocks, `row_bytes` apart, into one tile. */
export function pack_q4_0(source: usize, row_bytes: usize, tile: usize, blocks: usize): void {
  for (let block: usize = 0; block < blocks; block++) {
    for (let row: usize = 0; row < 4; row++) {
      const from = source + row * row_bytes + block * 18;
      store<u16>(tile + row * 2, load<u16>(from));
      for (let chunk: usize = 0; chunk < 4; chunk++) {
        store<u32>(tile + row * 4 + chunk * 16, load<u32>(from + chunk * 4, 2), 8);
      }
    }
    tile += BLOCK_BYTES_Q4_0;
  }
}

/** Row `row` (0 … 3) of a tile as f32, (blocks · 32). */
export function unpack_q4_0(tile: usize, row: usize, out: usize, blocks: usize): void {
  for (let block: usize = 0; block < blocks; block++) {
    const scales_f32x4 = raw_load4(tile);
    v128.store(ACCUMULATORS, scales_f32x4);
    const scale_f32x4 = v128.load32_splat(ACCUMULATORS + row * 4);
    for (let chunk: usize = 0; chunk < 64; chunk += 16) {
      const bytes = v128.load32_zero(tile + row * 4 + chunk, 8);
      const wide = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes));
      store_weights(out, v128.and(wide, i32x4.splat(15)), scale_f32x4);
      store_weights(out + 64, i32x4.shr_u(wide, 4), scale_f32x4);
      out += 16;
    }
    out += 64;
    tile += BLOCK_BYTES_Q4_0;
  }
}

// @ts-ignore: decorator
@inline
function store_weights(out: usize, nibbles: v128, scale_f32x4: v128): void {
  const weights_f32x4 = f32x4.convert_i32x4_s(i32x4.sub(nibbles, i32x4.splat(8)));
  v128.store(
    out,
    f32x4.mul(f32x4.mul(weights_f32x4, scale_f32x4), f32x4.splat(reinterpret<f32>(0x77800000))),
  );
}

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function q4_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  if (RELAXED) q4_0_x1_relaxed(weights, stride, streams, group, blocks);
  else q4_0_x1_plain(weights, stride, streams, group, blocks);
}

/** Four streams side by side: a vector of codes is loaded once for 16 rows, and the memory bus has four places to go. */
// @ts-ignore: decorator
@inline
function q4_0_x1_relaxed(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const end = ACCUMULATORS + streams * 16;
  const low_nibbles = v128.load(LOW_NIBBLES);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 4;
  for (let n = blocks; n > 0; --n) {
    let tile_a = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 64) {
      // Where fewer than four are left the last one serves again: its surplus sums are never looked at.
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      const tile_c = sum + 32 < end ? tile_b + stride : tile_b;
      const tile_d = sum + 48 < end ? tile_c + stride : tile_c;
      let a_high = i32x4.splat(0),
        b_high = a_high,
        c_high = a_high,
        d_high = a_high;
      let a_low = v128.load32_splat(offsets),
        b_low = a_low,
        c_low = a_low,
        d_low = a_low;
      let pa = tile_a,
        pb = tile_b,
        pc = tile_c,
        pd = tile_d,
        x = group;
      const stop = tile_a + 64;
      do {
        const wa = v128.load(pa, 8);
        const wb = v128.load(pb, 8);
        const wc = v128.load(pc, 8);
        const wd = v128.load(pd, 8);
        let na = v128.and(wa, low_nibbles);
        let nb = v128.and(wb, low_nibbles);
        let nc = v128.and(wc, low_nibbles);
        let nd = v128.and(wd, low_nibbles);
        let code = v128.load(x);
        a_high = dot_bytes(a_high, code, na);
        b_high = dot_bytes(b_high, code, nb);
        c_high = dot_bytes(c_high, code, nc);
        d_high = dot_bytes(d_high, code, nd);
        code = v128.load(x, 128);
        a_low = dot_bytes(a_low, code, na);
        b_low = dot_bytes(b_low, code, nb);
        c_low = dot_bytes(c_low, code, nc);
        d_low = dot_bytes(d_low, code, nd);
        na = v128.and(i16x8.shr_u(wa, 4), low_nibbles);
        nb = v128.and(i16x8.shr_u(wb, 4), low_nibbles);
        nc = v128.and(i16x8.shr_u(wc, 4), low_nibbles);
        nd = v128.and(i16x8.shr_u(wd, 4), low_nibbles);
        code = v128.load(x, 64);
        a_high = dot_bytes(a_high, code, na);
        b_high = dot_bytes(b_high, code, nb);
        c_high = dot_bytes(c_high, code, nc);
        d_high = dot_bytes(d_high, code, nd);
        code = v128.load(x, 192);
        a_low = dot_bytes(a_low, code, na);
        b_low = dot_bytes(b_low, code, nb);
        c_low = dot_bytes(c_low, code, nc);
        d_low = dot_bytes(d_low, code, nd);
        pa += 16;
        pb += 16;
        pc += 16;
        pd += 16;
        x += 16;
      } while (pa < stop);
      const step_f32x4 = v128.load32_splat(steps);
      fold(sum, f32x4.mul(raw_load4(tile_a), step_f32x4), i32x4.add(i32x4.shl(a_high, 7), a_low));
      fold(sum + 16, f32x4.mul(raw_load4(tile_b), step_f32x4), i32x4.add(i32x4.shl(b_high, 7), b_low));
      fold(sum + 32, f32x4.mul(raw_load4(tile_c), step_f32x4), i32x4.add(i32x4.shl(c_high, 7), c_low));
      fold(sum + 48, f32x4.mul(raw_load4(tile_d), step_f32x4), i32x4.add(i32x4.shl(d_high, 7), d_low));
      tile_a = tile_d + stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 4;
    offsets += 4;
  }
}

/** Two streams side by side: four kinds of nibbles need four sums a stream. */
// @ts-ignore: decorator
@inline
function q4_0_x1_plain(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const end = ACCUMULATORS + streams * 16;
  const nibble0 = v128.load(FIRST_NIBBLES);
  const nibble1 = i16x8.shl(nibble0, 4);
  const nibble2 = i16x8.shl(nibble0, 8);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 4;
  for (let n = blocks; n > 0; --n) {
    let tile_a = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 32) {
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      let a0 = v128.load32_splat(offsets),
        b0 = a0;
      let a1 = i32x4.splat(0),
        a2 = a1,
        a3 = a1,
        b1 = a1,
        b2 = a1,
        b3 = a1;
      let pa = tile_a,
        pb = tile_b,
        x = group;
      const stop = tile_a + 64;
      do {
        const wa = v128.load(pa, 8),
          wb = v128.load(pb, 8);
        let code = v128.load(x);
        a0 = dot_halves(a0, v128.and(wa, nibble0), code);
        b0 = dot_halves(b0, v128.and(wb, nibble0), code);
        code = v128.load(x, 16);
        a1 = dot_halves(a1, v128.and(wa, nibble1), code);
        b1 = dot_halves(b1, v128.and(wb, nibble1), code);
        code = v128.load(x, 32);
        a2 = dot_halves(a2, v128.and(wa, nibble2), code);
        b2 = dot_halves(b2, v128.and(wb, nibble2), code);
        code = v128.load(x, 48);
        a3 = dot_halves(a3, i16x8.shr_u(wa, 12), code);
        b3 = dot_halves(b3, i16x8.shr_u(wb, 12), code);
        pa += 16;
        pb += 16;
        x += 64;
      } while (pa < stop);
      const step_f32x4 = v128.load32_splat(steps);
      fold(sum, f32x4.mul(raw_load4(tile_a), step_f32x4), join(a0, a1, a2, a3));
      fold(sum + 16, f32x4.mul(raw_load4(tile_b), step_f32x4), join(b0, b1, b2, b3));
      tile_a = tile_b + stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 4;
    offsets += 4;
  }
}

/** Four columns. Leaves 4 sums per stream and column in ACCUMULATORS, [pair of streams][column][2]. */
export function q4_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  if (RELAXED) q4_0_x4_relaxed(weights, stride, streams, group, blocks);
  else q4_0_x4_plain(weights, stride, streams, group, blocks);
}

/** Two streams at a time; the high halves of the codes first, then the low ones on top of the same sums. */
// @ts-ignore: decorator
@inline
function q4_0_x4_relaxed(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const low_nibbles = v128.load(LOW_NIBBLES);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 16;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    let sum = ACCUMULATORS;
    for (let left: isize = streams; left > 0; left -= 2) {
      const other = left > 1 ? tile + stride : tile;
      let a0 = i32x4.splat(0);
      let a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0;
      let x = group;
      for (let part = 0; part < 2; part++) {
        let p = tile,
          q = other;
        const end = tile + 64;
        do {
          const w = v128.load(p, 8),
            v = v128.load(q, 8);
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
        x += 64;
        if (part == 0) {
          let offset = v128.load32_splat(offsets);
          a0 = i32x4.add(i32x4.shl(a0, 7), offset);
          b0 = i32x4.add(i32x4.shl(b0, 7), offset);
          offset = v128.load32_splat(offsets, 4);
          a1 = i32x4.add(i32x4.shl(a1, 7), offset);
          b1 = i32x4.add(i32x4.shl(b1, 7), offset);
          offset = v128.load32_splat(offsets, 8);
          a2 = i32x4.add(i32x4.shl(a2, 7), offset);
          b2 = i32x4.add(i32x4.shl(b2, 7), offset);
          offset = v128.load32_splat(offsets, 12);
          a3 = i32x4.add(i32x4.shl(a3, 7), offset);
          b3 = i32x4.add(i32x4.shl(b3, 7), offset);
        }
      }
      fold4(sum, raw_load4(tile), steps, a0, a1, a2, a3);
      fold4(sum + 16, raw_load4(other), steps, b0, b1, b2, b3);
      tile += stride * 2;
      sum += 128;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 16;
    offsets += 16;
  }
}

/** One stream and two columns at a time: four kinds of nibbles need four sums a column. */
// @ts-ignore: decorator
@inline
function q4_0_x4_plain(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const nibble0 = v128.load(FIRST_NIBBLES);
  const nibble1 = i16x8.shl(nibble0, 4);
  const nibble2 = i16x8.shl(nibble0, 8);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 16;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    for (let stream: usize = 0; stream < streams; stream++) {
      let sum = ACCUMULATORS + (stream >> 1) * 128 + (stream & 1) * 16;
      const scale_f32x4 = raw_load4(tile);
      for (let column: usize = 0; column < 16; column += 8) {
        let a0 = v128.load32_splat(offsets + column),
          b0 = v128.load32_splat(offsets + column, 4);
        let a1 = i32x4.splat(0);
        let a2 = a1,
          a3 = a1,
          b1 = a1,
          b2 = a1,
          b3 = a1;
        let p = tile,
          x = group + column;
        const end = tile + 64;
        do {
          const w = v128.load(p, 8);
          let nibbles = v128.and(w, nibble0);
          a0 = dot_halves(a0, nibbles, v128.load32_splat(x));
          b0 = dot_halves(b0, nibbles, v128.load32_splat(x, 4));
          nibbles = v128.and(w, nibble1);
          a1 = dot_halves(a1, nibbles, v128.load32_splat(x, 16));
          b1 = dot_halves(b1, nibbles, v128.load32_splat(x, 20));
          nibbles = v128.and(w, nibble2);
          a2 = dot_halves(a2, nibbles, v128.load32_splat(x, 32));
          b2 = dot_halves(b2, nibbles, v128.load32_splat(x, 36));
          nibbles = i16x8.shr_u(w, 12);
          a3 = dot_halves(a3, nibbles, v128.load32_splat(x, 48));
          b3 = dot_halves(b3, nibbles, v128.load32_splat(x, 52));
          p += 16;
          x += 64;
        } while (p < end);
        fold(sum, f32x4.mul(scale_f32x4, v128.load32_splat(steps + column)), join(a0, a1, a2, a3));
        fold(sum + 32, f32x4.mul(scale_f32x4, v128.load32_splat(steps + column, 4)), join(b0, b1, b2, b3));
        sum += 64;
      }
      tile += stride;
    }
    weights += BLOCK_BYTES_Q4_0;
    group += 256;
    steps += 16;
    offsets += 16;
  }
}

/** The sums of the four nibbles of a lane, brought to one scale. Exact: the middle two are multiples of 16 and 256. */
// @ts-ignore: decorator
@inline
function join(sum0: v128, sum1: v128, sum2: v128, sum3: v128): v128 {
  return i32x4.add(i32x4.add(sum0, sum3), i32x4.add(i32x4.shr_s(sum1, 4), i32x4.shr_s(sum2, 8)));
}

// @ts-ignore: decorator
@inline
function fold4(sum: usize, scale_f32x4: v128, steps: usize, a0: v128, a1: v128, a2: v128, a3: v128): void {
  fold(sum, f32x4.mul(scale_f32x4, v128.load32_splat(steps)), a0);
  fold(sum + 32, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 4)), a1);
  fold(sum + 64, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 8)), a2);
  fold(sum + 96, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 12)), a3);
}

/** sum += total · factor */
// @ts-ignore: decorator
@inline
function fold(sum: usize, factor_f32x4: v128, total: v128): void {
  v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.convert_i32x4_s(total), factor_f32x4)));
}
