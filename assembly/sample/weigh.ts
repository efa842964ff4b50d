/**
 * weigh: how the mass of a law is spread over its tokens, l: (vocab) f64 as law.ts makes it of a row.
 *
 *     law_range     largest and least l, and how many there are
 *     law_buckets   mass by bucket, b = min(⌊(most − l) · scale⌋, 255); the last is not counted
 *     law_within    tokens of some buckets
 *
 * A token's mass is exp(l − most), in f64, with the bits of src/exp-below.ts. The sum of a bucket is in order of token, that
 * of all is two sums, of even and of odd tokens.
 *
 * Source    src/backend/law-kernels.ts has the definition.
 * Cost      one pass; an exp of f64 per token for `law_buckets`.
 */
import { exp_below_4 } from "../lib/exp-f64";
import { max_lanes } from "../lib/lanes";
import { first_edit, is_plain, load_logits, LOGITS, reaches, row_ceiling, row_floor } from "./law";

const BUCKETS: usize = 256;

/** Of the tokens of a block. */
const MASSES: usize = memory.data(512, 16);

/** Writes largest and least, (2) f64, which are infinite if the result, how many there are, is 0. */
export function law_range(row: usize, vocab: usize, law: usize, out: usize): u32 {
  let most: f64 = -Infinity,
    least: f64 = Infinity,
    count: u32 = 0;
  const none = f32x4.splat(-Infinity),
    infinite = f32x4.splat(Infinity);
  let most_f32x4 = none,
    least_f32x4 = infinite,
    count_i32x4 = i32x4.splat(0);
  let edit = first_edit(law);
  for (let first: usize = 0; first < vocab; first += 64) {
    if (is_plain(first, vocab, law, edit)) {
      const at = row + first * 4;
      for (let i: usize = 0; i < 256; i += 16) {
        const x = v128.load(at + i);
        const is_some = f32x4.gt(x, none);
        most_f32x4 = f32x4.pmax(most_f32x4, x);
        least_f32x4 = f32x4.pmin(least_f32x4, v128.bitselect(x, infinite, is_some));
        count_i32x4 = i32x4.sub(count_i32x4, is_some);
      }
      continue;
    }
    edit = load_logits(row, first, vocab, law, edit);
    for (let i: usize = 0; i < 512; i += 8) {
      const l = load<f64>(LOGITS + i);
      if (isNaN(l)) continue;
      most = max<f64>(most, l);
      least = min<f64>(least, l);
      count++;
    }
  }
  count += i32x4.extract_lane(count_i32x4, 0) + i32x4.extract_lane(count_i32x4, 1);
  count += i32x4.extract_lane(count_i32x4, 2) + i32x4.extract_lane(count_i32x4, 3);
  // Rounding keeps order: what is largest here is so divided.
  if (v128.any_true(count_i32x4)) {
    const temperature = load<f64>(law);
    most = max<f64>(most, <f64>min<f32>(max_lanes(most_f32x4), f32.MAX_VALUE) / temperature);
    const low = -max_lanes(f32x4.neg(least_f32x4));
    least = min<f64>(least, <f64>min<f32>(low, f32.MAX_VALUE) / temperature);
  }
  store<f64>(out, most);
  store<f64>(out, least, 8);
  return count;
}

/** Writes (256) f64 masses; gives the mass of all. */
export function law_buckets(row: usize, vocab: usize, law: usize, most: f64, scale: f64, out: usize): f64 {
  memory.fill(out, 0, BUCKETS * 8);
  const most_f64x2 = f64x2.splat(most);
  const scale_f64x2 = f64x2.splat(scale);
  const last_f64x2 = f64x2.splat(<f64>(BUCKETS - 1));
  let total_f64x2 = f64x2.splat(0);
  let edit = first_edit(law);
  for (let first: usize = 0; first < vocab; first += 64) {
    edit = load_logits(row, first, vocab, law, edit);
    for (let i: usize = 0; i < 512; i += 32) {
      exp_below_4(LOGITS + i, most_f64x2, MASSES + i);
      total_f64x2 = f64x2.add(total_f64x2, v128.load(MASSES + i));
      total_f64x2 = f64x2.add(total_f64x2, v128.load(MASSES + i, 16));
    }
    for (let i: usize = 0; i < 512; i += 16) {
      const below_f64x2 = f64x2.mul(f64x2.sub(most_f64x2, v128.load(LOGITS + i)), scale_f64x2);
      // A NaN falls into the last one.
      const buckets = i32x4.trunc_sat_f64x2_u_zero(f64x2.pmin(last_f64x2, below_f64x2));
      const a = out + <usize>i32x4.extract_lane(buckets, 0) * 8;
      store<f64>(a, load<f64>(a) + load<f64>(MASSES + i));
      const b = out + <usize>i32x4.extract_lane(buckets, 1) * 8;
      store<f64>(b, load<f64>(b) + load<f64>(MASSES + i, 8));
    }
  }
  store<f64>(out + (BUCKETS - 1) * 8, 0);
  return f64x2.extract_lane(total_f64x2, 0) + f64x2.extract_lane(total_f64x2, 1);
}

/**
 * Writes the tokens, ascending, of buckets from `begin` to before `end`, ∞ for the last one too, (room) u32.
 *
 * @returns How many; −1 if there is no room for all.
 */
export function law_within(
  row: usize,
  vocab: usize,
  law: usize,
  most: f64,
  scale: f64,
  begin: f64,
  end: f64,
  out: usize,
  room: u32,
): i32 {
  const most_f64x2 = f64x2.splat(most);
  const scale_f64x2 = f64x2.splat(scale);
  const begin_f64x2 = f64x2.splat(begin);
  const end_f64x2 = f64x2.splat(end);
  const low = row_floor(most - end / scale, law, most);
  const high = row_ceiling(most - begin / scale, law, most);
  let count: u32 = 0;
  let edit = first_edit(law);
  for (let first: usize = 0; first < vocab; first += 64) {
    if (is_plain(first, vocab, law, edit) && !reaches(row, first, low, high)) continue;
    edit = load_logits(row, first, vocab, law, edit);
    for (let i: usize = 0; i < 512; i += 16) {
      const below_f64x2 = f64x2.mul(f64x2.sub(most_f64x2, v128.load(LOGITS + i)), scale_f64x2);
      const inside = v128.and(f64x2.ge(below_f64x2, begin_f64x2), f64x2.lt(below_f64x2, end_f64x2));
      for (let lanes = i64x2.bitmask(inside); lanes != 0; lanes &= lanes - 1) {
        if (count == room) return -1;
        store<u32>(out + <usize>count * 4, <u32>(first + (i >> 3)) + <u32>ctz(lanes));
        count++;
      }
    }
  }
  return <i32>count;
}
