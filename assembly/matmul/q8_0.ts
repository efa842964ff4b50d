/**
 * q8_0: y = W x over 8-bit blocks.
 *
 *     y[r]  =  Σ_b  (scale[r,b] · step[b]) · Σ_{k in b} weight[r,k] · code[k]
 *
 * The inner sum is exact in 32-bit integers. The outer one runs over blocks in order, one f32 multiply and one add at a
 * time, so a column's result depends on nothing but that column, and both builds give the same bits.
 *
 * Format    GGUF Q8_0: blocks of 32, w = scale (f16) · weight (i8).
 * Layout    tile of 4 rows: per block 4 scales (f16), then 8 chunks of 16 bytes; byte 4r + j of chunk c = weight[r, 4c + j].
 * Shapes    one "step" of the kernel: one tile in each of `streams` places `stride` bytes apart (see bands.ts), times one
 *           column (x1) or four (x4) of activation.ts.
 * Accuracy  that of the 14-bit activation; the sums add about blocks · 2^-24.
 * Cost      1.0625 bytes a weight. Relaxed: 2 dots per 16 weights and column, 1 for the offset, shared by the columns.
 *
 * Why two dots: the second operand of a relaxed dot must stay in 0 … 127, so code = 128·(high − 64) + low and
 * Σ weight·code = 128·(Σ weight·high − Σ weight·64) + Σ weight·low. The plain build multiplies pairs of halves.
 * Tried: fully unrolled four-column bodies, 3 times slower (V8 hoists every load and spills); one stream instead of
 * eight, 1.4 times slower (the hardware prefetcher keeps up with 6 GB/s a stream).
 */
import { RELAXED, add_pairs, dot_bytes, dot_halves } from "../lib/lanes";
import { raw_load4 } from "../lib/half";
import { ACCUMULATORS } from "./bands";

export const BLOCK_BYTES_Q8_0: usize = 136;

// Loaded, not written as a constant: V8 builds a vector constant anew at every use inside a loop.
const SIXTY_FOURS: usize = memory.data<u8>(
  [64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64],
  16,
);

/** Rearranges 4 rows of GGUF blocks, `row_bytes` apart, into one tile. */
export function pack_q8_0(source: usize, row_bytes: usize, tile: usize, blocks: usize): void {
  for (let block: usize = 0; block < blocks; block++) {
    for (let row: usize = 0; row < 4; row++) {
      const from = source + row * row_bytes + block * 34;
      store<u16>(tile + row * 2, load<u16>(from));
      for (let chunk: usize = 0; chunk < 8; chunk++) {
        store<u32>(tile + row * 4 + chunk * 16, load<u32>(from + chunk * 4, 2), 8);
      }
    }
    tile += BLOCK_BYTES_Q8_0;
  }
}

/** Row `row` (0 … 3) of a tile as f32, (blocks · 32). */
export function unpack_q8_0(tile: usize, row: usize, out: usize, blocks: usize): void {
  for (let block: usize = 0; block < blocks; block++) {
    const scales_f32x4 = raw_load4(tile);
    v128.store(ACCUMULATORS, scales_f32x4);
    const scale_f32x4 = v128.load32_splat(ACCUMULATORS + row * 4);
    for (let chunk: usize = 0; chunk < 128; chunk += 16) {
      const bytes = v128.load32_zero(tile + row * 4 + chunk, 8);
      const weights = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(bytes));
      v128.store(
        out,
        f32x4.mul(
          f32x4.mul(f32x4.convert_i32x4_s(weights), scale_f32x4),
          f32x4.splat(reinterpret<f32>(0x77800000)),
        ),
      );
      out += 16;
    }
    tile += BLOCK_BYTES_Q8_0;
  }
}

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function q8_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const end = ACCUMULATORS + streams * 16;
  const sixty_fours = v128.load(SIXTY_FOURS);
  let steps = group + blocks * 256;
  for (let n = blocks; n > 0; --n) {
    const step_f32x4 = v128.load32_splat(steps);
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 16) {
      let total: v128;
      if (RELAXED) {
        let high = i32x4.splat(0);
        let low = high;
        let offset = high;
        let w = v128.load(tile, 8);
        high = dot_bytes(high, w, v128.load(group));
        low = dot_bytes(low, w, v128.load(group, 128));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 24);
        high = dot_bytes(high, w, v128.load(group, 16));
        low = dot_bytes(low, w, v128.load(group, 144));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 40);
        high = dot_bytes(high, w, v128.load(group, 32));
        low = dot_bytes(low, w, v128.load(group, 160));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 56);
        high = dot_bytes(high, w, v128.load(group, 48));
        low = dot_bytes(low, w, v128.load(group, 176));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 72);
        high = dot_bytes(high, w, v128.load(group, 64));
        low = dot_bytes(low, w, v128.load(group, 192));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 88);
        high = dot_bytes(high, w, v128.load(group, 80));
        low = dot_bytes(low, w, v128.load(group, 208));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 104);
        high = dot_bytes(high, w, v128.load(group, 96));
        low = dot_bytes(low, w, v128.load(group, 224));
        offset = dot_bytes(offset, w, sixty_fours);
        w = v128.load(tile, 120);
        high = dot_bytes(high, w, v128.load(group, 112));
        low = dot_bytes(low, w, v128.load(group, 240));
        offset = dot_bytes(offset, w, sixty_fours);
        total = i32x4.add(i32x4.shl(i32x4.sub(high, offset), 7), low);
      } else {
        let a = i32x4.splat(0);
        let b = a;
        let x = v128.load(group);
        a = dot_halves(a, v128.load8x8_s(tile, 8), x);
        b = dot_halves(b, v128.load8x8_s(tile, 16), x);
        x = v128.load(group, 16);
        a = dot_halves(a, v128.load8x8_s(tile, 24), x);
        b = dot_halves(b, v128.load8x8_s(tile, 32), x);
        x = v128.load(group, 32);
        a = dot_halves(a, v128.load8x8_s(tile, 40), x);
        b = dot_halves(b, v128.load8x8_s(tile, 48), x);
        x = v128.load(group, 48);
        a = dot_halves(a, v128.load8x8_s(tile, 56), x);
        b = dot_halves(b, v128.load8x8_s(tile, 64), x);
        x = v128.load(group, 64);
        a = dot_halves(a, v128.load8x8_s(tile, 72), x);
        b = dot_halves(b, v128.load8x8_s(tile, 80), x);
        x = v128.load(group, 80);
        a = dot_halves(a, v128.load8x8_s(tile, 88), x);
        b = dot_halves(b, v128.load8x8_s(tile, 96), x);
        x = v128.load(group, 96);
        a = dot_halves(a, v128.load8x8_s(tile, 104), x);
        b = dot_halves(b, v128.load8x8_s(tile, 112), x);
        x = v128.load(group, 112);
        a = dot_halves(a, v128.load8x8_s(tile, 120), x);
        b = dot_halves(b, v128.load8x8_s(tile, 128), x);
        total = add_pairs(a, b);
      }
      const factor_f32x4 = f32x4.mul(raw_load4(tile), step_f32x4);
      v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.convert_i32x4_s(total), factor_f32x4)));
      tile += stride;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 4;
  }
}

/** Four columns, two streams at a time. Leaves 4 sums per stream and column in ACCUMULATORS, [pair][column][2]. */
export function q8_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  const sixty_fours = v128.load(SIXTY_FOURS);
  let steps = group + blocks * 256;
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
      let p = tile,
        q = other,
        x = group;
      const end = tile + 128;
      if (RELAXED) {
        let a_offset = a0,
          b_offset = a0;
        do {
          const w = v128.load(p, 8),
            v = v128.load(q, 8);
          a_offset = dot_bytes(a_offset, w, sixty_fours);
          b_offset = dot_bytes(b_offset, v, sixty_fours);
          let code = v128.load32_splat(x);
          a0 = dot_bytes(a0, w, code);
          b0 = dot_bytes(b0, v, code);
          code = v128.load32_splat(x, 4);
          a1 = dot_bytes(a1, w, code);
          b1 = dot_bytes(b1, v, code);
          code = v128.load32_splat(x, 8);
          a2 = dot_bytes(a2, w, code);
          b2 = dot_bytes(b2, v, code);
          code = v128.load32_splat(x, 12);
          a3 = dot_bytes(a3, w, code);
          b3 = dot_bytes(b3, v, code);
          p += 16;
          q += 16;
          x += 16;
        } while (p < end);
        a0 = i32x4.shl(i32x4.sub(a0, a_offset), 7);
        a1 = i32x4.shl(i32x4.sub(a1, a_offset), 7);
        a2 = i32x4.shl(i32x4.sub(a2, a_offset), 7);
        a3 = i32x4.shl(i32x4.sub(a3, a_offset), 7);
        b0 = i32x4.shl(i32x4.sub(b0, b_offset), 7);
        b1 = i32x4.shl(i32x4.sub(b1, b_offset), 7);
        b2 = i32x4.shl(i32x4.sub(b2, b_offset), 7);
        b3 = i32x4.shl(i32x4.sub(b3, b_offset), 7);
        p = tile;
        q = other;
        do {
          const w = v128.load(p, 8),
            v = v128.load(q, 8);
          let code = v128.load32_splat(x);
          a0 = dot_bytes(a0, w, code);
          b0 = dot_bytes(b0, v, code);
          code = v128.load32_splat(x, 4);
          a1 = dot_bytes(a1, w, code);
          b1 = dot_bytes(b1, v, code);
          code = v128.load32_splat(x, 8);
          a2 = dot_bytes(a2, w, code);
          b2 = dot_bytes(b2, v, code);
          code = v128.load32_splat(x, 12);
          a3 = dot_bytes(a3, w, code);
          b3 = dot_bytes(b3, v, code);
          p += 16;
          q += 16;
          x += 16;
        } while (p < end);
        x = steps;
        fold(sum, f32x4.mul(raw_load4(tile), v128.load32_splat(x)), a0);
        fold(sum + 32, f32x4.mul(raw_load4(tile), v128.load32_splat(x, 4)), a1);
        fold(sum + 64, f32x4.mul(raw_load4(tile), v128.load32_splat(x, 8)), a2);
        fold(sum + 96, f32x4.mul(raw_load4(tile), v128.load32_splat(x, 12)), a3);
        fold(sum + 16, f32x4.mul(raw_load4(other), v128.load32_splat(x)), b0);
        fold(sum + 48, f32x4.mul(raw_load4(other), v128.load32_splat(x, 4)), b1);
        fold(sum + 80, f32x4.mul(raw_load4(other), v128.load32_splat(x, 8)), b2);
        fold(sum + 112, f32x4.mul(raw_load4(other), v128.load32_splat(x, 12)), b3);
      } else {
        // One stream at a time: here a column needs two accumulators a stream.
        for (let half: usize = 0; half < 2; half++) {
          const at = half ? other : tile;
          p = at;
          x = group;
          a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = i32x4.splat(0);
          const stop = at + 128;
          do {
            const w = v128.load8x8_s(p, 8),
              v = v128.load8x8_s(p, 16);
            let code = v128.load64_splat(x);
            a0 = dot_halves(a0, w, code);
            b0 = dot_halves(b0, v, code);
            code = v128.load64_splat(x, 8);
            a1 = dot_halves(a1, w, code);
            b1 = dot_halves(b1, v, code);
            code = v128.load64_splat(x, 16);
            a2 = dot_halves(a2, w, code);
            b2 = dot_halves(b2, v, code);
            code = v128.load64_splat(x, 24);
            a3 = dot_halves(a3, w, code);
            b3 = dot_halves(b3, v, code);
            p += 16;
            x += 32;
          } while (p < stop);
          const to = sum + half * 16;
          const scale_f32x4 = raw_load4(at);
          fold(to, f32x4.mul(scale_f32x4, v128.load32_splat(steps)), add_pairs(a0, b0));
          fold(to + 32, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 4)), add_pairs(a1, b1));
          fold(to + 64, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 8)), add_pairs(a2, b2));
          fold(to + 96, f32x4.mul(scale_f32x4, v128.load32_splat(steps, 12)), add_pairs(a3, b3));
        }
      }
      tile += stride * 2;
      sum += 128;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 16;
  }
}

/** sum += total · factor */
// @ts-ignore: decorator
@inline
function fold(sum: usize, factor_f32x4: v128, total: v128): void {
  v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.convert_i32x4_s(total), factor_f32x4)));
}
