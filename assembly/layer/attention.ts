/**
 * attention: causal grouped-query attention of consecutive positions over an f16 cache.
 *
 *     s[j]  =  scale · Σ_d q[d]·K[j,d]        p  =  softmax(s)        out[d]  =  Σ_j p[j]·V[j,d]        j = 0 … position
 *
 * Every sum runs in the order of d or of j, so a position's result does not depend on which positions were computed
 * in the same call.
 *
 * Shapes    q, out: (tokens, heads, head_dim) f32. head_dim: a multiple of 8. scores: 4 · (capacity rounded up to 4) f32.
 * Layout    K: [kv_head][capacity/4][head_dim][4 positions] halves: a vector of scores needs no horizontal sum.
 *           V: [kv_head][capacity][head_dim] halves, dims of each 8 stored 0 4 1 5 2 6 3 7: the even and odd halves of a
 *           vector are then dims 0-3 and 4-7.
 * Accuracy  K and V rounded to half precision (relative 2^-11), sums in f32.
 * Cost      4 bytes per cached position, kv_head and dim; one widening serves up to 4 query heads.
 */
import { HALF_SCALE, raw_even, raw_load4, raw_odd, store_half4 } from "../lib/half";
import { exp_f32x4 } from "../lib/exp";
import { max_lanes, sum_lanes } from "../lib/lanes";

const STAGE: usize = memory.data(16, 16);

/** Bytes of K, and of V, for `capacity` positions. */
export function kv_bytes(capacity: usize, kv_heads: usize, head_dim: usize): usize {
  return ((capacity + 3) & ~3) * kv_heads * head_dim * 2;
}

/** Writes one position's keys and values, each (kv_heads, head_dim) f32, into the cache. */
export function store_kv(
  key: usize,
  value: usize,
  key_cache: usize,
  value_cache: usize,
  position: usize,
  capacity: usize,
  kv_heads: usize,
  head_dim: usize,
): void {
  const head_bytes = kv_bytes(capacity, 1, head_dim);
  for (; kv_heads > 0; --kv_heads) {
    let k = key_cache + (position >> 2) * head_dim * 8 + (position & 3) * 2;
    let v = value_cache + position * head_dim * 2;
    for (let d: usize = 0; d < head_dim; d += 4) {
      store_half4(STAGE, v128.load(key + d * 4));
      store<u16>(k, load<u16>(STAGE));
      store<u16>(k, load<u16>(STAGE, 2), 8);
      store<u16>(k, load<u16>(STAGE, 4), 16);
      store<u16>(k, load<u16>(STAGE, 6), 24);
      k += 32;
    }
    for (let d: usize = 0; d < head_dim; d += 8) {
      store_half4(STAGE, v128.load(value + d * 4));
      store_half4(STAGE + 8, v128.load(value + d * 4, 16));
      const halves = v128.load(STAGE);
      v128.store(v, i16x8.shuffle(halves, halves, 0, 4, 1, 5, 2, 6, 3, 7));
      v += 16;
    }
    key += head_dim * 4;
    value += head_dim * 4;
    key_cache += head_bytes;
    value_cache += head_bytes;
  }
}

/** Attends from positions `position` … `position + tokens − 1`, whose keys and values are in the cache already. */
export function attention(
  q: usize,
  key_cache: usize,
  value_cache: usize,
  out: usize,
  scores: usize,
  position: usize,
  tokens: usize,
  capacity: usize,
  heads: usize,
  kv_heads: usize,
  head_dim: usize,
  scale: f32,
): void {
  const head_bytes = kv_bytes(capacity, 1, head_dim);
  const group = heads / kv_heads;
  const stride = ((capacity + 3) & ~3) * 4;
  for (; tokens > 0; --tokens) {
    const length = ++position;
    for (let kv: usize = 0; kv < kv_heads; kv++) {
      const k = key_cache + kv * head_bytes;
      const v = value_cache + kv * head_bytes;
      for (let done: usize = 0; done < group; done += 4) {
        const some = min<usize>(4, group - done);
        for (let head: usize = 0; head < some; head += 2) {
          const first = q + head * head_dim * 4;
          const second = head + 1 < some ? first + head_dim * 4 : first;
          const to = scores + head * stride;
          key_products(
            first,
            second,
            k,
            to,
            head + 1 < some ? to + stride : to,
            length,
            head_dim,
            scale * HALF_SCALE,
          );
        }
        for (let head: usize = 0; head < some; head++) softmax_in_place(scores + head * stride, length);
        weigh_values(scores, stride, v, out, some, length, head_dim);
        q += some * head_dim * 4;
        out += some * head_dim * 4;
      }
    }
  }
}

/** Scores of two heads against all keys; the last vector may hold scores of positions not yet there. */
function key_products(
  first: usize,
  second: usize,
  key: usize,
  first_out: usize,
  second_out: usize,
  length: usize,
  head_dim: usize,
  scale: f32,
): void {
  const scale_f32x4 = f32x4.splat(scale);
  for (let j: usize = 0; j < length; j += 4) {
    let a0 = f32x4.splat(0),
      a1 = a0,
      b0 = a0,
      b1 = a0;
    for (let d: usize = 0; d < head_dim << 2; d += 8) {
      const even = raw_load4(key);
      const odd = raw_load4(key + 8);
      a0 = f32x4.add(a0, f32x4.mul(even, f32x4.mul(v128.load32_splat(first + d), scale_f32x4)));
      a1 = f32x4.add(a1, f32x4.mul(odd, f32x4.mul(v128.load32_splat(first + d, 4), scale_f32x4)));
      b0 = f32x4.add(b0, f32x4.mul(even, f32x4.mul(v128.load32_splat(second + d), scale_f32x4)));
      b1 = f32x4.add(b1, f32x4.mul(odd, f32x4.mul(v128.load32_splat(second + d, 4), scale_f32x4)));
      key += 16;
    }
    v128.store(first_out + j * 4, f32x4.add(a0, a1));
    v128.store(second_out + j * 4, f32x4.add(b0, b1));
  }
}

/** exp(s − max) / Σ, over `length` scores; what stands behind them becomes 0. */
function softmax_in_place(scores: usize, length: usize): void {
  const bytes = length << 2;
  const end = scores + ((bytes + 15) & ~15);
  for (let at = scores + bytes; at < end; at += 4) store<f32>(at, -Infinity);
  let max_f32x4 = v128.load(scores);
  for (let at = scores + 16; at < end; at += 16) max_f32x4 = f32x4.max(max_f32x4, v128.load(at));
  const top_f32x4 = f32x4.splat(max_lanes(max_f32x4));
  let sum_f32x4 = f32x4.splat(0);
  for (let at = scores; at < end; at += 16) {
    const e = exp_f32x4(f32x4.sub(v128.load(at), top_f32x4));
    v128.store(at, e);
    sum_f32x4 = f32x4.add(sum_f32x4, e);
  }
  // Raw halves times 2^112 here, once per score, instead of once per value.
  const factor_f32x4 = f32x4.splat(1 / sum_lanes(sum_f32x4));
  for (let at = scores; at < end; at += 16) {
    v128.store(at, f32x4.mul(f32x4.mul(v128.load(at), factor_f32x4), f32x4.splat(HALF_SCALE)));
  }
}

/** out[head, d] = Σ_j p[head, j]·V[j, d] for up to 4 heads, 8 dims at a time. */
function weigh_values(
  probs: usize,
  stride: usize,
  value: usize,
  out: usize,
  heads: usize,
  length: usize,
  head_dim: usize,
): void {
  const head_bytes = head_dim << 2;
  for (let d: usize = 0; d < head_dim; d += 8) {
    let a0 = f32x4.splat(0),
      a1 = a0,
      b0 = a0,
      b1 = a0,
      c0 = a0,
      c1 = a0,
      e0 = a0,
      e1 = a0;
    let v = value + d * 2;
    for (let p = probs, end = probs + length * 4; p < end; p += 4) {
      const halves = v128.load(v);
      const low = raw_even(halves),
        high = raw_odd(halves);
      let weight = v128.load32_splat(p);
      a0 = f32x4.add(a0, f32x4.mul(low, weight));
      a1 = f32x4.add(a1, f32x4.mul(high, weight));
      if (heads > 1) {
        weight = v128.load32_splat(p + stride);
        b0 = f32x4.add(b0, f32x4.mul(low, weight));
        b1 = f32x4.add(b1, f32x4.mul(high, weight));
      }
      if (heads > 2) {
        weight = v128.load32_splat(p + stride * 2);
        c0 = f32x4.add(c0, f32x4.mul(low, weight));
        c1 = f32x4.add(c1, f32x4.mul(high, weight));
      }
      if (heads > 3) {
        weight = v128.load32_splat(p + stride * 3);
        e0 = f32x4.add(e0, f32x4.mul(low, weight));
        e1 = f32x4.add(e1, f32x4.mul(high, weight));
      }
      v += head_dim * 2;
    }
    let to = out + d * 4;
    v128.store(to, a0);
    v128.store(to, a1, 16);
    if (heads > 1) {
      to += head_bytes;
      v128.store(to, b0);
      v128.store(to, b1, 16);
    }
    if (heads > 2) {
      to += head_bytes;
      v128.store(to, c0);
      v128.store(to, c1, 16);
    }
    if (heads > 3) {
      to += head_bytes;
      v128.store(to, e0);
      v128.store(to, e1, 16);
    }
  }
}
