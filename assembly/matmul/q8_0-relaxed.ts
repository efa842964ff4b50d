/**
 * q8_0 with relaxed dots: 16 products an instruction.
 *
 * The second operand of a relaxed dot must stay in 0 … 127, so code = 128·(high − 64) + low, both in that range, and
 *
 *     Σ weight·code  =  128·(Σ weight·high  −  Σ weight·64)  +  Σ weight·low
 *
 * The high parts go first; their sum, shifted, is what the low parts are added to.
 *
 * Four columns keep the two ports that multiply busy all the time (on Golden Cove): 8 dots of columns, one of offsets, and 3
 * operations of sums.
 *
 * Tried: offsets once for many groups of four columns: 10 % slower for one group, 5 % faster for eight. Fully unrolled bodies, up to 3 times slower (V8 hoists every load and spills), so loops stay short; one stream at
 * a time instead of four side by side, 1.5 times slower on a whole model (the memory bus idles).
 */
import { dot_bytes } from "../lib/lanes";
import { ACCUMULATORS, fold, fold2, fold4 } from "./sums";
import { BLOCK_BYTES_Q8_0 } from "./tile";

// Loaded, not written as a constant: V8 builds a vector constant anew at every use inside a loop.
const SIXTY_FOURS: usize = memory.data<u8>(
  [64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64],
  16,
);

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
  const sixty_fours = v128.load(SIXTY_FOURS);
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
      let a_offset = a,
        b_offset = a,
        c_offset = a,
        d_offset = a;
      do {
        let code = v128.load(x);
        let w = v128.load(pa, 8);
        a = dot_bytes(a, w, code);
        a_offset = dot_bytes(a_offset, w, sixty_fours);
        w = v128.load(pb, 8);
        b = dot_bytes(b, w, code);
        b_offset = dot_bytes(b_offset, w, sixty_fours);
        w = v128.load(pc, 8);
        c = dot_bytes(c, w, code);
        c_offset = dot_bytes(c_offset, w, sixty_fours);
        w = v128.load(pd, 8);
        d = dot_bytes(d, w, code);
        d_offset = dot_bytes(d_offset, w, sixty_fours);
        code = v128.load(x, 16);
        w = v128.load(pa, 24);
        a = dot_bytes(a, w, code);
        a_offset = dot_bytes(a_offset, w, sixty_fours);
        w = v128.load(pb, 24);
        b = dot_bytes(b, w, code);
        b_offset = dot_bytes(b_offset, w, sixty_fours);
        w = v128.load(pc, 24);
        c = dot_bytes(c, w, code);
        c_offset = dot_bytes(c_offset, w, sixty_fours);
        w = v128.load(pd, 24);
        d = dot_bytes(d, w, code);
        d_offset = dot_bytes(d_offset, w, sixty_fours);
        pa += 32;
        pb += 32;
        pc += 32;
        pd += 32;
        x += 32;
      } while (pa < stop);
      a = i32x4.shl(i32x4.sub(a, a_offset), 7);
      b = i32x4.shl(i32x4.sub(b, b_offset), 7);
      c = i32x4.shl(i32x4.sub(c, c_offset), 7);
      d = i32x4.shl(i32x4.sub(d, d_offset), 7);
      pa = tile_a;
      pb = tile_b;
      pc = tile_c;
      pd = tile_d;
      do {
        let code = v128.load(x);
        a = dot_bytes(a, v128.load(pa, 8), code);
        b = dot_bytes(b, v128.load(pb, 8), code);
        c = dot_bytes(c, v128.load(pc, 8), code);
        d = dot_bytes(d, v128.load(pd, 8), code);
        code = v128.load(x, 16);
        a = dot_bytes(a, v128.load(pa, 24), code);
        b = dot_bytes(b, v128.load(pb, 24), code);
        c = dot_bytes(c, v128.load(pc, 24), code);
        d = dot_bytes(d, v128.load(pd, 24), code);
        pa += 32;
        pb += 32;
        pc += 32;
        pd += 32;
        x += 32;
      } while (pa < stop);
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

/**
 * Two columns in the place of four, two streams side by side. Leaves 4 sums per stream and column in ACCUMULATORS. High and low
 * parts have sums of their own: a dot takes five cycles, and waits for the one before on the same sum.
 */
export function q8_0_x2(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  const sixty_fours = v128.load(SIXTY_FOURS);
  const end = ACCUMULATORS + ((streams + 1) >> 1) * 128;
  const last = streams & 1 ? end - 128 : end;
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 128) {
      const other = sum == last ? tile : tile + stride;
      let a0 = i32x4.splat(0);
      let a1 = a0,
        a0_low = a0,
        a1_low = a0,
        a_offset = a0,
        b0 = a0,
        b1 = a0,
        b0_low = a0,
        b1_low = a0,
        b_offset = a0;
      let p = tile,
        q = other,
        x = group;
      const stop = tile + 128;
      do {
        const w = v128.load(p, 8),
          v = v128.load(q, 8);
        a_offset = dot_bytes(a_offset, w, sixty_fours);
        b_offset = dot_bytes(b_offset, v, sixty_fours);
        let code = v128.load32_splat(x);
        a0 = dot_bytes(a0, w, code);
        b0 = dot_bytes(b0, v, code);
        code = v128.load32_splat(x, 4);
        a1 = dot_bytes(a1, w, code);
        b1 = dot_bytes(b1, v, code);
        code = v128.load32_splat(x, 128);
        a0_low = dot_bytes(a0_low, w, code);
        b0_low = dot_bytes(b0_low, v, code);
        code = v128.load32_splat(x, 132);
        a1_low = dot_bytes(a1_low, w, code);
        b1_low = dot_bytes(b1_low, v, code);
        p += 16;
        q += 16;
        x += 16;
      } while (p < stop);
      a0 = i32x4.add(i32x4.shl(i32x4.sub(a0, a_offset), 7), a0_low);
      a1 = i32x4.add(i32x4.shl(i32x4.sub(a1, a_offset), 7), a1_low);
      b0 = i32x4.add(i32x4.shl(i32x4.sub(b0, b_offset), 7), b0_low);
      b1 = i32x4.add(i32x4.shl(i32x4.sub(b1, b_offset), 7), b1_low);
      fold2(sum, tile, steps, a0, a1);
      fold2(sum + 16, other, steps, b0, b1);
      tile = other + stride;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 16;
  }
}

/** Four columns, two streams at a time. Leaves 4 sums per stream and column in ACCUMULATORS, [pair][column][2]. */
export function q8_0_x4(
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  steps: usize,
  blocks: usize,
): void {
  const sixty_fours = v128.load(SIXTY_FOURS);
  for (let n = blocks; n > 0; --n) {
    let tile = weights;
    let sum = ACCUMULATORS;
    for (let left: isize = streams; left > 0; left -= 2) {
      const other = left > 1 ? tile + stride : tile;
      let a0 = i32x4.splat(0);
      let a1 = a0,
        a2 = a0,
        a3 = a0,
        b0 = a0,
        b1 = a0,
        b2 = a0,
        b3 = a0;
      let p = tile,
        q = other,
        x = group;
      const end = tile + 128;
      let a_offset = a0,
        b_offset = a0;
      do {
        const w = v128.load(p, 8),
          v = v128.load(q, 8);
        a_offset = dot_bytes(a_offset, w, sixty_fours);
        b_offset = dot_bytes(b_offset, v, sixty_fours);
        let code = v128.load32_splat(x);
        a0 = dot_bytes(a0, w, code);
        b0 = dot_bytes(b0, v, code);
        code = v128.load32_splat(x, 4);
        a1 = dot_bytes(a1, w, code);
        b1 = dot_bytes(b1, v, code);
        code = v128.load32_splat(x, 8);
        a2 = dot_bytes(a2, w, code);
        b2 = dot_bytes(b2, v, code);
        code = v128.load32_splat(x, 12);
        a3 = dot_bytes(a3, w, code);
        b3 = dot_bytes(b3, v, code);
        p += 16;
        q += 16;
        x += 16;
      } while (p < end);
      a0 = i32x4.shl(i32x4.sub(a0, a_offset), 7);
      a1 = i32x4.shl(i32x4.sub(a1, a_offset), 7);
      a2 = i32x4.shl(i32x4.sub(a2, a_offset), 7);
      a3 = i32x4.shl(i32x4.sub(a3, a_offset), 7);
      b0 = i32x4.shl(i32x4.sub(b0, b_offset), 7);
      b1 = i32x4.shl(i32x4.sub(b1, b_offset), 7);
      b2 = i32x4.shl(i32x4.sub(b2, b_offset), 7);
      b3 = i32x4.shl(i32x4.sub(b3, b_offset), 7);
      p = tile;
      q = other;
      do {
        const w = v128.load(p, 8),
          v = v128.load(q, 8);
        let code = v128.load32_splat(x);
        a0 = dot_bytes(a0, w, code);
        b0 = dot_bytes(b0, v, code);
        code = v128.load32_splat(x, 4);
        a1 = dot_bytes(a1, w, code);
        b1 = dot_bytes(b1, v, code);
        code = v128.load32_splat(x, 8);
        a2 = dot_bytes(a2, w, code);
        b2 = dot_bytes(b2, v, code);
        code = v128.load32_splat(x, 12);
        a3 = dot_bytes(a3, w, code);
        b3 = dot_bytes(b3, v, code);
        p += 16;
        q += 16;
        x += 16;
      } while (p < end);
      fold4(sum, tile, steps, a0, a1, a2, a3);
      fold4(sum + 16, other, steps, b0, b1, b2, b3);
      tile += stride * 2;
      sum += 128;
    }
    weights += BLOCK_BYTES_Q8_0;
    group += 256;
    steps += 16;
  }
}
