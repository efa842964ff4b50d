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
 * Tried: fully unrolled bodies, up to 3 times slower (V8 hoists every load and spills), so loops stay short; one stream
 * at a time instead of four side by side, 1.5 times slower on a whole model (the memory bus idles).
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
    let tile_a = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 64) {
      // Four streams, or the last one again where fewer are left: its surplus sums are never looked at.
      const tile_b = sum + 16 < end ? tile_a + stride : tile_a;
      const tile_c = sum + 32 < end ? tile_b + stride : tile_b;
      const tile_d = sum + 48 < end ? tile_c + stride : tile_c;
      let a = i32x4.splat(0),
        b = a,
        c = a,
        d = a;
      let pa = tile_a,
        pb = tile_b,
        pc = tile_c,
        pd = tile_d,
        x = group;
      const stop = tile_a + 128;
      if (RELAXED) {
        let a_offset = a,
          b_offset = a,
          c_offset = a,
          d_offset = a;
        do {
          let code = v128.load(x);
          let w = v128.load(pa, 8);
          a = dot_bytes(a, w, code);
          a_offset = dot_bytes(a_offset, w, sixty_fours);
          w = v128.load(pb, 8);
          b = dot_bytes(b, w, code);
          b_offset = dot_bytes(b_offset, w, sixty_fours);
          w = v128.load(pc, 8);
          c = dot_bytes(c, w, code);
          c_offset = dot_bytes(c_offset, w, sixty_fours);
          w = v128.load(pd, 8);
          d = dot_bytes(d, w, code);
          d_offset = dot_bytes(d_offset, w, sixty_fours);
          code = v128.load(x, 16);
          w = v128.load(pa, 24);
          a = dot_bytes(a, w, code);
          a_offset = dot_bytes(a_offset, w, sixty_fours);
          w = v128.load(pb, 24);
          b = dot_bytes(b, w, code);
          b_offset = dot_bytes(b_offset, w, sixty_fours);
          w = v128.load(pc, 24);
          c = dot_bytes(c, w, code);
          c_offset = dot_bytes(c_offset, w, sixty_fours);
          w = v128.load(pd, 24);
          d = dot_bytes(d, w, code);
          d_offset = dot_bytes(d_offset, w, sixty_fours);
          pa += 32;
          pb += 32;
          pc += 32;
          pd += 32;
          x += 32;
        } while (pa < stop);
        a = i32x4.shl(i32x4.sub(a, a_offset), 7);
        b = i32x4.shl(i32x4.sub(b, b_offset), 7);
        c = i32x4.shl(i32x4.sub(c, c_offset), 7);
        d = i32x4.shl(i32x4.sub(d, d_offset), 7);
        pa = tile_a;
        pb = tile_b;
        pc = tile_c;
        pd = tile_d;
        do {
          let code = v128.load(x);
          a = dot_bytes(a, v128.load(pa, 8), code);
          b = dot_bytes(b, v128.load(pb, 8), code);
          c = dot_bytes(c, v128.load(pc, 8), code);
          d = dot_bytes(d, v128.load(pd, 8), code);
          code = v128.load(x, 16);
          a = dot_bytes(a, v128.load(pa, 24), code);
          b = dot_bytes(b, v128.load(pb, 24), code);
          c = dot_bytes(c, v128.load(pc, 24), code);
          d = dot_bytes(d, v128.load(pd, 24), code);
          pa += 32;
          pb += 32;
          pc += 32;
          pd += 32;
          x += 32;
        } while (pa < stop);
      } else {
        let a2 = a,
          b2 = a,
          c2 = a,
          d2 = a;
        do {
          const code = v128.load(x);
          a = dot_halves(a, v128.load8x8_s(pa, 8), code);
          a2 = dot_halves(a2, v128.load8x8_s(pa, 16), code);
          b = dot_halves(b, v128.load8x8_s(pb, 8), code);
          b2 = dot_halves(b2, v128.load8x8_s(pb, 16), code);
          c = dot_halves(c, v128.load8x8_s(pc, 8), code);
          c2 = dot_halves(c2, v128.load8x8_s(pc, 16), code);
          d = dot_halves(d, v128.load8x8_s(pd, 8), code);
          d2 = dot_halves(d2, v128.load8x8_s(pd, 16), code);
          pa += 16;
          pb += 16;
          pc += 16;
          pd += 16;
          x += 16;
        } while (pa < stop);
        a = add_pairs(a, a2);
        b = add_pairs(b, b2);
        c = add_pairs(c, c2);
        d = add_pairs(d, d2);
      }
      fold(sum, f32x4.mul(raw_load4(tile_a), step_f32x4), a);
      fold(sum + 16, f32x4.mul(raw_load4(tile_b), step_f32x4), b);
      fold(sum + 32, f32x4.mul(raw_load4(tile_c), step_f32x4), c);
      fold(sum + 48, f32x4.mul(raw_load4(tile_d), step_f32x4), d);
      tile_a = tile_d + stride;
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
        fold4(sum, raw_load4(tile), steps, a0, a1, a2, a3);
        fold4(sum + 16, raw_load4(other), steps, b0, b1, b2, b3);
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
          fold4(
            sum + half * 16,
            raw_load4(at),
            steps,
            add_pairs(a0, b0),
            add_pairs(a1, b1),
            add_pairs(a2, b2),
            add_pairs(a3, b3),
          );
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

/** Adds one block's totals of four columns to their sums, which stand 32 bytes apart. */
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
