/**
 * attention: causal grouped-query attention of consecutive positions over the cache of kv.ts.
 *
 *     s[j]  =  scale · Σ_d q[d]·K[j,d]        p  =  softmax(s)        out[d]  =  Σ_j p[j]·V[j,d]
 *
 *     j = max(0, position + 1 − window) … position
 *
 * Every sum runs in the order of d or of j, so a position's result does not depend on which positions were computed
 * in the same call, nor on where pages begin.
 *
 * Shapes    q, out: (tokens, heads, head_dim) f32. scores: (4, positions rounded up to 4) f32, then as many as four heads.
 * Accuracy  sums in f32.
 */
import { exp_f32x4 } from "../lib/exp";
import { max_lanes, sum_lanes } from "../lib/lanes";
import {
  key_products2,
  key_products3,
  key_products4,
  weigh_values2,
  weigh_values3,
  weigh_values4,
} from "./attention-rows";
import { PAGE, code_bytes, head_bytes, page_of } from "./kv";

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
