/**
 * q8_0 without relaxed SIMD: weights are widened as they are loaded, and pairs of halves multiplied, 8 products an
 * instruction. A chunk of 16 bytes gives two vectors, rows 0-1 and rows 2-3, with two partial sums a row: they are added
 * across once a block.
 */
import { add_pairs, dot_halves } from "../lib/lanes";
import { ACCUMULATORS, fold, fold2, fold4 } from "./sums";
import { BLOCK_BYTES_Q8_0 } from "./tile";

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function q8_0_x1(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  const end = ACCUMULATORS + streams * 16;
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
      fold(sum, tile_a, step_f32x4, a);
      fold(sum + 16, tile_b, step_f32x4, b);
      fold(sum + 32, tile_c, step_f32x4, c);
      fold(sum + 48, tile_d, step_f32x4, d);
      tile_a = tile_d + stride;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 4;
  }
}

/** Two columns in the place of four, two streams at a time. */
export function q8_0_x2(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  const end = ACCUMULATORS + ((streams + 1) >> 1) * 128;
  const last = streams & 1 ? end - 128 : end;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 128) {
      const other = sum == last ? tile : tile + stride;
      let a0 = i32x4.splat(0);
      let a1 = a0,
        b0 = a0,
        b1 = a0,
        c0 = a0,
        c1 = a0,
        d0 = a0,
        d1 = a0;
      let p = tile,
        q = other,
        x = group;
      const stop = tile + 128;
      do {
        const code0 = v128.load64_splat(x),
          code1 = v128.load64_splat(x, 8);
        let w = v128.load8x8_s(p, 8);
        a0 = dot_halves(a0, w, code0);
        a1 = dot_halves(a1, w, code1);
        w = v128.load8x8_s(p, 16);
        b0 = dot_halves(b0, w, code0);
        b1 = dot_halves(b1, w, code1);
        w = v128.load8x8_s(q, 8);
        c0 = dot_halves(c0, w, code0);
        c1 = dot_halves(c1, w, code1);
        w = v128.load8x8_s(q, 16);
        d0 = dot_halves(d0, w, code0);
        d1 = dot_halves(d1, w, code1);
        p += 16;
        q += 16;
        x += 32;
      } while (p < stop);
      fold2(sum, tile, steps, add_pairs(a0, b0), add_pairs(a1, b1));
      fold2(sum + 16, other, steps, add_pairs(c0, d0), add_pairs(c1, d1));
      tile = other + stride;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 16;
  }
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
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    for (let stream: usize = 0; stream < streams; stream++) {
      let a0 = i32x4.splat(0);
      let a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0;
      let p = tile,
        x = group;
      const end = tile + 128;
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
      } while (p < end);
      const sum = ACCUMULATORS + (stream >> 1) * 128 + (stream & 1) * 16;
      fold4(sum, tile, steps, add_pairs(a0, b0), add_pairs(a1, b1), add_pairs(a2, b2), add_pairs(a3, b3));
      tile += stride;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 16;
  }
}
