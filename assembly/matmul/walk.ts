/**
 * walk: over the blocks of a step's tiles, for the formats whose codes are widened in registers: Q4_0, Q4_K and one
 * column of Q6_K.
 *
 * Four streams side by side (two for four columns) and of each VISIT blocks before the next streams' turn: one block is little
 * more than a cache line, and of a second one next to it the memory has much already. Q4_0, one column, 9.4 MB from memory:
 * one block 0.69 ms, two 0.60, four 0.63, eight 0.69.
 */
import { RELAXED } from "../lib/lanes";
import { block_bytes } from "./activation";
import * as nibbles_plain from "./nibbles-plain";
import * as nibbles_relaxed from "./nibbles-relaxed";
import * as sixes_plain from "./sixes-plain";
import * as sixes_relaxed from "./sixes-relaxed";
import { HALVES, OUTER, SCALE } from "./scales";
import { ACCUMULATORS } from "./sums";
import { Q4_0, Q4_K, Q6_K, code_bytes, header_bytes, is_k_type } from "./tile";

// @ts-ignore: decorator
@inline
const VISIT: usize = 2;

/** One column. Leaves 4 sums per stream in ACCUMULATORS. */
export function walk_x1(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  if (format == Q4_0) q4_0_x1(weights, stride, streams, group, blocks);
  else if (format == Q4_K) q4_k_x1(weights, stride, streams, group, blocks);
  else q6_k_x1(weights, stride, streams, group, blocks);
}

/** Two columns, laid out as four of which the others do not matter. Not Q6_K. */
export function walk_x2(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  if (format == Q4_0) q4_0_x2(weights, stride, streams, group, blocks);
  else q4_k_x2(weights, stride, streams, group, blocks);
}

/** Four columns; not Q6_K. Leaves 4 sums per stream and column in ACCUMULATORS. */
export function walk_x4(
  format: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  if (format == Q4_0) q4_0_x4(weights, stride, streams, group, blocks);
  else q4_k_x4(weights, stride, streams, group, blocks);
}

// A function each: Binaryen folds branches that differ in constants only back into one, with the constants as variables.

function q4_0_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  fours(Q4_0, SCALE, 1, weights, stride, streams, group, blocks);
}

function q4_0_x2(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  fours(Q4_0, SCALE, 2, weights, stride, streams, group, blocks);
}

function q4_0_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  twos(Q4_0, SCALE, weights, stride, streams, group, blocks);
}

function q4_k_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  fours(Q4_K, OUTER, 1, weights, stride, streams, group, blocks);
}

function q4_k_x2(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  fours(Q4_K, OUTER, 2, weights, stride, streams, group, blocks);
}

function q4_k_x4(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  twos(Q4_K, OUTER, weights, stride, streams, group, blocks);
}

function q6_k_x1(weights: usize, stride: usize, streams: usize, group: usize, blocks: usize): void {
  fours(Q6_K, HALVES, 1, weights, stride, streams, group, blocks);
}

/** Inlined with `format`, `kind` and `columns` (1 or 2) constants. */
// @ts-ignore: decorator
@inline
function fours(
  format: i32,
  kind: i32,
  columns: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  // Two columns stand in the places of four. Bytes of a block's steps, and of the sums of four streams:
  const width: usize = columns == 1 ? 4 : 16;
  const four: usize = columns == 1 ? 64 : 256;
  const next_array = blocks * width;
  const end = ACCUMULATORS + (streams >> 2) * four;
  const left_over = streams & 3;
  let step = group + blocks * block_bytes(format);
  let inner: usize = 0;
  for (let left = blocks; left > 0;) {
    const visit = min(VISIT, left);
    if (!is_k_type(format) || inner == 0) weights += header_bytes(format);
    let tile = weights;
    for (let sum = ACCUMULATORS; sum < end || (sum == end && left_over > 0); sum += four) {
      // Where fewer than four are left the last one serves again: its surplus sums are never looked at.
      let pa = tile;
      let pb = sum < end || left_over > 1 ? pa + stride : pa;
      let pc = sum < end || left_over > 2 ? pb + stride : pb;
      let pd = sum < end ? pc + stride : pc;
      tile = pd + stride;
      let x = group;
      let at = step;
      let index = inner;
      for (let n = visit; n > 0; --n) {
        const back = header_bytes(format) + index * code_bytes(format);
        if (format == Q6_K) {
          if (RELAXED) sixes_relaxed.dot_x1(pa, pb, pc, pd, x, at, next_array, sum, back, index);
          else sixes_plain.dot_x1(pa, pb, pc, pd, x, at, next_array, sum, back, index);
        } else if (columns == 1) {
          if (RELAXED) nibbles_relaxed.dot_x1(kind, pa, pb, pc, pd, x, at, next_array, sum, back, index);
          else nibbles_plain.dot_x1(kind, pa, pb, pc, pd, x, at, next_array, sum, back, index);
        } else if (RELAXED) {
          nibbles_relaxed.dot_x2(kind, pa, pb, pc, pd, x, at, next_array, sum, back, index);
        } else nibbles_plain.dot_x2(kind, pa, pb, pc, pd, x, at, next_array, sum, back, index);
        const next = is_k_type(format) ? code_bytes(format) : code_bytes(format) + header_bytes(format);
        pa += next;
        pb += next;
        pc += next;
        pd += next;
        x += block_bytes(format);
        at += width;
        if (is_k_type(format)) index++;
      }
    }
    weights += visit * code_bytes(format);
    if (is_k_type(format)) inner = (inner + visit) & 7;
    else weights += (visit - 1) * header_bytes(format);
    group += visit * block_bytes(format);
    step += visit * width;
    left -= visit;
  }
}

/** Inlined with `format` and `kind` constants. */
// @ts-ignore: decorator
@inline
function twos(
  format: i32,
  kind: i32,
  weights: usize,
  stride: usize,
  streams: usize,
  group: usize,
  blocks: usize,
): void {
  const next_array = blocks * 16;
  const end = ACCUMULATORS + ((streams + 1) >> 1) * 128;
  const last = streams & 1 ? end - 128 : end;
  let step = group + blocks * block_bytes(format);
  let index: usize = 0;
  for (let left = blocks; left > 0; --left) {
    if (!is_k_type(format) || index == 0) weights += header_bytes(format);
    const back = header_bytes(format) + index * code_bytes(format);
    let p = weights;
    for (let sum = ACCUMULATORS; sum < end; sum += 128) {
      const q = sum == last ? p : p + stride;
      if (RELAXED) nibbles_relaxed.dot_x4(kind, p, q, group, step, next_array, sum, back, index);
      else nibbles_plain.dot_x4(kind, p, q, group, step, next_array, sum, back, index);
      p = q + stride;
    }
    weights += code_bytes(format);
    group += block_bytes(format);
    step += 16;
    if (is_k_type(format)) index = (index + 1) & 7;
  }
}
