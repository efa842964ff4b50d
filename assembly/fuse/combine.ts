/**
 * combine: several rows, z: (vocab) f32, become one.
 *
 *     lin   out  =  Σ scale·z + offset        of a scale that is not above 0 and z = −∞, nothing
 *     mix   out  =  ln Σ exp(scale·(z − pivot) + offset),  scale > 0,  two at a time
 *
 * Terms     come in groups of three (mix: two, and a place that is not used), see terms.ts. In all groups but the first, the
 *           first term is `out` itself, with scale 1.
 * Bounds    of lin; see bounds.ts. They are applied in the same pass.
 * Returns   the largest of out; NaN if any z is NaN or the sum passes f32. The caller looks for the reason.
 * Accuracy  lin: a rounding per operation. mix: 1.5e-7 more for each row after the first.
 * Cost      one pass over all rows, for each group in blocks that stay in the first-level cache. lin: twice the operations
 *           from the first block on in which a term is missing. mix: an exp and a division for each row after the first.
 */
import { max_lanes } from "../lib/lanes";
import { add_possible, add_three } from "./add";
import { BLOCK } from "./block";
import { cut } from "./bounds";
import { add_two } from "./log-add";
import { GROUP, TERM, WRONG } from "./terms";

/** What does not fill a vector, of three rows and of the result. */
const TAILS: usize = memory.data(64, 16);

export function lin(
  groups: usize,
  count: usize,
  bounds: usize,
  bound_count: usize,
  out: usize,
  vocab: usize,
): f32 {
  const end = begin(groups, count);
  let is_possible = true;
  let top_f32x4 = f32x4.splat(-Infinity);
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const stop = min<usize>(vocab, first + BLOCK);
    const bytes = ((stop - first) & ~3) * 4;
    let block_top = top_f32x4;
    for (let group = groups; group < end; group += GROUP) {
      const a = row_of(group, first);
      const b = row_of(group + TERM, first);
      const c = row_of(group + 2 * TERM, first);
      // What a later group starts from would be gone, should it have to be added again.
      const is_quick = is_possible && group == groups;
      if (is_quick) {
        block_top = add_possible(group, a, b, c, out + first * 4, bytes);
        is_possible = !v128.any_true(f32x4.ne(block_top, block_top));
      }
      if (!is_quick || !is_possible) block_top = add_three(group, a, b, c, out + first * 4, bytes);
      if (stop & 3) {
        copy_tails(group, stop);
        add_three(group, TAILS, TAILS + 16, TAILS + 32, TAILS + 48, 16);
        store_tail(out, stop);
      }
    }
    if (bound_count) block_top = cut(bounds, bound_count, out, first, stop);
    top_f32x4 = f32x4.pmax(top_f32x4, block_top);
  }
  return largest(top_f32x4, out, vocab);
}

export function mix(groups: usize, count: usize, out: usize, vocab: usize): f32 {
  const end = begin(groups, count);
  let top_f32x4 = f32x4.splat(-Infinity);
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const stop = min<usize>(vocab, first + BLOCK);
    const bytes = ((stop - first) & ~3) * 4;
    let block_top = top_f32x4;
    for (let group = groups; group < end; group += GROUP) {
      const b = row_of(group + TERM, first);
      block_top = add_two(group, row_of(group, first), b, out + first * 4, bytes);
      if (stop & 3) {
        copy_tails(group, stop);
        add_two(group, TAILS, TAILS + 16, TAILS + 48, 16);
        store_tail(out, stop);
      }
    }
    top_f32x4 = f32x4.pmax(top_f32x4, block_top);
  }
  return largest(top_f32x4, out, vocab);
}

/** Nothing is known of the rows yet. Returns the end of the terms. */
function begin(groups: usize, count: usize): usize {
  const end = groups + count * GROUP;
  v128.store(WRONG, i32x4.splat(0));
  for (let term = groups; term < end; term += TERM) v128.store(term, f32x4.splat(-Infinity), 16);
  return end;
}

// @ts-ignore: decorator
@inline
function row_of(term: usize, first: usize): usize {
  return <usize>load<u32>(term) + first * 4;
}

/** The last few of three rows, as vectors. */
function copy_tails(group: usize, vocab: usize): void {
  const whole = vocab & ~3;
  for (let i: usize = 0; i < 3; i++) {
    v128.store(TAILS + i * 16, f32x4.splat(-Infinity));
    memory.copy(TAILS + i * 16, row_of(group + i * TERM, whole), (vocab - whole) * 4);
  }
}

function store_tail(out: usize, vocab: usize): void {
  const whole = vocab & ~3;
  memory.copy(out + whole * 4, TAILS + 48, (vocab - whole) * 4);
}

/** Of all whole vectors, by lane, and of what is behind them. */
function largest(top_f32x4: v128, out: usize, vocab: usize): f32 {
  if (v128.any_true(v128.load(WRONG))) return NaN;
  let top = max_lanes(top_f32x4);
  for (let i = vocab & ~3; i < vocab; i++) top = max<f32>(top, load<f32>(out + i * 4));
  return top < Infinity ? top : NaN;
}
