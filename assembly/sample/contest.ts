/**
 * contest: the few tokens of a law of which one wins the exponential race, and the mass of all that take part.
 *
 *     argmax  w[i] / E[i],   w = exp(l − most),   E[i] = −ln u[i],   u[i] = (word + 1/2) / 2^32
 *
 * l: (vocab) f64 as law.ts makes it of a row; those above `bar` take part, and of those equal to it the ones up to `last`.
 * Whoever may win is listed, by a test that errs to that side alone; the caller compares them to the last bit. The words
 * are those of src/philox.ts, `noise`: four tokens to a counter.
 *
 * A token cannot win if 1 − u > w / best, as −ln u > 1 − u, and 1 − u is the word with its bits turned over. The best is
 * that of the tokens before, or of the most likely one with the worst luck there is.
 *
 * Sources   Gumbel 1954; Philox: Salmon et al. 2011. src/backend/law-kernels.ts has the definition.
 * Accuracy  masses in f64, with the bits of src/exp-below.ts; their sum is two sums, of even and of odd tokens.
 * Cost      one pass, an exp of f64 for each token that takes part, a Philox for each group of four with a chance, and a
 *           logarithm for each one listed.
 */
import { log_f64 } from "../lib/exp";
import { exp_below_4 } from "../lib/exp-f64";
import { philox4, set_key } from "../lib/philox";
import { first_edit, is_plain, load_logits, LOGITS, reaches, row_floor } from "./law";

/** STAGE.gumbel of src/philox.ts. */
const STAGE_GUMBEL: u32 = 19;

/** A little below and above −ln(1 − 2^−33) and −ln 2^−33: no E lies beyond. */
const LEAST_E: f64 = 1.16e-10;
const MOST_E: f64 = 23;
/** Makes up for the roundings of a comparison in f32. */
const SLACK: f64 = 1.000001;

/** (4) f64. */
const MASSES: usize = memory.data(32, 16);
const WORDS: usize = memory.data(64, 16);
/** (64) f32, of a block, rounded. */
const WEIGHTS: usize = memory.data(256, 16);
/** (16) u32, of which some behind the last may be read but do not count. */
const GROUPS: usize = memory.data(64, 16);

/**
 * Writes the mass, f64, then the tokens that may win, ascending, (room) u32.
 *
 * @returns How many; −1 if there is no room for all.
 */
export function law_contest(
  row: usize,
  vocab: usize,
  law: usize,
  most: f64,
  bar: f64,
  last: u32,
  key0: u32,
  key1: u32,
  position: u32,
  out: usize,
  room: u32,
): i32 {
  set_key(key0, key1);
  const most_f64x2 = f64x2.splat(most);
  let bar_f64x2 = f64x2.splat(bar);
  const above_f64x2 = f64x2.splat(next_above(bar));
  const is_cut = bar > -Infinity;
  const low = row_floor(bar, law, most);
  let total_f64x2 = f64x2.splat(0);
  let best: f64 = 1 / MOST_E;
  let factor_f32x4 = factor_of(best);
  let count: u32 = 0;
  let edit = first_edit(law);
  for (let first: usize = 0; first < vocab; first += 64) {
    if (is_cut && is_plain(first, vocab, law, edit) && !reaches(row, first, low, Infinity)) continue;
    edit = load_logits(row, first, vocab, law, edit);
    if (first > <usize>last) bar_f64x2 = above_f64x2;
    else if (first + 63 > <usize>last) remove_ties(first, bar, last);
    for (let i: usize = 0; i < 256; i += 16) {
      const a = v128.load(LOGITS + i * 2);
      const b = v128.load(LOGITS + i * 2, 16);
      const in_a = f64x2.ge(a, bar_f64x2);
      const in_b = f64x2.ge(b, bar_f64x2);
      if (!v128.any_true(v128.or(in_a, in_b))) {
        v128.store(WEIGHTS + i, f32x4.splat(0));
        continue;
      }
      exp_below_4(LOGITS + i * 2, most_f64x2, MASSES);
      const w_a = v128.and(v128.load(MASSES), in_a);
      const w_b = v128.and(v128.load(MASSES, 16), in_b);
      total_f64x2 = f64x2.add(f64x2.add(total_f64x2, w_a), w_b);
      const weights_f32x4 = i64x2.shuffle(f32x4.demote_f64x2_zero(w_a), f32x4.demote_f64x2_zero(w_b), 0, 2);
      v128.store(WEIGHTS + i, weights_f32x4);
    }
    const groups = possible_groups(best);
    for (let from: usize = 0; from < groups; from += 4) {
      philox4(position, STAGE_GUMBEL, <u32>(first >> 2), GROUPS + from * 4, WORDS);
      const end = min<usize>(groups, from + 4);
      for (let i = from; i < end; i++) {
        const group = <usize>load<u32>(GROUPS + i * 4);
        const words = WORDS + (i - from) * 16;
        let lanes = may_win(v128.load(WEIGHTS + group * 16), v128.load(words), factor_f32x4);
        for (; lanes != 0; lanes &= lanes - 1) {
          const lane = <usize>ctz(lanes);
          const w = load<f32>(WEIGHTS + group * 16 + lane * 4);
          if (!(w > 0)) continue;
          if (count == room) return -1;
          store<u32>(out + 8 + <usize>count * 4, <u32>(first + group * 4 + lane));
          count++;
          const u = (<f64>load<u32>(words + lane * 4) + 0.5) * 2.3283064365386963e-10;
          best = max<f64>(best, <f64>w / -log_f64(u) / SLACK);
          factor_f32x4 = factor_of(best);
        }
      }
    }
  }
  store<f64>(out, f64x2.extract_lane(total_f64x2, 0) + f64x2.extract_lane(total_f64x2, 1));
  return <i32>count;
}

/** The least f64 above a finite one. */
function next_above(x: f64): f64 {
  if (x == 0) return f64.MIN_VALUE;
  return reinterpret<f64>(reinterpret<i64>(x) + (x > 0 ? 1 : -1));
}

/** Takes tokens behind `last` out of a block whose logit is the bar. */
function remove_ties(first: usize, bar: f64, last: u32): void {
  for (let i: usize = 0; i < 64; i++) {
    if (load<f64>(LOGITS + i * 8) == bar && first + i > <usize>last) store<f64>(LOGITS + i * 8, NaN);
  }
}

/** Lists the groups of four of a block, 0 … 15, with a weight that could win with the best luck; gives their number. */
// @ts-ignore: decorator
@inline
function possible_groups(best: f64): usize {
  const least_f32x4 = f32x4.splat(<f32>((best * LEAST_E) / SLACK));
  let count: usize = 0;
  for (let group: usize = 0; group < 16; group++) {
    store<u32>(GROUPS + count * 4, <u32>group);
    count += <usize>v128.any_true(f32x4.gt(v128.load(WEIGHTS + group * 16), least_f32x4));
  }
  return count;
}

/** 2^31 / best, for words without their last bit. */
// @ts-ignore: decorator
@inline
function factor_of(best: f64): v128 {
  return f32x4.splat(<f32>((2147483648.0 * SLACK) / best));
}

/** Lanes with 1 − u < w / best; perhaps some more, none less. */
// @ts-ignore: decorator
@inline
function may_win(w: v128, words: v128, factor_f32x4: v128): i32 {
  const below_one = f32x4.convert_i32x4_s(i32x4.shr_u(v128.not(words), 1));
  return i32x4.bitmask(f32x4.le(below_one, f32x4.mul(w, factor_f32x4)));
}
