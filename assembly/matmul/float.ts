/**
 * float: y = W x over F32, F16 and BF16 weights, in f32.
 *
 *     y[r]  =  Σ_b ( Σ_{even k in b} W[r,k]·x[k]  +  Σ_{odd k in b} W[r,k]·x[k] )      b: blocks of 32
 *
 * Layout    tile of 4 rows. F16, BF16: 16 bytes = 4 lanes of (k, k + 1); F32: 16 bytes = 4 rows of one k. The width is
 *           padded with zeros to a multiple of 4. x: [k][column] f32 in groups of four columns, then single ones; for F16
 *           times 2^96, so that raw halves (see half.ts) times x stay normal numbers; 2^16 remains for the end of a block.
 * Accuracy  each product and sum rounded once; relative error about (32/2 + blocks) · 2^-24.
 * Cost      2 or 4 bytes a weight; F16 takes 5 operations per 8 weights to widen, shared by four columns.
 */
import { half_to_f32, raw_even, raw_odd } from "../lib/half";
import { ACCUMULATORS } from "./sums";

/** ggml's ids. */
export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 30;

/** 4 rows by 32 of a tile of F32. */
const WIDE: usize = memory.data(512, 16);

// @ts-ignore: decorator
@inline
function padded(cols: usize): usize {
  return (cols + 3) & ~3;
}

export function float_tile_bytes(format: i32, cols: usize): usize {
  return padded(cols) * (format == F32 ? 16 : 8);
}

/** Bytes of a group of input columns. */
export function float_group_bytes(cols: usize, columns: usize): usize {
  return padded(cols) * columns * 4;
}

/** Rearranges 4 rows, `row_bytes` apart, into one tile. */
export function pack_float(format: i32, source: usize, row_bytes: usize, tile: usize, cols: usize): void {
  memory.fill(tile, 0, float_tile_bytes(format, cols));
  for (let row: usize = 0; row < 4; row++) {
    const from = source + row * row_bytes;
    if (format == F32) {
      for (let k: usize = 0; k < cols; k++) store<u32>(tile + k * 16 + row * 4, load<u32>(from + k * 4));
    } else {
      for (let k: usize = 0; k < cols; k++) {
        store<u16>(tile + (k >> 1) * 16 + row * 4 + (k & 1) * 2, load<u16>(from + k * 2));
      }
    }
  }
}

/** Row `row` (0 … 3) of a tile as f32, (cols). */
export function unpack_float(format: i32, tile: usize, row: usize, out: usize, cols: usize): void {
  for (let k: usize = 0; k < cols; k++) {
    if (format == F32) store<u32>(out + k * 4, load<u32>(tile + k * 16 + row * 4));
    else {
      const half = <u32>load<u16>(tile + (k >> 1) * 16 + row * 4 + (k & 1) * 2);
      if (format == F16) store<f32>(out + k * 4, half_to_f32(half));
      else store<u32>(out + k * 4, half << 16);
    }
  }
}

/** Lays out one column of its group. */
export function prepare_float(
  format: i32,
  x: usize,
  group: usize,
  cols: usize,
  columns: usize,
  column: usize,
): void {
  const factor: f32 = format == F16 ? reinterpret<f32>(0x6f800000) : 1; // 2^96
  let to = group + column * 4;
  for (let k: usize = 0; k < cols; k++) {
    store<f32>(to, load<f32>(x + k * 4) * factor);
    to += columns * 4;
  }
  for (let k = cols; k < padded(cols); k++) {
    store<f32>(to, 0);
    to += columns * 4;
  }
}

/**
 * One column. Leaves 4 sums per stream in ACCUMULATORS. One stream at a time: widening takes more operations than the
 * bytes take to arrive (tried: four side by side, 1.2 times slower).
 */
export function float_x1(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  x: usize,
  cols: usize,
): void {
  const end = ACCUMULATORS + streams * 16;
  const chunk_bytes: usize = format == F32 ? 64 : 32; // 4 k
  const post_f32x4 = f32x4.splat(format == F16 ? 65536 : 1);
  let left = padded(cols);
  while (left > 0) {
    const width = min<usize>(left, 32);
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 16) {
      let even = f32x4.splat(0),
        odd = even;
      let p = tile,
        k = x;
      const stop = x + width * 4;
      if (format == F16) {
        do {
          let w = v128.load(p);
          even = f32x4.add(even, f32x4.mul(raw_even(w), v128.load32_splat(k)));
          odd = f32x4.add(odd, f32x4.mul(raw_odd(w), v128.load32_splat(k, 4)));
          w = v128.load(p, 16);
          even = f32x4.add(even, f32x4.mul(raw_even(w), v128.load32_splat(k, 8)));
          odd = f32x4.add(odd, f32x4.mul(raw_odd(w), v128.load32_splat(k, 12)));
          p += 32;
          k += 16;
        } while (k < stop);
      } else if (format == BF16) {
        do {
          let w = v128.load(p);
          even = f32x4.add(even, f32x4.mul(i32x4.shl(w, 16), v128.load32_splat(k)));
          odd = f32x4.add(odd, f32x4.mul(v128.and(w, i32x4.splat(0xffff0000)), v128.load32_splat(k, 4)));
          w = v128.load(p, 16);
          even = f32x4.add(even, f32x4.mul(i32x4.shl(w, 16), v128.load32_splat(k, 8)));
          odd = f32x4.add(odd, f32x4.mul(v128.and(w, i32x4.splat(0xffff0000)), v128.load32_splat(k, 12)));
          p += 32;
          k += 16;
        } while (k < stop);
      } else {
        do {
          even = f32x4.add(even, f32x4.mul(v128.load(p), v128.load32_splat(k)));
          odd = f32x4.add(odd, f32x4.mul(v128.load(p, 16), v128.load32_splat(k, 4)));
          even = f32x4.add(even, f32x4.mul(v128.load(p, 32), v128.load32_splat(k, 8)));
          odd = f32x4.add(odd, f32x4.mul(v128.load(p, 48), v128.load32_splat(k, 12)));
          p += 64;
          k += 16;
        } while (k < stop);
      }
      join(sum, even, odd, post_f32x4);
      tile += stride;
    }
    weights += (width >> 2) * chunk_bytes;
    x += width * 4;
    left -= width;
  }
}

/** Four columns. Leaves 4 sums per stream and column in ACCUMULATORS. */
export function float_x4(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  x: usize,
  cols: usize,
): void {
  const pair_bytes: usize = format == F32 ? 32 : 16;
  const post_f32x4 = f32x4.splat(format == F16 ? 65536 : 1);
  let left = padded(cols);
  while (left > 0) {
    const width = min<usize>(left, 32);
    const stop = x + width * 16;
    let tile = weights;
    for (let stream: usize = 0; stream < streams; stream++) {
      const sum = ACCUMULATORS + (stream >> 1) * 128 + (stream & 1) * 16;
      let even0 = f32x4.splat(0),
        even1 = even0,
        even2 = even0,
        even3 = even0;
      let odd0 = even0,
        odd1 = even0,
        odd2 = even0,
        odd3 = even0;
      let p = format == F32 ? tile : widen(format, tile, width),
        k = x;
      do {
        const w_even = v128.load(p),
          w_odd = v128.load(p, 16);
        even0 = f32x4.add(even0, f32x4.mul(w_even, v128.load32_splat(k)));
        even1 = f32x4.add(even1, f32x4.mul(w_even, v128.load32_splat(k, 4)));
        even2 = f32x4.add(even2, f32x4.mul(w_even, v128.load32_splat(k, 8)));
        even3 = f32x4.add(even3, f32x4.mul(w_even, v128.load32_splat(k, 12)));
        odd0 = f32x4.add(odd0, f32x4.mul(w_odd, v128.load32_splat(k, 16)));
        odd1 = f32x4.add(odd1, f32x4.mul(w_odd, v128.load32_splat(k, 20)));
        odd2 = f32x4.add(odd2, f32x4.mul(w_odd, v128.load32_splat(k, 24)));
        odd3 = f32x4.add(odd3, f32x4.mul(w_odd, v128.load32_splat(k, 28)));
        p += 32;
        k += 32;
      } while (k < stop);
      join(sum, even0, odd0, post_f32x4);
      join(sum + 32, even1, odd1, post_f32x4);
      join(sum + 64, even2, odd2, post_f32x4);
      join(sum + 96, even3, odd3, post_f32x4);
      tile += stride;
    }
    weights += (width >> 1) * pair_bytes;
    x = stop;
    left -= width;
  }
}

/** 4 rows by `width` as they lie in a tile of F32; halves stay raw. */
// @ts-ignore: decorator
@inline
function widen(format: i32, tile: usize, width: usize): usize {
  let to = WIDE;
  const end = to + width * 16;
  do {
    const w = v128.load(tile);
    if (format == F16) {
      v128.store(to, raw_even(w));
      v128.store(to, raw_odd(w), 16);
    } else {
      v128.store(to, i32x4.shl(w, 16));
      v128.store(to, v128.and(w, i32x4.splat(0xffff0000)), 16);
    }
    tile += 16;
    to += 32;
  } while (to < end);
  return WIDE;
}

/** sum += (even + odd) · post */
// @ts-ignore: decorator
@inline
function join(sum: usize, even: v128, odd: v128, post_f32x4: v128): void {
  v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(f32x4.add(even, odd), post_f32x4)));
}
