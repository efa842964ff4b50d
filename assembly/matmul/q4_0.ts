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
  const end = ACCUMULATORS + streams * 16;
  const low_nibbles = v128.load(LOW_NIBBLES);
  const nibble0 = v128.load(FIRST_NIBBLES);
  const nibble1 = i16x8.shl(nibble0, 4);
  const nibble2 = i16x8.shl(nibble0, 8);
  let steps = group + blocks * 256;
  let offsets = steps + blocks * 4;
  for (let n = blocks; n > 0; --n) {
    const step_f32x4 = v128.load32_splat(steps);
    const offset = v128.load32_splat(offsets);
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 16) {
      let total: v128;
      if (RELAXED) {
        let high = i32x4.splat(0);
        let low = offset;
        let w = v128.load(tile, 8);
        let lower = v128.and(w, low_nibbles);
        let upper = v128.and(i16x8.shr_u(w, 4), low_nibbles);
        high = dot_bytes(dot_bytes(high, v128.load(group), lower), v128.load(group, 64), upper);
        low = dot_bytes(dot_bytes(low, v128.load(group, 128), lower), v128.load(group, 192), upper);
        w = v128.load(tile, 24);
        lower = v128.and(w, low_nibbles);
        upper = v128.and(i16x8.shr_u(w, 4), low_nibbles);
        high = dot_bytes(dot_bytes(high, v128.load(group, 16), lower), v128.load(group, 80), upper);
        low = dot_bytes(dot_bytes(low, v128.load(group, 144), lower), v128.load(group, 208), upper);
        w = v128.load(tile, 40);
        lower = v128.and(w, low_nibbles);
        upper = v128.and(i16x8.shr_u(w, 4), low_nibbles);
        high = dot_bytes(dot_bytes(high, v128.load(group, 32), lower), v128.load(group, 96), upper);
        low = dot_bytes(dot_bytes(low, v128.load(group, 160), lower), v128.load(group, 224), upper);
        w = v128.load(tile, 56);
        lower = v128.and(w, low_nibbles);
        upper = v128.and(i16x8.shr_u(w, 4), low_nibbles);
        high = dot_bytes(dot_bytes(high, v128.load(group, 48), lower), v128.load(group, 112), upper);
        low = dot_bytes(dot_bytes(low, v128.load(group, 176), lower), v128.load(group, 240), upper);
        total = i32x4.add(i32x4.shl(high, 7), low);
      } else {
        let w = v128.load(tile, 8);
        let sum0 = dot_halves(offset, v128.and(w, nibble0), v128.load(group));
        let sum1 = i32x4.dot_i16x8_s(v128.and(w, nibble1), v128.load(group, 16));
        let sum2 = i32x4.dot_i16x8_s(v128.and(w, nibble2), v128.load(group, 32));
        let sum3 = i32x4.dot_i16x8_s(i16x8.shr_u(w, 12), v128.load(group, 48));
        w = v128.load(tile, 24);
        sum0 = dot_halves(sum0, v128.and(w, nibble0), v128.load(group, 64));
        sum1 = dot_halves(sum1, v128.and(w, nibble1), v128.load(group, 80));
        sum2 = dot_halves(sum2, v128.and(w, nibble2), v128.load(group, 96));
        sum3 = dot_halves(sum3, i16x8.shr_u(w, 12), v128.load(group, 112));
        w = v128.load(tile, 40);
        sum0 = dot_halves(sum0, v128.and(w, nibble0), v128.load(group, 128));
        sum1 = dot_halves(sum1, v128.and(w, nibble1), v128.load(group, 144));
        sum2 = dot_halves(sum2, v128.and(w, nibble2), v128.load(group, 160));
        sum3 = dot_halves(sum3, i16x8.shr_u(w, 12), v128.load(group, 176));
        w = v128.load(tile, 56);
        sum0 = dot_halves(sum0, v128.and(w, nibble0), v128.load(group, 192));
        sum1 = dot_halves(sum1, v128.and(w, nibble1), v128.load(group, 208));
        sum2 = dot_halves(sum2, v128.and(w, nibble2), v128.load(group, 224));
        sum3 = dot_halves(sum3, i16x8.shr_u(w, 12), v128.load(group, 240));
        total = join(sum0, sum1, sum2, sum3);
      }
      const factor_f32x4 = f32x4.mul(raw_load4(tile), step_f32x4);
      v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.convert_i32x4_s(total), factor_f32x4)));
      tile += stride;
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
