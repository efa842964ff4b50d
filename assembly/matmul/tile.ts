/**
 * tile: how the packed formats lie in memory, and which of their parts a format has.
 *
 * A tile is 4 rows by all columns, cut into blocks of 32 columns. Q8_0 has 4 scales (f16) before the weights of each block.
 * The others are made of two parts that are chosen independently: codes of 4, 5 or 6 bits (codes.ts), and before them a
 * header with the scales of one block or of eight (scales.ts).
 *
 *             codes    header                                          bytes per weight, and in the file
 *     Q4_0    4 bits   4 scales f16                                    0.5625     0.5625
 *     Q4_1    4 bits   4 scales f16, 4 minima f16                      0.625      0.625
 *     Q5_0    5 bits   4 scales f16                                    0.6875     0.6875
 *     Q5_1    5 bits   4 scales f16, 4 minima f16                      0.75       0.75
 *     IQ4_NL  4 bits   4 scales f16                                    0.5625     0.5625
 *     Q4_K    4 bits   of 8 blocks: 4 scales f32, 4 minima f32,        0.59375    0.5625
 *     Q5_K    5 bits     8 times 4 scales u8 and 4 minima u8           0.71875    0.6875
 *     Q6_K    6 bits   of 8 blocks: 4 scales f32, 8 times 2 · 4 i8     0.828125   0.8203125
 *
 * The K-types' outer scales are held as f32: they are small enough to be subnormal as halves in real files, and a
 * multiplication of a subnormal number takes a hundred times as long on some processors.
 */

/** Ids of weight formats: those of ggml, so that a file's number can be passed on. */
export const Q4_0: i32 = 2;
export const Q4_1: i32 = 3;
export const Q5_0: i32 = 6;
export const Q5_1: i32 = 7;
export const Q8_0: i32 = 8;
export const Q4_K: i32 = 12;
export const Q5_K: i32 = 13;
export const Q6_K: i32 = 14;
export const IQ4_NL: i32 = 20;

/** Bytes of one block of a tile with its 4 scales (f16). */
export const BLOCK_BYTES_Q8_0: usize = 136;
export const BLOCK_BYTES_Q4_0: usize = 72;

/** Whether the format is a header and codes; see above. */
// @ts-ignore: decorator
@inline
export function is_coded(format: i32): bool {
  return format != Q8_0 && format >= Q4_0 && format <= IQ4_NL;
}

// @ts-ignore: decorator
@inline
export function is_k_type(format: i32): bool {
  return format >= Q4_K && format <= Q6_K;
}

/** Whether weights are scale · code plus or minus a minimum, not scale · (code − zero). */
// @ts-ignore: decorator
@inline
export function has_minimum(format: i32): bool {
  return format == Q4_1 || format == Q5_1 || format == Q4_K || format == Q5_K;
}

/**
 * Whether codes are numbers of 4 bits, multiplied as they lie in the tile by an input of 8 bits. Q4_1 is too rare for kernels of
 * its own (2 KB): its codes are widened.
 */
// @ts-ignore: decorator
@inline
export function has_nibbles(format: i32): bool {
  return format == Q4_0 || format == Q4_K;
}

/** The code that stands for a weight of 0, where there is no minimum. */
// @ts-ignore: decorator
@inline
export function zero_code(format: i32): i32 {
  if (format == Q4_0) return 8;
  if (format == Q5_0) return 16;
  return format == Q6_K ? 32 : 0;
}

/** Bytes of the codes of one block: 4 rows by 32. */
// @ts-ignore: decorator
@inline
export function code_bytes(format: i32): usize {
  if (format == Q6_K) return 96;
  return format == Q5_0 || format == Q5_1 || format == Q5_K ? 80 : 64;
}

// @ts-ignore: decorator
@inline
export function header_bytes(format: i32): usize {
  if (is_k_type(format)) return format == Q6_K ? 80 : 96;
  return has_minimum(format) ? 16 : 8;
}

/** Blocks that share a header. */
// @ts-ignore: decorator
@inline
export function header_blocks(format: i32): usize {
  return is_k_type(format) ? 8 : 1;
}

/** Bytes of a tile of a format with header and codes. */
export function coded_tile_bytes(format: i32, blocks: usize): usize {
  return (blocks / header_blocks(format)) * header_bytes(format) + blocks * code_bytes(format);
}
