/**
 * match: what Dynamic Logits Fusion matches, over the tokens that base, expert and anti all have.
 *
 *     d  =  (expert − expert[c]) − (anti − anti[c]),   c the most likely token of base
 *
 *     match_tops     the largest base, expert and anti; c
 *     match_targets  with e = exp(expert − top), f = exp(anti − top):  Σ e, Σ e·d, Σ f, Σ f·d; the largest and least d
 *
 * Shapes    base, expert, anti: (vocab) f32. tops: base, expert, anti of match_tops, then expert[c] and anti[c], as f32.
 * Accuracy  f32, 128 terms to a lane; then f64.
 * Cost      each reads the three rows once; match_targets two exp per token.
 */
import { max_lanes } from "../lib/lanes";
import { BLOCK, NEGLIGIBLE, four, is_nan, rest_of, total } from "./block";
import { all_have, difference, exp_above } from "./common";

/** Returns c, −1 if no token is in all rows, −2 if one of them holds a NaN; three tops to `out`. */
export function match_tops(base: usize, expert: usize, anti: usize, vocab: usize, out: usize): i32 {
  const base_rest = rest_of(base, vocab);
  const expert_rest = rest_of(expert, vocab);
  const anti_rest = rest_of(anti, vocab);
  let base_top = f32x4.splat(-Infinity),
    expert_top = base_top,
    anti_top = base_top,
    wrong = i32x4.splat(0);
  for (let i: usize = 0; i < vocab; i += 4) {
    const b = four(base, i, vocab, base_rest);
    const e = four(expert, i, vocab, expert_rest);
    const a = four(anti, i, vocab, anti_rest);
    wrong = v128.or(wrong, v128.or(is_nan(b), v128.or(is_nan(e), is_nan(a))));
    // All ones are a NaN, which is never larger.
    const missing = v128.not(all_have(b, e, a));
    base_top = f32x4.pmax(base_top, v128.or(b, missing));
    expert_top = f32x4.pmax(expert_top, v128.or(e, missing));
    anti_top = f32x4.pmax(anti_top, v128.or(a, missing));
  }
  if (v128.any_true(wrong)) return -2;
  const top = max_lanes(base_top);
  store<f32>(out, top);
  store<f32>(out, max_lanes(expert_top), 4);
  store<f32>(out, max_lanes(anti_top), 8);
  if (top == -Infinity) return -1;
  const top_f32x4 = f32x4.splat(top);
  for (let i: usize = 0; i < vocab; i += 4) {
    const b = four(base, i, vocab, base_rest);
    const common = all_have(b, four(expert, i, vocab, expert_rest), four(anti, i, vocab, anti_rest));
    const lanes = i32x4.bitmask(v128.and(f32x4.eq(b, top_f32x4), common));
    if (lanes) return <i32>i + ctz(lanes);
  }
  return -1;
}

export function match_targets(
  base: usize,
  expert: usize,
  anti: usize,
  vocab: usize,
  tops: usize,
  out: usize,
): void {
  const base_rest = rest_of(base, vocab);
  const expert_rest = rest_of(expert, vocab);
  const anti_rest = rest_of(anti, vocab);
  const expert_top = v128.load32_splat(tops, 4);
  const anti_top = v128.load32_splat(tops, 8);
  const expert_centre = v128.load32_splat(tops, 12);
  const anti_centre = v128.load32_splat(tops, 16);
  const negligible = f32x4.splat(NEGLIGIBLE);
  let e_total: f64 = 0,
    ed_total: f64 = 0,
    f_total: f64 = 0,
    fd_total: f64 = 0;
  let most = f32x4.splat(0),
    least = most;
  let i: usize = 0;
  while (i < vocab) {
    const stop = min<usize>(vocab, i + BLOCK);
    let e_sum = f32x4.splat(0),
      ed_sum = e_sum,
      f_sum = e_sum,
      fd_sum = e_sum;
    for (; i < stop; i += 4) {
      const tuned = four(expert, i, vocab, expert_rest);
      const plain = four(anti, i, vocab, anti_rest);
      const common = all_have(four(base, i, vocab, base_rest), tuned, plain);
      const d = v128.and(difference(tuned, plain, expert_centre, anti_centre), common);
      most = f32x4.pmax(most, d);
      least = f32x4.pmin(least, d);
      const e = v128.and(exp_above(f32x4.sub(tuned, expert_top), negligible), common);
      const f = v128.and(exp_above(f32x4.sub(plain, anti_top), negligible), common);
      e_sum = f32x4.add(e_sum, e);
      ed_sum = f32x4.add(ed_sum, f32x4.mul(e, d));
      f_sum = f32x4.add(f_sum, f);
      fd_sum = f32x4.add(fd_sum, f32x4.mul(f, d));
    }
    e_total += total(e_sum);
    ed_total += total(ed_sum);
    f_total += total(f_sum);
    fd_total += total(fd_sum);
  }
  store<f64>(out, e_total);
  store<f64>(out, ed_total, 8);
  store<f64>(out, f_total, 16);
  store<f64>(out, fd_total, 24);
  store<f64>(out, <f64>max_lanes(most), 32);
  store<f64>(out, -(<f64>max_lanes(f32x4.neg(least))), 40);
}
