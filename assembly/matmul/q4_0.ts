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
 * Cost      0.5625 bytes a weight.
 */
import { half_to_f32 } from "../lib/half";
import { RELAXED } from "../lib/lanes";
import * as plain from "./q4_0-plain";
import * as relaxed from "./q4_0-relaxed";
import { BLOCK_BYTES_Q4_0 } from "./tile";

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
    const scale_f32x4 = f32x4.splat(half_to_f32(load<u16>(tile + row * 2)));
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
  v128.store(out, f32x4.mul(weights_f32x4, scale_f32x4));
}

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function q4_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  if (RELAXED) relaxed.q4_0_x1(weights, stride, streams, group, blocks);
  else plain.q4_0_x1(weights, stride, streams, group, blocks);
}

/** Four columns. Leaves 4 sums per stream and column in ACCUMULATORS. */
export function q4_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  if (RELAXED) relaxed.q4_0_x4(weights, stride, streams, group, blocks);
  else plain.q4_0_x4(weights, stride, streams, group, blocks);
}
