/**
 * coded: y = W x over the formats made of a header and codes (tile.ts): all that are quantised but Q8_0.
 *
 *     y[r]  =  Σ_b  scale[r,b] · step[b] · Σ_{k in b} (code[r,k] − zero) · x[k]  (+  minimum[r,b] · step[b] · Σ_{k in b} x[k])
 *
 * The inner sums are exact in 32-bit integers; the outer one runs over blocks in order, see scales.ts. A format is a row of
 * the table in tile.ts, not a kernel; what there is to choose from is
 *
 *     Q4_0, Q4_K   multiplied as they lie in the tile, by an input of 8 bits: walk.ts, nibbles-*.ts
 *     Q6_K         one column: widened in registers: walk.ts, sixes-*.ts
 *     IQ4_NL       looked up into blocks of Q8_0, whose kernels take over
 *     else         a block of each stream is widened to bytes in the first-level cache (codes.ts), once however many columns
 *                  there are, and multiplied there: bytes-*.ts
 *
 * and by kind of header the way from totals to sums: scales.ts
 *
 * Shapes    as in q8_0.ts.
 * Accuracy  that of the activation, of 8 bits for Q4_0 and Q4_K, of 14 for all others.
 * Cost      relaxed: per 128 weights and column 8 or 16 dots, 12 to 23 operations of widening, 10 to 16 for scales and sums.
 */
import { RELAXED } from "../lib/lanes";
import { block_bytes } from "./activation";
import * as bytes_plain from "./bytes-plain";
import * as bytes_relaxed from "./bytes-relaxed";
import { WIDE, look_up, narrow, widen } from "./codes";
import { file_block_bytes, read_codes } from "./file-blocks";
import { q8_0_x1, q8_0_x4 } from "./q8_0";
import { minimum_of, pack_scales, scale_of } from "./headers";
import { fold_x1, fold_x4 } from "./scales";
import { SECOND_TOTALS, TOTALS } from "./sums";
import {
  BLOCK_BYTES_Q8_0,
  IQ4_NL,
  Q6_K,
  code_bytes,
  has_minimum,
  has_nibbles,
  header_blocks,
  header_bytes,
  zero_code,
} from "./tile";
import { walk_x1, walk_x2, walk_x4 } from "./walk";

/** 32 codes of one row. */
const ROW: usize = memory.data(32, 16);

/** Rearranges 4 rows of GGUF blocks, `row_bytes` apart, into one tile. */
export function pack_coded(format: i32, source: usize, row_bytes: usize, tile: usize, blocks: usize): void {
  const group = header_blocks(format);
  for (let first: usize = 0; first < blocks; first += group) {
    const header = tile;
    tile += header_bytes(format);
    for (let row: usize = 0; row < 4; row++) pack_scales(format, source + row * row_bytes, header, row);
    for (let index: usize = 0; index < group; index++) {
      for (let row: usize = 0; row < 4; row++) {
        read_codes(format, source + row * row_bytes, index, ROW);
        for (let chunk: usize = 0; chunk < 8; chunk++) {
          store<u32>(WIDE + chunk * 16 + row * 4, load<u32>(ROW + chunk * 4));
        }
      }
      narrow(format, tile);
      tile += code_bytes(format);
    }
    source += file_block_bytes(format);
  }
}

/** Row `row` (0 … 3) of a tile as f32, (blocks · 32). */
export function unpack_coded(format: i32, tile: usize, row: usize, out: usize, blocks: usize): void {
  const group = header_blocks(format);
  const zero = i32x4.splat(zero_code(format));
  let header = tile;
  for (let block: usize = 0; block < blocks; block++) {
    const index = block & (group - 1);
    if (index == 0) {
      header = tile;
      tile += header_bytes(format);
    }
    if (format == IQ4_NL) look_up(header, 0, 1);
    else widen(format, tile, 0, 1);
    for (let chunk: usize = 0; chunk < 8; chunk++) {
      const scale_f32x4 = f32x4.splat(scale_of(format, header, index, chunk >> 2, row));
      const at = WIDE + chunk * 16 + row * 4;
      let codes: v128;
      if (format == IQ4_NL) {
        codes = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(at, 8)));
      } else codes = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at)));
      let weights = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(codes, zero)), scale_f32x4);
      if (has_minimum(format)) {
        weights = f32x4.add(weights, f32x4.splat(minimum_of(format, header, index, row)));
      }
      v128.store(out, weights);
      out += 16;
    }
    tile += code_bytes(format);
  }
}

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function coded_x1(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  const period = header_blocks(format);
  let step = group + blocks * block_bytes(format);
  if (has_nibbles(format) || format == Q6_K) {
    walk_x1(format, weights, stride, streams, group, blocks);
    return;
  }
  let header = weights;
  for (let block: usize = 0; block < blocks; block++) {
    const index = block & (period - 1);
    if (index == 0) {
      header = weights;
      weights += header_bytes(format);
    }
    if (format == IQ4_NL) {
      look_up(header, stride, streams);
      q8_0_x1(WIDE, BLOCK_BYTES_Q8_0, streams, group, step, 1);
    } else {
      const first = step + blocks * 4;
      const second = first + blocks * 4;
      widen(format, weights, stride, streams);
      dot_x1(WIDE, streams, group, first);
      fold_x1(format, header, stride, streams, index, step, second);
    }
    weights += code_bytes(format);
    group += block_bytes(format);
    step += 4;
  }
}

/** Two columns in the place of four; Q4_0 and Q4_K only. */
export function coded_x2(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  walk_x2(format, weights, stride, streams, group, blocks);
}

/** Four columns. Leaves 4 sums per stream and column in ACCUMULATORS. */
export function coded_x4(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  const period = header_blocks(format);
  let steps = group + blocks * block_bytes(format);
  if (has_nibbles(format)) {
    walk_x4(format, weights, stride, streams, group, blocks);
    return;
  }
  let header = weights;
  for (let block: usize = 0; block < blocks; block++) {
    const index = block & (period - 1);
    if (index == 0) {
      header = weights;
      weights += header_bytes(format);
    }
    if (format == IQ4_NL) {
      look_up(header, stride, streams);
      q8_0_x4(WIDE, BLOCK_BYTES_Q8_0, streams, group, steps, 1);
    } else {
      const firsts = steps + blocks * 16;
      const seconds = firsts + blocks * 16;
      widen(format, weights, stride, streams);
      if (format == Q6_K) {
        const half = RELAXED ? bytes_relaxed.HALF_X4 : bytes_plain.HALF_X4;
        dot_x4(WIDE, 64, streams, group, firsts, TOTALS);
        dot_x4(WIDE + 64, 64, streams, group + half, seconds, TOTALS + SECOND_TOTALS);
      } else dot_x4(WIDE, 128, streams, group, firsts, TOTALS);
      fold_x4(format, header, stride, streams, index, steps, seconds);
    }
    weights += code_bytes(format);
    group += block_bytes(format);
    steps += 16;
  }
}

// @ts-ignore: decorator
@inline
function dot_x1(from: usize, streams: usize, x: usize, first: usize): void {
  if (RELAXED) bytes_relaxed.dot_x1(from, streams, x, first);
  else bytes_plain.dot_x1(from, streams, x, first);
}

// @ts-ignore: decorator
@inline
function dot_x4(from: usize, bytes: usize, streams: usize, x: usize, firsts: usize, totals: usize): void {
  if (RELAXED) bytes_relaxed.dot_x4(from, bytes, streams, x, firsts, totals);
  else bytes_plain.dot_x4(from, bytes, streams, x, firsts, totals);
}
