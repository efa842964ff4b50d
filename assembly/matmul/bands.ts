/**
 * bands: the walk over a packed matrix, the same for every weight format.
 *
 * A matrix of n tiles (4 rows each) is cut into STREAMS bands of n / 16 tiles, and the kernels work on one tile of each
 * band at a time, four side by side. The bytes then arrive as many sequential streams: a hardware prefetcher runs only so
 * far ahead of one (about 6 GB/s here), and sixteen fill the memory bus from one core. Q8_0 head of 145 MB: one stream
 * 17.3 ms, four 13.3, eight 11.5, sixteen in fours 9.9; a plain read loop takes 11 to 13. What does not divide by sixteen
 * follows in shorter bands. Bands a multiple of 4 KiB apart would all compete for the same few lines of the first-level
 * cache: 49,152 x 1024 in Q4_0, where that happens, ran at 4.3 GB/s instead of 15. So a band is shortened by some tiles then.
 * All columns are worked off per step, so weights come from memory once however many columns there are.
 */
import { pack_q8_0, q8_0_x1, q8_0_x2, q8_0_x4, unpack_q8_0 } from "./q8_0";
import {
  float_group_bytes,
  float_tile_bytes,
  float_x1,
  float_x4,
  pack_float,
  prepare_float,
  unpack_float,
} from "./float";
import { group_bytes, quantize_column, sum_unit } from "./activation";
import { coded_x1, coded_x2, coded_x4, pack_coded, unpack_coded } from "./coded";
import { ACCUMULATORS, clear } from "./sums";
import { BLOCK_BYTES_Q8_0, Q8_0, coded_tile_bytes, has_nibbles, is_coded } from "./tile";

// @ts-ignore: decorator
@inline
export const STREAMS: usize = 16;

/** Bytes of one tile of 4 rows by `cols`. */
export function tile_bytes(format: i32, cols: usize): usize {
  if (format == Q8_0) return (cols >> 5) * BLOCK_BYTES_Q8_0;
  if (is_coded(format)) return coded_tile_bytes(format, cols >> 5);
  return float_tile_bytes(format, cols);
}

/** Whether products with the format take rounded activations. */
// @ts-ignore: decorator
@inline
function is_quantised(format: i32): bool {
  return format == Q8_0 || is_coded(format);
}

/**
 * Columns of the next group: four together cost no more than three alone, so three take along a copy of the last. Two are laid
 * out as four where there is a kernel that leaves out the others.
 */
// @ts-ignore: decorator
@inline
function group_width(format: i32, columns: usize): usize {
  return columns >= 3 || (columns == 2 && has_pairs(format)) ? 4 : 1;
}

// @ts-ignore: decorator
@inline
function has_pairs(format: i32): bool {
  return format == Q8_0 || has_nibbles(format);
}

/** Bytes of the laid-out input of `columns` columns. */
export function input_bytes(format: i32, cols: usize, columns: usize): usize {
  const fours = has_pairs(format) ? (columns + 2) >> 2 : (columns + 1) >> 2;
  const ones = columns > fours * 4 ? columns - fours * 4 : 0;
  return fours * group_of(format, cols, 4) + ones * group_of(format, cols, 1);
}

/** Bytes of one group of 1 or 4 columns. */
// @ts-ignore: decorator
@inline
function group_of(format: i32, cols: usize, width: usize): usize {
  if (is_quantised(format)) return group_bytes(format, cols >> 5, width);
  return float_group_bytes(cols, width);
}

/** Lays out `columns` columns of x, (columns, cols) f32, columns `x_stride` bytes apart, as `matmul` of the same format reads them. */
export function prepare(
  format: i32,
  x: usize,
  x_stride: usize,
  input: usize,
  cols: usize,
  columns: usize,
): void {
  while (columns > 0) {
    const width = group_width(format, columns);
    const real = min(width, columns);
    // The kernel of two columns does not read the others.
    const filled = real == 2 ? real : width;
    for (let column: usize = 0; column < filled; column++) {
      const from = x + min(column, real - 1) * x_stride;
      if (is_quantised(format)) quantize_column(format, from, input, cols >> 5, width, column);
      else prepare_float(format, from, input, cols, width, column);
    }
    x += real * x_stride;
    input += group_of(format, cols, width);
    columns -= real;
  }
}

/** Packs 4 rows as the file stores them, `row_bytes` apart, into the tile at `tile`. */
export function pack_tile(format: i32, source: usize, row_bytes: usize, tile: usize, cols: usize): void {
  if (format == Q8_0) pack_q8_0(source, row_bytes, tile, cols >> 5);
  else if (is_coded(format)) pack_coded(format, source, row_bytes, tile, cols >> 5);
  else pack_float(format, source, row_bytes, tile, cols);
}

/** Row `row` of a packed matrix as f32, (cols): the embedding of a token. */
export function unpack_row(format: i32, weights: usize, row: usize, out: usize, cols: usize): void {
  const tile = weights + (row >> 2) * tile_bytes(format, cols);
  if (format == Q8_0) unpack_q8_0(tile, row & 3, out, cols >> 5);
  else if (is_coded(format)) unpack_coded(format, tile, row & 3, out, cols >> 5);
  else unpack_float(format, tile, row & 3, out, cols);
}

/**
 * out[c, r] = Σ_k W[r, k] · x[c, k].
 *
 * weights: ceil(rows / 4) tiles. input: what prepare() laid out, same format and columns. out: (columns, rows rounded up
 * to 4) f32, columns `out_stride` bytes apart. rows, cols, columns may be any count the format allows.
 */
export function matmul(
  format: i32,
  weights: usize,
  input: usize,
  out: usize,
  out_stride: usize,
  rows: usize,
  cols: usize,
  columns: usize,
): void {
  const bytes = tile_bytes(format, cols);
  for (let left = (rows + 3) >> 2; left > 0;) {
    const streams = min(left, STREAMS);
    const band = band_of(left / streams, bytes);
    for (let tile: usize = 0; tile < band; tile++) {
      step(
        format,
        weights + tile * bytes,
        band * bytes,
        streams,
        input,
        out + tile * 16,
        band * 16,
        out_stride,
        cols,
        columns,
      );
    }
    left -= band * streams;
    weights += band * streams * bytes;
    out += band * streams * 16;
  }
}

/** Tiles of a band: `most`, or up to 7 less, so that bands do not begin at multiples of 2 KiB from each other. */
function band_of(most: usize, bytes: usize): usize {
  for (let band = most; band > 0 && band + 8 > most; --band) {
    const offset = (band * bytes) & 2047;
    if (offset >= 128 && offset <= 1920) return band;
  }
  return most;
}

function step(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  input: usize,
  out: usize,
  out_step: usize,
  out_stride: usize,
  cols: usize,
  columns: usize,
): void {
  const blocks = cols >> 5;
  const unit = f32x4.splat(sum_unit(format));
  while (group_width(format, columns) == 4) {
    const real = min<usize>(4, columns);
    clear(((streams + 3) & ~3) * 64);
    if (format == Q8_0) {
      if (real == 2) q8_0_x2(weights, stride, streams, input, input + blocks * 256, blocks);
      else q8_0_x4(weights, stride, streams, input, input + blocks * 256, blocks);
    } else if (is_coded(format)) {
      if (real == 2) coded_x2(format, weights, stride, streams, input, blocks);
      else coded_x4(format, weights, stride, streams, input, blocks);
    } else float_x4(format, weights, stride, streams, input, cols);
    for (let stream: usize = 0; stream < streams; stream++) {
      let from = ACCUMULATORS + (stream >> 1) * 128 + (stream & 1) * 16;
      let to = out + stream * out_step;
      for (let column: usize = 0; column < real; column++) {
        v128.store(to, f32x4.mul(v128.load(from), unit));
        from += 32;
        to += out_stride;
      }
    }
    input += group_of(format, cols, 4);
    out += out_stride * 4;
    columns -= real;
  }
  for (; columns > 0; --columns) {
    clear(((streams + 3) & ~3) * 16);
    if (format == Q8_0) q8_0_x1(weights, stride, streams, input, input + blocks * 256, blocks);
    else if (is_coded(format)) coded_x1(format, weights, stride, streams, input, blocks);
    else float_x1(format, weights, stride, streams, input, cols);
    for (let stream: usize = 0; stream < streams; stream++) {
      v128.store(out + stream * out_step, f32x4.mul(v128.load(ACCUMULATORS + stream * 16), unit));
    }
    input += group_of(format, cols, 1);
    out += out_stride;
  }
}
