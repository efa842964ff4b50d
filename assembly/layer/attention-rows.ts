/**
 * attention-rows: both products of attention, of two to four rows: heads, of one token or several, that have their keys and
 * values in common. One widening serves all of them.
 *
 *     s[row, j]  =  scale · Σ_d q[row, d]·K[j, d]        out[row, d]  =  Σ_j p[row, j]·V[j, d]
 *
 * Sums run in the order of d or of j, one product at a time, however many rows there are.
 */
import { PAGE, code_bytes, page_of } from "./kv";

export function key_products2(
  stage: usize,
  table: usize,
  at: usize,
  out: usize,
  stride: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
  scale: f32,
): void {
  key_products(2, stage, table, at, out, stride, begin, length, head_dim, scale);
}

export function key_products3(
  stage: usize,
  table: usize,
  at: usize,
  out: usize,
  stride: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
  scale: f32,
): void {
  key_products(3, stage, table, at, out, stride, begin, length, head_dim, scale);
}

export function key_products4(
  stage: usize,
  table: usize,
  at: usize,
  out: usize,
  stride: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
  scale: f32,
): void {
  key_products(4, stage, table, at, out, stride, begin, length, head_dim, scale);
}

/**
 * Scores of `rows` heads, [head_dim][4] at `stage`, against the keys from `begin`, a multiple of 4; the last vector may hold
 * scores of positions not yet there. Inlined with `rows` constant.
 */
// @ts-ignore: decorator
@inline
function key_products(
  rows: i32,
  stage: usize,
  table: usize,
  at: usize,
  out: usize,
  stride: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
  scale: f32,
): void {
  const scale_f32x4 = f32x4.splat(scale);
  const stop = stage + head_dim * 16;
  out += begin * 4;
  while (begin < length) {
    const slot = begin & (PAGE - 1);
    const page = page_of(table, begin) + at;
    let key = page + slot * head_dim * 2;
    let steps = page + code_bytes(head_dim) * 2 + slot * 4;
    const some = min(PAGE - slot, length - begin);
    begin += some;
    for (const end = steps + some * 4; steps < end; steps += 16) {
      let a0 = f32x4.splat(0);
      let a1 = a0,
        b0 = a0,
        b1 = a0,
        c0 = a0,
        c1 = a0,
        e0 = a0,
        e1 = a0;
      let x = stage;
      do {
        const even = f32x4.convert_i32x4_s(v128.load16x4_s(key));
        const odd = f32x4.convert_i32x4_s(v128.load16x4_s(key, 8));
        a0 = f32x4.add(a0, f32x4.mul(even, v128.load32_splat(x)));
        a1 = f32x4.add(a1, f32x4.mul(odd, v128.load32_splat(x, 16)));
        b0 = f32x4.add(b0, f32x4.mul(even, v128.load32_splat(x, 4)));
        b1 = f32x4.add(b1, f32x4.mul(odd, v128.load32_splat(x, 20)));
        if (rows > 2) {
          c0 = f32x4.add(c0, f32x4.mul(even, v128.load32_splat(x, 8)));
          c1 = f32x4.add(c1, f32x4.mul(odd, v128.load32_splat(x, 24)));
        }
        if (rows > 3) {
          e0 = f32x4.add(e0, f32x4.mul(even, v128.load32_splat(x, 12)));
          e1 = f32x4.add(e1, f32x4.mul(odd, v128.load32_splat(x, 28)));
        }
        key += 16;
        x += 32;
      } while (x < stop);
      const factor_f32x4 = f32x4.mul(v128.load(steps), scale_f32x4);
      let to = out;
      v128.store(to, f32x4.mul(f32x4.add(a0, a1), factor_f32x4));
      v128.store((to += stride), f32x4.mul(f32x4.add(b0, b1), factor_f32x4));
      if (rows > 2) v128.store((to += stride), f32x4.mul(f32x4.add(c0, c1), factor_f32x4));
      if (rows > 3) v128.store(to + stride, f32x4.mul(f32x4.add(e0, e1), factor_f32x4));
      out += 16;
    }
  }
}

export function weigh_values2(
  probs: usize,
  stride: usize,
  table: usize,
  at: usize,
  out: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
): void {
  weigh_values(2, probs, stride, table, at, out, begin, length, head_dim);
}

export function weigh_values3(
  probs: usize,
  stride: usize,
  table: usize,
  at: usize,
  out: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
): void {
  weigh_values(3, probs, stride, table, at, out, begin, length, head_dim);
}

export function weigh_values4(
  probs: usize,
  stride: usize,
  table: usize,
  at: usize,
  out: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
): void {
  weigh_values(4, probs, stride, table, at, out, begin, length, head_dim);
}

/**
 * out[row, d] = Σ_j p[row, j]·V[j, d], j from `begin` to before `length`, 8 dims at a time. What a row does not see has p = 0,
 * which changes no bit of its sum. Inlined with `rows` constant.
 */
// @ts-ignore: decorator
@inline
function weigh_values(
  rows: i32,
  probs: usize,
  stride: usize,
  table: usize,
  at: usize,
  out: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
): void {
  const head_size = head_dim << 2;
  probs += begin * 4;
  for (const stop = out + head_size; out < stop; out += 32) {
    let a0 = f32x4.splat(0);
    let a1 = a0,
      b0 = a0,
      b1 = a0,
      c0 = a0,
      c1 = a0,
      e0 = a0,
      e1 = a0;
    let p = probs;
    for (let j = begin; j < length;) {
      const slot = j & (PAGE - 1);
      let v = page_of(table, j) + at + slot * head_dim * 2;
      const some = min(PAGE - slot, length - j);
      j += some;
      for (const end = p + some * 4; p < end; p += 4) {
        const low = f32x4.convert_i32x4_s(v128.load16x4_s(v));
        const high = f32x4.convert_i32x4_s(v128.load16x4_s(v, 8));
        let weight = v128.load32_splat(p);
        a0 = f32x4.add(a0, f32x4.mul(low, weight));
        a1 = f32x4.add(a1, f32x4.mul(high, weight));
        let other = p + stride;
        weight = v128.load32_splat(other);
        b0 = f32x4.add(b0, f32x4.mul(low, weight));
        b1 = f32x4.add(b1, f32x4.mul(high, weight));
        if (rows > 2) {
          other += stride;
          weight = v128.load32_splat(other);
          c0 = f32x4.add(c0, f32x4.mul(low, weight));
          c1 = f32x4.add(c1, f32x4.mul(high, weight));
        }
        if (rows > 3) {
          other += stride;
          weight = v128.load32_splat(other);
          e0 = f32x4.add(e0, f32x4.mul(low, weight));
          e1 = f32x4.add(e1, f32x4.mul(high, weight));
        }
        v += head_dim * 2;
      }
    }
    let to = out;
    v128.store(to, a0);
    v128.store(to, a1, 16);
    to += head_size;
    v128.store(to, b0);
    v128.store(to, b1, 16);
    if (rows > 2) {
      to += head_size;
      v128.store(to, c0);
      v128.store(to, c1, 16);
    }
    if (rows > 3) {
      to += head_size;
      v128.store(to, e0);
      v128.store(to, e1, 16);
    }
    at += 16;
  }
}
