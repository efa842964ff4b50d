/**
 * sweep: the sums that Dynamic Logits Fusion solves for α; d and the tokens are those of match.ts.
 *
 *     match_sweep    with w = exp(base − top + α·d), for α = start, start + step, …:  Σ w, Σ w·d, Σ w·d²
 *     match_at       the same for one α, with the largest exponent taken off
 *
 * The sweep has two exp per token for all α: w for the first, and g = exp(step·d), by which w is multiplied to come to the
 * next. An offset of d changes no law, so d is 0 at c, and no w is above exp(α·max d). The caller says which exponents are so
 * low that they come to nothing at the end either.
 *
 * Shapes    base, expert, anti: (vocab) f32. tops: as in match.ts, and for match_sweep the least exponent behind them.
 * Scratch   6 KiB: w, d and g of a block.
 * Accuracy  f32, 128 terms to a lane; then f64. A w after 20 steps is within 2e-6, relatively; most errors cancel. The quicker
 *           exp does where its errors are not multiplied: w and g are within 1e-7 and 6e-8, and g is raised to the 20th.
 * Cost      each reads the three rows once, match_at twice. match_sweep: 6 operations and a third of four loads and stores
 *           per α.
 */
import { exp_f32x4 } from "../lib/exp";
import { high_f64x2, low_f64x2, max_lanes } from "../lib/lanes";
import { BLOCK, NEGLIGIBLE, four, rest_of, total } from "./block";
import { all_have, difference, exp_above } from "./common";

/** Two f64, to be added, for each sum of each α to `out`. */
export function match_sweep(
  base: usize,
  expert: usize,
  anti: usize,
  vocab: usize,
  tops: usize,
  start: f32,
  step: f32,
  count: usize,
  scratch: usize,
  out: usize,
): void {
  memory.fill(out, 0, count * SUMS);
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const stop = min<usize>(vocab, first + BLOCK);
    prepare_block(base, expert, anti, vocab, tops, start, step, first, stop, scratch);
    const bytes = ((stop - first + 3) & ~3) * 4;
    let at = out;
    let left = count;
    for (; left >= 3; left -= 3, at += 3 * SUMS) sum_three(scratch, bytes, at);
    for (; left > 0; left--, at += SUMS) sum_one(scratch, bytes, at);
  }
}

/** Bytes of the sums of one α. */
const SUMS: usize = 48;
const D: usize = BLOCK * 4;
const G: usize = BLOCK * 8;

function prepare_block(
  base: usize,
  expert: usize,
  anti: usize,
  vocab: usize,
  tops: usize,
  start: f32,
  step: f32,
  first: usize,
  stop: usize,
  scratch: usize,
): void {
  const base_rest = rest_of(base, vocab);
  const expert_rest = rest_of(expert, vocab);
  const anti_rest = rest_of(anti, vocab);
  const base_top = v128.load32_splat(tops);
  const expert_centre = v128.load32_splat(tops, 12);
  const anti_centre = v128.load32_splat(tops, 16);
  const negligible = v128.load32_splat(tops, 20);
  const start_f32x4 = f32x4.splat(start);
  const step_f32x4 = f32x4.splat(step);
  for (let i = first; i < stop; i += 4, scratch += 16) {
    const b = four(base, i, vocab, base_rest);
    const tuned = four(expert, i, vocab, expert_rest);
    const plain = four(anti, i, vocab, anti_rest);
    const common = all_have(b, tuned, plain);
    const d = v128.and(difference(tuned, plain, expert_centre, anti_centre), common);
    const below = f32x4.sub(b, base_top);
    const w = exp_above(f32x4.add(below, f32x4.mul(start_f32x4, d)), negligible);
    v128.store(scratch, v128.and(w, common));
    v128.store(scratch, d, D);
    v128.store(scratch, exp_f32x4(f32x4.mul(step_f32x4, d)), G);
  }
}

/** Three α in one go over the block, as w, d and g need not be loaded for each. */
function sum_three(scratch: usize, bytes: usize, out: usize): void {
  let sum_0 = f32x4.splat(0),
    sum_1 = sum_0,
    sum_2 = sum_0,
    first_0 = sum_0,
    first_1 = sum_0,
    first_2 = sum_0,
    second_0 = sum_0,
    second_1 = sum_0,
    second_2 = sum_0;
  for (const end = scratch + bytes; scratch < end; scratch += 16) {
    const d = v128.load(scratch, D);
    const g = v128.load(scratch, G);
    let w = v128.load(scratch);
    let weighted = f32x4.mul(w, d);
    sum_0 = f32x4.add(sum_0, w);
    first_0 = f32x4.add(first_0, weighted);
    second_0 = f32x4.add(second_0, f32x4.mul(weighted, d));
    w = f32x4.mul(w, g);
    weighted = f32x4.mul(w, d);
    sum_1 = f32x4.add(sum_1, w);
    first_1 = f32x4.add(first_1, weighted);
    second_1 = f32x4.add(second_1, f32x4.mul(weighted, d));
    w = f32x4.mul(w, g);
    weighted = f32x4.mul(w, d);
    sum_2 = f32x4.add(sum_2, w);
    first_2 = f32x4.add(first_2, weighted);
    second_2 = f32x4.add(second_2, f32x4.mul(weighted, d));
    v128.store(scratch, f32x4.mul(w, g));
  }
  accumulate(out, sum_0);
  accumulate(out + 16, first_0);
  accumulate(out + 32, second_0);
  accumulate(out + SUMS, sum_1);
  accumulate(out + SUMS + 16, first_1);
  accumulate(out + SUMS + 32, second_1);
  accumulate(out + 2 * SUMS, sum_2);
  accumulate(out + 2 * SUMS + 16, first_2);
  accumulate(out + 2 * SUMS + 32, second_2);
}

function sum_one(scratch: usize, bytes: usize, out: usize): void {
  let sum = f32x4.splat(0),
    first = sum,
    second = sum;
  for (const end = scratch + bytes; scratch < end; scratch += 16) {
    const d = v128.load(scratch, D);
    const w = v128.load(scratch);
    const weighted = f32x4.mul(w, d);
    sum = f32x4.add(sum, w);
    first = f32x4.add(first, weighted);
    second = f32x4.add(second, f32x4.mul(weighted, d));
    v128.store(scratch, f32x4.mul(w, v128.load(scratch, G)));
  }
  accumulate(out, sum);
  accumulate(out + 16, first);
  accumulate(out + 32, second);
}

function accumulate(at: usize, v: v128): void {
  v128.store(at, f64x2.add(v128.load(at), f64x2.add(low_f64x2(v), high_f64x2(v))));
}

/** Returns the exponent that was taken off; Σ w, Σ w·d, Σ w·d² to `out`. */
export function match_at(
  base: usize,
  expert: usize,
  anti: usize,
  vocab: usize,
  tops: usize,
  alpha: f32,
  out: usize,
): f32 {
  const base_rest = rest_of(base, vocab);
  const expert_rest = rest_of(expert, vocab);
  const anti_rest = rest_of(anti, vocab);
  const base_top = v128.load32_splat(tops);
  const expert_centre = v128.load32_splat(tops, 12);
  const anti_centre = v128.load32_splat(tops, 16);
  const negligible = f32x4.splat(NEGLIGIBLE);
  const alpha_f32x4 = f32x4.splat(alpha);
  let most = f32x4.splat(-Infinity);
  let i: usize = 0;
  for (; i < vocab; i += 4) {
    const b = four(base, i, vocab, base_rest);
    const tuned = four(expert, i, vocab, expert_rest);
    const plain = four(anti, i, vocab, anti_rest);
    const d = difference(tuned, plain, expert_centre, anti_centre);
    const exponent = f32x4.add(f32x4.sub(b, base_top), f32x4.mul(alpha_f32x4, d));
    most = f32x4.pmax(most, v128.or(exponent, v128.not(all_have(b, tuned, plain))));
  }
  const shift = max_lanes(most);
  const shift_f32x4 = f32x4.splat(shift);
  let sum: f64 = 0,
    first: f64 = 0,
    second: f64 = 0;
  i = 0;
  while (i < vocab) {
    const stop = min<usize>(vocab, i + BLOCK);
    let sum_f32x4 = f32x4.splat(0),
      first_f32x4 = sum_f32x4,
      second_f32x4 = sum_f32x4;
    for (; i < stop; i += 4) {
      const b = four(base, i, vocab, base_rest);
      const tuned = four(expert, i, vocab, expert_rest);
      const plain = four(anti, i, vocab, anti_rest);
      const common = all_have(b, tuned, plain);
      const d = v128.and(difference(tuned, plain, expert_centre, anti_centre), common);
      const exponent = f32x4.add(f32x4.sub(b, base_top), f32x4.mul(alpha_f32x4, d));
      const w = v128.and(exp_above(f32x4.sub(exponent, shift_f32x4), negligible), common);
      const weighted = f32x4.mul(w, d);
      sum_f32x4 = f32x4.add(sum_f32x4, w);
      first_f32x4 = f32x4.add(first_f32x4, weighted);
      second_f32x4 = f32x4.add(second_f32x4, f32x4.mul(weighted, d));
    }
    sum += total(sum_f32x4);
    first += total(first_f32x4);
    second += total(second_f32x4);
  }
  store<f64>(out, sum);
  store<f64>(out, first, 8);
  store<f64>(out, second, 16);
  return shift;
}
