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
 */
import { half_to_f32 } from "../lib/half";
import { RELAXED } from "../lib/lanes";
import * as plain from "./q8_0-plain";
import * as relaxed from "./q8_0-relaxed";
import { BLOCK_BYTES_Q8_0 } from "./tile";

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
    const scale_f32x4 = f32x4.splat(half_to_f32(load<u16>(tile + row * 2)));
    for (let chunk: usize = 0; chunk < 128; chunk += 16) {
      const bytes = v128.load32_zero(tile + row * 4 + chunk, 8);
      const weights = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(bytes));
      v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(weights), scale_f32x4));
      out += 16;
    }
    tile += BLOCK_BYTES_Q8_0;
  }
}

/** One column, whose steps are at `steps`. Leaves 4 sums per stream in ACCUMULATORS. */
export function q8_0_x1(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  if (RELAXED) relaxed.q8_0_x1(weights, stride, streams, group, steps, blocks);
  else plain.q8_0_x1(weights, stride, streams, group, steps, blocks);
}

/** Two columns in the place of four. */
export function q8_0_x2(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  if (RELAXED) relaxed.q8_0_x2(weights, stride, streams, group, steps, blocks);
  else plain.q8_0_x2(weights, stride, streams, group, steps, blocks);
}

/** Four columns. Leaves 4 sums per stream and column in ACCUMULATORS. */
export function q8_0_x4(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  if (RELAXED) relaxed.q8_0_x4(weights, stride, streams, group, steps, blocks);
  else plain.q8_0_x4(weights, stride, streams, group, steps, blocks);
}
