/**
 * scales: the headers of a tile, and how they take part in a sum. Per block, row and column
 *
 *     Q4_0, Q5_0      sum += total · (scale · step)
 *     Q4_1, Q5_1      sum += total · (scale · step)  +  minimum · codes
 *     Q4_K, Q5_K      the same, scale = outer scale · 6 bits, minimum = outer minimum · 6 bits (products exact in f32)
 *     Q6_K            sum += (total₀ · scale₀ + total₁ · scale₁) · (outer scale · step)        bracket exact in i32
 *
 * total = Σ code · x less the zero code (bytes-*.ts, nibbles-*.ts); step and codes = step · Σ x belong to the activation. Each operation
 * on f32 is rounded once, from left to right as written; blocks are in order.
 *
 * Exact     |total| ≤ 32 · 31 · 8191 < 2^23; Q6_K's bracket ≤ 2 · 128 · 16 · 32 · 8191 < 2^30.
 * Layout    see tile.ts. The outer minimum of K-types is held negative, as they subtract it.
 */
import { HALF_SCALE, raw_load4 } from "../lib/half";
import { Q6_K, has_minimum, is_k_type } from "./tile";
import { ACCUMULATORS, SECOND_TOTALS, TOTALS, add_scaled } from "./sums";

// The four lines above.
// @ts-ignore: decorator
@inline
export const SCALE: i32 = 0;
// @ts-ignore: decorator
@inline
export const MINIMUM: i32 = 1;
// @ts-ignore: decorator
@inline
export const OUTER: i32 = 2;
// @ts-ignore: decorator
@inline
export const HALVES: i32 = 3;

/** Adds TOTALS of block `index` of each header to the sums of one column; not of Q6_K. */
export function fold_x1(
  format: i32,
  header: usize,
  stride: usize,
  streams: usize,
  index: usize,
  step: usize,
  codes: usize,
): void {
  if (is_k_type(format)) fold(OUTER, 1, header, stride, streams, index, step, codes);
  else if (has_minimum(format)) fold(MINIMUM, 1, header, stride, streams, index, step, codes);
  else fold(SCALE, 1, header, stride, streams, index, step, codes);
}

/** The same for four columns, of Q6_K too. */
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
    const at = columns == 1 ? stream * 16 : (stream >> 1) * 128 + (stream & 1) * 16;
    const sum = ACCUMULATORS + at;
    const totals = TOTALS + at;
    const inner = kind == HALVES ? inner_at(header, index) : i32x4.splat(0);
    const t0 = total_at(kind, totals, inner);
    if (columns == 1) add_x1(kind, sum, header, index, steps, codes, t0);
    else {
      const t1 = total_at(kind, totals + 32, inner);
      const t2 = total_at(kind, totals + 64, inner);
      const t3 = total_at(kind, totals + 96, inner);
      add_x4(kind, sum, header, index, steps, codes, t0, t1, t2, t3);
    }
    header += stride;
  }
}

// @ts-ignore: decorator
@inline
function total_at(kind: i32, totals: usize, inner: v128): v128 {
  if (kind != HALVES) return v128.load(totals);
  return bracket(inner, v128.load(totals), v128.load(totals, SECOND_TOTALS));
}

/** Of Q6_K: the scales of both halves of block `index`, i16. */
// @ts-ignore: decorator
@inline
export function inner_at(header: usize, index: usize): v128 {
  return v128.load8x8_s(header + index * 8, 16);
}

/** Of Q6_K: both halves' totals times their scales. */
// @ts-ignore: decorator
@inline
export function bracket(inner: v128, first: v128, second: v128): v128 {
  return i32x4.add(
    i32x4.mul(first, i32x4.extend_low_i16x8_s(inner)),
    i32x4.mul(second, i32x4.extend_high_i16x8_s(inner)),
  );
}

/** Adds the total (of HALVES: the bracket) of block `index` to a sum. Inlined with `kind` constant, as what follows. */
// @ts-ignore: decorator
@inline
export function add_x1(
  kind: i32,
  sum: usize,
  header: usize,
  index: usize,
  step: usize,
  codes: usize,
  total: v128,
): void {
  const scales = scales_at(kind, header, index);
  const minima = minima_at(kind, header, index);
  add_column(kind, sum, scales, minima, step, codes, total);
}

/** The same for two columns, whose sums stand 32 bytes apart and whose steps and codes stand side by side. */
// @ts-ignore: decorator
@inline
export function add_x2(
  kind: i32,
  sum: usize,
  header: usize,
  index: usize,
  steps: usize,
  codes: usize,
  t0: v128,
  t1: v128,
): void {
  const scales = scales_at(kind, header, index);
  const minima = minima_at(kind, header, index);
  add_column(kind, sum, scales, minima, steps, codes, t0);
  add_column(kind, sum + 32, scales, minima, steps + 4, codes + 4, t1);
}

// @ts-ignore: decorator
@inline
export function add_x4(
  kind: i32,
  sum: usize,
  header: usize,
  index: usize,
  steps: usize,
  codes: usize,
  t0: v128,
  t1: v128,
  t2: v128,
  t3: v128,
): void {
  const scales = scales_at(kind, header, index);
  const minima = minima_at(kind, header, index);
  add_column(kind, sum, scales, minima, steps, codes, t0);
  add_column(kind, sum + 32, scales, minima, steps + 4, codes + 4, t1);
  add_column(kind, sum + 64, scales, minima, steps + 8, codes + 8, t2);
  add_column(kind, sum + 96, scales, minima, steps + 12, codes + 12, t3);
}

// @ts-ignore: decorator
@inline
function scales_at(kind: i32, header: usize, index: usize): v128 {
  if (kind == HALVES) return v128.load(header);
  if (kind != OUTER) return raw_load4(header);
  const inner = i32x4.extend_low_i16x8_u(v128.load8x8_u(header + index * 8, 32));
  return f32x4.mul(v128.load(header), f32x4.convert_i32x4_s(inner));
}

// @ts-ignore: decorator
@inline
function minima_at(kind: i32, header: usize, index: usize): v128 {
  if (kind == MINIMUM) return f32x4.mul(raw_load4(header + 8), f32x4.splat(HALF_SCALE));
  if (kind != OUTER) return i32x4.splat(0);
  const inner = i32x4.extend_high_i16x8_u(v128.load8x8_u(header + index * 8, 32));
  return f32x4.mul(v128.load(header, 16), f32x4.convert_i32x4_s(inner));
}

// @ts-ignore: decorator
@inline
function add_column(
  kind: i32,
  sum: usize,
  scales: v128,
  minima: v128,
  step: usize,
  codes: usize,
  total: v128,
): void {
  const factors = f32x4.mul(scales, v128.load32_splat(step));
  if (kind == MINIMUM || kind == OUTER) {
    const product = f32x4.mul(f32x4.convert_i32x4_s(total), factors);
    const offset = f32x4.mul(minima, v128.load32_splat(codes));
    v128.store(sum, f32x4.add(v128.load(sum), f32x4.add(product, offset)));
  } else add_scaled(sum, factors, total);
}
