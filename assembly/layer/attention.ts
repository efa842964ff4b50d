/**
 * attention: causal grouped-query attention of consecutive positions over a 16-bit cache in pages.
 *
 *     s[j]  =  scale · Σ_d q[d]·K[j,d]        p  =  softmax(s)        out[d]  =  Σ_j p[j]·V[j,d]
 *
 *     j = max(0, position + 1 − window) … position
 *
 * Every sum runs in the order of d or of j, so a position's result does not depend on which positions were computed
 * in the same call, nor on where pages begin.
 *
 * A key or value of one head is kept as 16-bit integers that share one f32 step, largest / 32767. Half floats, which take
 * the same room, lose more: 11 bits of each element instead of 16 of the largest (KL on the embedded F16 model 1.5e-7
 * nats with halves, 1.5e-9 so), and they must be widened with more operations.
 *
 * Pages     position j is in slot j % 64 of the page at table[j / 64], a u32 address. Sequences may share pages: that is
 *           why the positions of one are not consecutive in memory.
 * Shapes    q, out: (tokens, heads, head_dim) f32. head_dim: a multiple of 8. scores: (4, positions rounded up to 4) f32,
 *           then as many as four heads.
 * Layout    of a page: [layer][kv_head] of what follows, 64 · (4 · head_dim + 8) bytes each.
 *           codes of K: [16][head_dim][4 slots] i16, so that scores need no horizontal sum; codes of V: [64][head_dim] i16;
 *           steps of K: [64] f32; steps of V: [64] f32.
 * Accuracy  K and V within half a step; sums in f32.
 * Cost      4 bytes per cached position, kv_head and dim, and 8 per position and kv_head; one widening serves 4
 *           heads, of one token or several.
 */
import { exp_f32x4 } from "../lib/exp";
import { max_lanes, sum_lanes } from "../lib/lanes";

/** Positions of a page, and its logarithm. */
const PAGE: usize = 64;
const PAGE_SHIFT: usize = 6;

/** Largest magnitude of a code. */
const LEVELS: f32 = 32767;

const STAGE: usize = memory.data(16, 16);

/** Bytes of one head in one layer of a page. */
// @ts-ignore: decorator
@inline
function head_bytes(head_dim: usize): usize {
  return PAGE * (head_dim * 4 + 8);
}

/** Bytes of a head's keys, or values, without steps. */
// @ts-ignore: decorator
@inline
function code_bytes(head_dim: usize): usize {
  return PAGE * head_dim * 2;
}

/** Where a head's part of the page of position `position` begins. */
// @ts-ignore: decorator
@inline
function page_of(table: usize, position: usize): usize {
  return <usize>load<u32>(table + (position >> PAGE_SHIFT) * 4);
}

/** Writes one position's keys and values, each (kv_heads, head_dim) f32, into its slot. */
export function store_kv(
  key: usize,
  value: usize,
  table: usize,
  layer: usize,
  position: usize,
  kv_heads: usize,
  head_dim: usize,
): void {
  const slot = position & (PAGE - 1);
  const codes = code_bytes(head_dim);
  let head = page_of(table, position) + layer * kv_heads * head_bytes(head_dim);
  for (; kv_heads > 0; --kv_heads) {
    const steps = head + codes * 2 + slot * 4;
    const inverse_k = store_step(key, steps, head_dim);
    const inverse_v = store_step(value, steps + PAGE * 4, head_dim);
    let k = head + (slot >> 2) * head_dim * 8 + (slot & 3) * 2;
    let v = head + codes + slot * head_dim * 2;
    for (let d: usize = 0; d < head_dim; d += 8) {
      v128.store(STAGE, round8(key, inverse_k));
      for (let i: usize = 0; i < 16; i += 2) store<u16>(k + i * 4, load<u16>(STAGE + i));
      v128.store(v, round8(value, inverse_v));
      k += 64;
      v += 16;
      key += 32;
      value += 32;
    }
    head += head_bytes(head_dim);
  }
}

/** Copies one position of one layer to another place, of the same sequence or another one. */
export function copy_kv(
  source_table: usize,
  source: usize,
  table: usize,
  position: usize,
  layer: usize,
  kv_heads: usize,
  head_dim: usize,
): void {
  const from_slot = source & (PAGE - 1);
  const to_slot = position & (PAGE - 1);
  const codes = code_bytes(head_dim);
  const first = layer * kv_heads * head_bytes(head_dim);
  let from = page_of(source_table, source) + first;
  let to = page_of(table, position) + first;
  for (; kv_heads > 0; --kv_heads) {
    const from_key = from + (from_slot >> 2) * head_dim * 8 + (from_slot & 3) * 2;
    const to_key = to + (to_slot >> 2) * head_dim * 8 + (to_slot & 3) * 2;
    for (let i: usize = 0; i < head_dim * 8; i += 8) store<u16>(to_key + i, load<u16>(from_key + i));
    const from_value = from + codes + from_slot * head_dim * 2;
    const to_value = to + codes + to_slot * head_dim * 2;
    for (let i: usize = 0; i < head_dim * 2; i += 16) v128.store(to_value + i, v128.load(from_value + i));
    const from_steps = from + codes * 2 + from_slot * 4;
    const to_steps = to + codes * 2 + to_slot * 4;
    store<f32>(to_steps, load<f32>(from_steps));
    store<f32>(to_steps + PAGE * 4, load<f32>(from_steps + PAGE * 4));
    from += head_bytes(head_dim);
    to += head_bytes(head_dim);
  }
}

/** Stores the step of `count` values and returns its inverse. */
function store_step(values: usize, step: usize, count: usize): f32 {
  let max_f32x4 = f32x4.splat(0);
  for (let i: usize = 0; i < count << 2; i += 16)
    max_f32x4 = f32x4.max(max_f32x4, f32x4.abs(v128.load(values + i)));
  const largest = max_lanes(max_f32x4);
  const usable = largest > 1e-30;
  store<f32>(step, usable ? largest / LEVELS : largest * 0);
  return usable ? LEVELS / largest : 0;
}

/** 8 values as codes. */
// @ts-ignore: decorator
@inline
function round8(values: usize, inverse: f32): v128 {
  const inverse_f32x4 = f32x4.splat(inverse);
  return i16x8.narrow_i32x4_s(
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values), inverse_f32x4))),
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values, 16), inverse_f32x4))),
  );
}

/**
 * Attends from positions `position` … `position + tokens − 1`, whose keys and values are in the cache already. Of all their
 * heads with the same keys and values, four at a time: a row each, of scores first, then of weights, each at its position.
 */
export function attention(
  q: usize,
  table: usize,
  out: usize,
  scores: usize,
  layer: usize,
  position: usize,
  tokens: usize,
  heads: usize,
  kv_heads: usize,
  head_dim: usize,
  scale: f32,
  window: usize,
): void {
  const group = heads / kv_heads;
  const stride = ((position + tokens + 3) & ~3) * 4;
  const head_size = head_dim << 2;
  const stage = scores + stride * 4;
  let at = layer * kv_heads * head_bytes(head_dim);
  for (const end = q + heads * head_size; q < end; q += group * head_size) {
    const values = at + code_bytes(head_dim);
    for (let row: usize = 0; row < group * tokens;) {
      const rows = min<usize>(4, group * tokens - row);
      const last = row + rows - 1;
      const begin = begin_of(position + row / group, window);
      const from = begin & ~3;
      const length = position + last / group + 1;
      // One row alone is two that are the same: the sums of one would wait for each other.
      for (let r: usize = 0; r < max<usize>(2, rows); r++) {
        let head = q + head_of(min(row + r, last), group, heads) * head_size;
        for (let to = stage + r * 4; to < stage + head_size * 4; to += 16) {
          store<u32>(to, load<u32>(head));
          head += 4;
        }
      }
      if (rows == 4) key_products4(stage, table, at, scores, stride, from, length, head_dim, scale);
      else if (rows == 3) key_products3(stage, table, at, scores, stride, from, length, head_dim, scale);
      else key_products2(stage, table, at, scores, stride, from, length, head_dim, scale);
      let probs = scores;
      for (let r = row; r <= last; r++) {
        const own = position + r / group;
        const own_begin = begin_of(own, window);
        softmax_in_place(probs, table, at, own_begin, own + 1, head_dim);
        for (let j = begin; j < own_begin; j++) store<f32>(probs + j * 4, 0);
        for (let j = own + 1; j < length; j++) store<f32>(probs + j * 4, 0);
        probs += stride;
      }
      if (rows == 4) weigh_values4(scores, stride, table, values, stage, begin, length, head_dim);
      else if (rows == 3) weigh_values3(scores, stride, table, values, stage, begin, length, head_dim);
      else weigh_values2(scores, rows == 2 ? stride : 0, table, values, stage, begin, length, head_dim);
      for (let made = stage; row <= last; row++) {
        let to = out + head_of(row, group, heads) * head_size;
        for (const stop = made + head_size; made < stop; made += 16) {
          v128.store(to, v128.load(made));
          to += 16;
        }
      }
    }
    at += head_bytes(head_dim);
    out += group * head_size;
  }
}

/** The head, counted over all tokens, that row `row` of a group is: rows go through the heads of a token, then on to the next. */
// @ts-ignore: decorator
@inline
function head_of(row: usize, group: usize, heads: usize): usize {
  return (row / group) * heads + (row % group);
}

/** The first position that `position` sees. */
// @ts-ignore: decorator
@inline
function begin_of(position: usize, window: usize): usize {
  return position + 1 > window ? position + 1 - window : 0;
}

function key_products2(
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

function key_products3(
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

function key_products4(
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

/**
 * exp(s − max) / Σ, over the scores from `begin` to before `length`, each times the step of its value; what stands around
 * them, up to whole vectors, is left undefined.
 */
function softmax_in_place(
  scores: usize,
  table: usize,
  at: usize,
  begin: usize,
  length: usize,
  head_dim: usize,
): void {
  const end = scores + ((length + 3) & ~3) * 4;
  for (let score = scores + length * 4; score < end; score += 4) store<f32>(score, -Infinity);
  for (let j = begin & ~3; j < begin; j++) store<f32>(scores + j * 4, -Infinity);
  begin &= ~3;
  scores += begin * 4;
  let max_f32x4 = v128.load(scores);
  for (let score = scores + 16; score < end; score += 16) max_f32x4 = f32x4.max(max_f32x4, v128.load(score));
  const top_f32x4 = f32x4.splat(max_lanes(max_f32x4));
  let sum_f32x4 = f32x4.splat(0);
  for (let score = scores; score < end; score += 16) {
    const e = exp_f32x4(f32x4.sub(v128.load(score), top_f32x4));
    v128.store(score, e);
    sum_f32x4 = f32x4.add(sum_f32x4, e);
  }
  const factor_f32x4 = f32x4.splat(1 / sum_lanes(sum_f32x4));
  while (begin < length) {
    const slot = begin & (PAGE - 1);
    let steps = page_of(table, begin) + at + code_bytes(head_dim) * 2 + (PAGE + slot) * 4;
    begin += PAGE - slot;
    for (const last = min(scores + (PAGE - slot) * 4, end); scores < last; scores += 16) {
      v128.store(scores, f32x4.mul(f32x4.mul(v128.load(scores), factor_f32x4), v128.load(steps)));
      steps += 16;
    }
  }
}

function weigh_values2(
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

function weigh_values3(
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

function weigh_values4(
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
