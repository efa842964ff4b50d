/**
 * scales: the headers of a tile, and how they take part in a sum. Per block, row and column
 *
 *     Q5_0            sum += total · (scale · step)
 *     Q4_1, Q5_1      sum += total · (scale · step)  +  minimum · codes
 *     Q4_K, Q5_K      the same, scale = outer scale · 6 bits, minimum = outer minimum · 6 bits (products exact in f32)
 *     Q6_K            sum += (total₀ · scale₀ + total₁ · scale₁) · (outer scale · step)        bracket exact in i32
 *
 * total = Σ code · x less the zero code (bytes-*.ts); step and codes = step · Σ x belong to the activation. Each operation
 * on f32 is rounded once, from left to right as written; blocks are in order.
 *
 * Exact     |total| ≤ 32 · 31 · 8191 < 2^23; Q6_K's bracket ≤ 2 · 128 · 16 · 32 · 8191 < 2^30.
 * Layout    see tile.ts. The outer minimum of K-types is held negative, as they subtract it.
 */
import { HALF_SCALE, half_to_f32, raw_load4 } from "../lib/half";
import { Q6_K, has_minimum, is_k_type } from "./tile";
import { ACCUMULATORS, SECOND_TOTALS, TOTALS, add_scaled } from "./sums";

/** Adds TOTALS of block `index` of each header to the sums of one column. */
export function fold_x1(
  format: i32,
  header: usize,
  stride: usize,
  streams: usize,
  index: usize,
  step: usize,
  codes: usize,
): void {
  if (format == Q6_K) fold(HALVES, 1, header, stride, streams, index, step, codes);
  else if (is_k_type(format)) fold(OUTER, 1, header, stride, streams, index, step, codes);
  else if (has_minimum(format)) fold(MINIMUM, 1, header, stride, streams, index, step, codes);
  else fold(SCALE, 1, header, stride, streams, index, step, codes);
}

/** The same for four columns. */
export function fold_x4(
  format: i32,
  header: usize,
  stride: usize,
  streams: usize,
  index: usize,
  steps: usize,
  codes: usize,
): void {
  if (format == Q6_K) fold(HALVES, 4, header, stride, streams, index, steps, codes);
  else if (is_k_type(format)) fold(OUTER, 4, header, stride, streams, index, steps, codes);
  else if (has_minimum(format)) fold(MINIMUM, 4, header, stride, streams, index, steps, codes);
  else fold(SCALE, 4, header, stride, streams, index, steps, codes);
}

// The four lines above.
const SCALE: i32 = 0;
const MINIMUM: i32 = 1;
const OUTER: i32 = 2;
const HALVES: i32 = 3;

/** Inlined with `kind` and `columns` constants. */
// @ts-ignore: decorator
@inline
function fold(
  kind: i32,
  columns: i32,
  header: usize,
  stride: usize,
  streams: usize,
  index: usize,
  steps: usize,
  codes: usize,
): void {
  for (let stream: usize = 0; stream < streams; stream++) {
    let scales: v128;
    let minima = i32x4.splat(0);
    if (kind == OUTER) {
      const inner = v128.load8x8_u(header + index * 8, 32);
      scales = f32x4.mul(v128.load(header), f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(inner)));
      minima = f32x4.mul(v128.load(header, 16), f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(inner)));
    } else if (kind == HALVES) {
      scales = v128.load(header);
      minima = v128.load8x8_s(header + index * 8, 16);
    } else {
      scales = raw_load4(header);
      if (kind == MINIMUM) minima = f32x4.mul(raw_load4(header + 8), f32x4.splat(HALF_SCALE));
    }
    if (columns == 1) add_block(kind, stream * 16, scales, minima, steps, codes);
    else {
      const at = (stream >> 1) * 128 + (stream & 1) * 16;
      add_block(kind, at, scales, minima, steps, codes);
      add_block(kind, at + 32, scales, minima, steps + 4, codes + 4);
      add_block(kind, at + 64, scales, minima, steps + 8, codes + 8);
      add_block(kind, at + 96, scales, minima, steps + 12, codes + 12);
    }
    header += stride;
  }
}

/** Totals and sum `at` bytes from the first. `minima`: of MINIMUM and OUTER f32x4; of HALVES the scales of both halves, i16x8. */
// @ts-ignore: decorator
@inline
function add_block(kind: i32, at: usize, scales: v128, minima: v128, step: usize, codes: usize): void {
  const sum = ACCUMULATORS + at;
  const totals = TOTALS + at;
  const factors = f32x4.mul(scales, v128.load32_splat(step));
  let total = v128.load(totals);
  if (kind == HALVES) {
    const second = v128.load(totals, SECOND_TOTALS);
    total = i32x4.add(
      i32x4.mul(total, i32x4.extend_low_i16x8_s(minima)),
      i32x4.mul(second, i32x4.extend_high_i16x8_s(minima)),
    );
  }
  if (kind == MINIMUM || kind == OUTER) {
    const product = f32x4.mul(f32x4.convert_i32x4_s(total), factors);
    const offset = f32x4.mul(minima, v128.load32_splat(codes));
    v128.store(sum, f32x4.add(v128.load(sum), f32x4.add(product, offset)));
  } else add_scaled(sum, factors, total);
}

/** Writes row `row` of a header, from the file's block at `from`. */
export function pack_scales(format: i32, from: usize, header: usize, row: usize): void {
  if (format == Q6_K) {
    store<f32>(header + row * 4, half_to_f32(load<u16>(from, 208)));
    for (let half: usize = 0; half < 16; half++) {
      store<u8>(header + half * 4 + row, load<u8>(from + half, 192), 16);
    }
  } else if (is_k_type(format)) {
    store<f32>(header + row * 4, half_to_f32(load<u16>(from)));
    store<f32>(header + row * 4, -half_to_f32(load<u16>(from, 2)), 16);
    for (let index: usize = 0; index < 8; index++) {
      store<u8>(header + index * 8 + row, inner_scale(from + 4, index), 32);
      store<u8>(header + index * 8 + row, inner_minimum(from + 4, index), 36);
    }
  } else {
    store<u16>(header + row * 2, load<u16>(from));
    if (has_minimum(format)) store<u16>(header + row * 2, load<u16>(from, 2), 8);
  }
}

/** 12 bytes hold 8 scales and 8 minima of 6 bits: the first four of each whole, the others in two pieces. */
function inner_scale(packed: usize, index: usize): u8 {
  if (index < 4) return load<u8>(packed + index) & 63;
  return (load<u8>(packed + index + 4) & 15) | ((load<u8>(packed + index - 4) >> 6) << 4);
}

function inner_minimum(packed: usize, index: usize): u8 {
  if (index < 4) return load<u8>(packed + index + 4) & 63;
  return (load<u8>(packed + index + 4) >> 4) | ((load<u8>(packed + index) >> 6) << 4);
}

/** Scale of row `row` in half `half` of block `index`. */
export function scale_of(format: i32, header: usize, index: usize, half: usize, row: usize): f32 {
  if (format == Q6_K) {
    return load<f32>(header + row * 4) * <f32>load<i8>(header + index * 8 + half * 4 + row, 16);
  }
  if (is_k_type(format)) return load<f32>(header + row * 4) * <f32>load<u8>(header + index * 8 + row, 32);
  return half_to_f32(load<u16>(header + row * 2));
}

/** Minimum of row `row` in block `index`, of a format that has one. */
export function minimum_of(format: i32, header: usize, index: usize, row: usize): f32 {
  if (!is_k_type(format)) return half_to_f32(load<u16>(header + row * 2, 8));
  return load<f32>(header + row * 4, 16) * <f32>load<u8>(header + index * 8 + row, 36);
}
