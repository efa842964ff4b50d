/**
 * product: approximate logits of all tokens from product codes, by table look-ups ("fast scan").
 *
 *     logit[i]  ≈  scale[i] · Σ_s table[s][code[i, s]]  +  bias[i]         table[s][j]  =  codebook[s][j] · x[4s … 4s + 3]
 *
 * A sub-vector of 4 columns has 16 codewords, so its table is 16 numbers: rounded to 7 bits it is one vector, and a
 * swizzle looks up sixteen tokens at once. Sums of two entries fit a byte; they are added as 16-bit lanes, whose low bytes
 * are cleaned at the end: even = all − 256 · odd.
 *
 *     table[s][j]  ≈  least[s] + step · entry[s][j]        0 ≤ entry ≤ limit, so that no sum passes 65,535
 *
 * Shapes    x, codebook: (S / 2) pairs of sub-vectors, 8 columns each. Codebook [s][4][16] f32: column, then codeword.
 * Layout    tiles of 16 tokens: per pair of sub-vectors 16 bytes, low nibbles the codes of the first one. Byte 2i is of
 *           token i, byte 2i + 1 of token 8 + i, as the even and odd bytes are summed apart. Scales, biases: f16 a token.
 * Accuracy  integers are exact; entries are within step / 2, step = widest table / limit. f32 otherwise, in one order.
 * Cost      half a byte for 4 weights; 9 operations for 32 look-ups, and 2 loads of tables shared by four tiles.
 *
 * Sources   Jégou, Douze, Schmid 2011 (product quantisation); André, Kermarrec, Le Scouarnec 2015, "Cache locality is not
 *           enough" (tables in registers).
 */
import { HALF_SCALE, raw_load4 } from "../lib/half";
import { RELAXED } from "../lib/lanes";

/** Largest entry: sums of two fit a byte. */
const MOST_ENTRY: f32 = 127;

const NIBBLES: usize = memory.data<u8>([15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15], 16);

/** Of one call to `product_tables`: what a sum of entries stands for, offset + step · sum. */
let offset: f32 = 0;
let step: f32 = 0;

/**
 * Makes the tables for x.
 *
 * @param tables (subs, 16) u8. @param work (subs, 16) f32, and one f32 for each.
 */
export function product_tables(codebook: usize, x: usize, subs: usize, tables: usize, work: usize): void {
  const leasts = work + subs * 64;
  let widest: f32 = 0;
  offset = 0;
  for (let s: usize = 0; s < subs; s++) {
    const from = codebook + s * 256;
    const to = work + s * 64;
    let least = f32x4.splat(Infinity);
    let most = f32x4.splat(-Infinity);
    for (let j: usize = 0; j < 64; j += 16) {
      let sum = f32x4.mul(v128.load(from + j), v128.load32_splat(x));
      sum = f32x4.add(sum, f32x4.mul(v128.load(from + j, 64), v128.load32_splat(x, 4)));
      sum = f32x4.add(sum, f32x4.mul(v128.load(from + j, 128), v128.load32_splat(x, 8)));
      sum = f32x4.add(sum, f32x4.mul(v128.load(from + j, 192), v128.load32_splat(x, 12)));
      v128.store(to + j, sum);
      least = f32x4.pmin(least, sum);
      most = f32x4.pmax(most, sum);
    }
    const low = min_lane(least);
    store<f32>(leasts + s * 4, low);
    widest = max<f32>(widest, -min_lane(f32x4.neg(most)) - low);
    offset += low;
    x += 16;
  }
  const limit = min<f32>(MOST_ENTRY, <f32>(<usize>65535 / subs));
  step = widest / limit;
  const inverse = f32x4.splat(widest > 0 ? limit / widest : 0);
  const highest = f32x4.splat(limit);
  for (let s: usize = 0; s < subs; s++) {
    const least = v128.load32_splat(leasts + s * 4);
    const from = work + s * 64;
    const a = i16x8.narrow_i32x4_s(
      entries(v128.load(from), least, inverse, highest),
      entries(v128.load(from, 16), least, inverse, highest),
    );
    const b = i16x8.narrow_i32x4_s(
      entries(v128.load(from, 32), least, inverse, highest),
      entries(v128.load(from, 48), least, inverse, highest),
    );
    v128.store(tables + s * 16, i8x16.narrow_i16x8_u(a, b));
  }
}

// @ts-ignore: decorator
@inline
function entries(values: v128, least: v128, inverse: v128, highest: v128): v128 {
  const scaled = f32x4.nearest(f32x4.mul(f32x4.sub(values, least), inverse));
  return i32x4.trunc_sat_f32x4_s(f32x4.pmin(highest, scaled));
}

// @ts-ignore: decorator
@inline
function min_lane(v: v128): f32 {
  return min<f32>(
    min<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    min<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/**
 * The logits of `tiles` tiles by the last tables that were made.
 *
 * Sixteen tiles at a time, as far apart as can be, a segment of each in turn: the bytes arrive as sixteen streams, see
 * matmul/bands.ts.
 *
 * @param out (tiles · 16) f32.
 */
export function product_scan(
  codes: usize,
  tables: usize,
  pairs: usize,
  tiles: usize,
  scales: usize,
  biases: usize,
  out: usize,
): void {
  const bytes = pairs * 16;
  for (let left = tiles; left > 0;) {
    const streams = min<usize>(left, STREAMS);
    const band = left / streams;
    for (let tile: usize = 0; tile < band; tile++) {
      const zero = i32x4.splat(0);
      for (let at = SUMS; at < SUMS + STREAMS * 32; at += 16) v128.store(at, zero);
      for (let pair: usize = 0; pair < pairs; pair += SEGMENT) {
        const from = codes + tile * bytes + pair * 16;
        const count = min<usize>(SEGMENT, pairs - pair);
        for (let i: usize = 0; i < streams; i += 4) {
          add4(from, band * bytes, i, streams - 1, tables + pair * 32, count);
        }
      }
      for (let i: usize = 0; i < streams; i++) {
        const at = tile + i * band;
        finish(SUMS + i * 32, scales + at * 32, biases + at * 32, out + at * 64);
      }
    }
    left -= band * streams;
    codes += band * streams * bytes;
    scales += band * streams * 32;
    biases += band * streams * 32;
    out += band * streams * 64;
  }
}

const STREAMS: usize = 16;
/** Pairs of sub-vectors of a tile before it is the next one's turn: 512 bytes. */
const SEGMENT: usize = 32;

/** Of each stream two vectors of u16, modulo 2^16: sums of all bytes with their neighbours' 256-fold, sums of odd bytes. */
const SUMS: usize = memory.data(512, 16);

/** Adds `pairs` pairs to the sums of four streams from `first` on; where fewer are left the last one serves again. */
// @ts-ignore: decorator
@inline
function add4(codes: usize, stride: usize, first: usize, last: usize, tables: usize, pairs: usize): void {
  const nibbles = v128.load(NIBBLES);
  const sums_a = SUMS + first * 32;
  const sums_b = SUMS + min(first + 1, last) * 32;
  const sums_c = SUMS + min(first + 2, last) * 32;
  const sums_d = SUMS + min(first + 3, last) * 32;
  let pa = codes + first * stride;
  let pb = codes + min(first + 1, last) * stride;
  let pc = codes + min(first + 2, last) * stride;
  let pd = codes + min(first + 3, last) * stride;
  let a = v128.load(sums_a),
    b = v128.load(sums_b),
    c = v128.load(sums_c),
    d = v128.load(sums_d);
  let a_odd = v128.load(sums_a, 16),
    b_odd = v128.load(sums_b, 16),
    c_odd = v128.load(sums_c, 16),
    d_odd = v128.load(sums_d, 16);
  const end = tables + pairs * 32;
  do {
    const even_table = v128.load(tables);
    const odd_table = v128.load(tables, 16);
    let sum = look_up(even_table, odd_table, v128.load(pa), nibbles);
    a = i16x8.add(a, sum);
    a_odd = i16x8.add(a_odd, i16x8.shr_u(sum, 8));
    sum = look_up(even_table, odd_table, v128.load(pb), nibbles);
    b = i16x8.add(b, sum);
    b_odd = i16x8.add(b_odd, i16x8.shr_u(sum, 8));
    sum = look_up(even_table, odd_table, v128.load(pc), nibbles);
    c = i16x8.add(c, sum);
    c_odd = i16x8.add(c_odd, i16x8.shr_u(sum, 8));
    sum = look_up(even_table, odd_table, v128.load(pd), nibbles);
    d = i16x8.add(d, sum);
    d_odd = i16x8.add(d_odd, i16x8.shr_u(sum, 8));
    pa += 16;
    pb += 16;
    pc += 16;
    pd += 16;
    tables += 32;
  } while (tables < end);
  keep(sums_d, d, d_odd);
  keep(sums_c, c, c_odd);
  keep(sums_b, b, b_odd);
  keep(sums_a, a, a_odd);
}

/** Entries of a pair of sub-vectors for 16 tokens, added. Indices are below 16, where both forms of the swizzle agree. */
// @ts-ignore: decorator
@inline
function look_up(first: v128, second: v128, codes: v128, nibbles: v128): v128 {
  const low = v128.and(codes, nibbles);
  const high = v128.and(i16x8.shr_u(codes, 4), nibbles);
  if (RELAXED) return i8x16.add(i8x16.relaxed_swizzle(first, low), i8x16.relaxed_swizzle(second, high));
  return i8x16.add(i8x16.swizzle(first, low), i8x16.swizzle(second, high));
}

// @ts-ignore: decorator
@inline
function keep(to: usize, all: v128, odd: v128): void {
  v128.store(to, all);
  v128.store(to, odd, 16);
}

/** From sums of entries to 16 logits. */
// @ts-ignore: decorator
@inline
function finish(sums: usize, scales: usize, biases: usize, out: usize): void {
  const odd = v128.load(sums, 16);
  v128.store(sums, i16x8.sub(v128.load(sums), i16x8.shl(odd, 8)));
  const offset_f32x4 = f32x4.splat(offset);
  const step_f32x4 = f32x4.splat(step);
  const half_scale = f32x4.splat(HALF_SCALE);
  for (let i: usize = 0; i < 4; i++) {
    const counts_f32x4 = f32x4.convert_i32x4_u(v128.load16x4_u(sums + i * 8));
    const sum_f32x4 = f32x4.add(offset_f32x4, f32x4.mul(step_f32x4, counts_f32x4));
    const scale_f32x4 = f32x4.mul(raw_load4(scales + i * 8), half_scale);
    const bias_f32x4 = f32x4.mul(raw_load4(biases + i * 8), half_scale);
    v128.store(out + i * 16, f32x4.add(f32x4.mul(scale_f32x4, sum_f32x4), bias_f32x4));
  }
}
