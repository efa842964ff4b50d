/**
 * rescore: what a cheap row cannot decide, by bounds on what the exact row may be.
 *
 *     |exact[i] − row[i]|  ≤  error[i] · scale + slack
 *
 * `raise` makes the upper bounds of all tokens. Those at or above a logit that is known exactly, or those that may beat a
 * score in the exponential race, are listed; the rest of the vocabulary is excluded for certain. The tiles of what is
 * listed are gathered, so that the very matmul that the whole head would go through makes their exact logits.
 *
 * Accuracy  roundings only ever raise a bound: the caller's slack covers those of `raise`, SLACK those of the race.
 * Cost      one pass over the row each; the race takes a Philox for each group of four tokens that has a chance.
 */
import { exp_f32x4, log_f64 } from "../lib/exp";
import { philox4, set_key } from "../lib/philox";

/** row[i] += error[i] · scale + slack; both arrays padded to 16 bytes. */
export function raise(row: usize, error: usize, vocab: usize, scale: f32, slack: f32): void {
  const scale_f32x4 = f32x4.splat(scale);
  const slack_f32x4 = f32x4.splat(slack);
  for (let i: usize = 0; i < vocab * 4; i += 16) {
    const bound = f32x4.add(f32x4.mul(v128.load(error + i), scale_f32x4), slack_f32x4);
    v128.store(row + i, f32x4.add(v128.load(row + i), bound));
  }
}

/** Lists tokens with row[i] ≥ bar, ascending. @returns How many; −1 if there is no room for all. */
export function list_above(row: usize, vocab: usize, bar: f32, out: usize, room: u32): i32 {
  const bar_f32x4 = f32x4.splat(bar);
  let count: u32 = 0;
  let first: usize = 0;
  for (; first + 16 <= vocab; first += 16) {
    const at = row + first * 4;
    const a = f32x4.ge(v128.load(at), bar_f32x4);
    const b = f32x4.ge(v128.load(at, 16), bar_f32x4);
    const c = f32x4.ge(v128.load(at, 32), bar_f32x4);
    const d = f32x4.ge(v128.load(at, 48), bar_f32x4);
    if (!v128.any_true(v128.or(v128.or(a, b), v128.or(c, d)))) continue;
    let lanes = i8x16.bitmask(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)));
    for (; lanes != 0; lanes &= lanes - 1) {
      if (count == room) return -1;
      store<u32>(out + <usize>count * 4, <u32>first + ctz(lanes));
      count++;
    }
  }
  for (; first < vocab; first++) {
    if (!(load<f32>(row + first * 4) >= bar)) continue;
    if (count == room) return -1;
    store<u32>(out + <usize>count * 4, <u32>first);
    count++;
  }
  return <i32>count;
}

/** Copies tiles of `bytes` each, by index, to stand one after the other. */
export function gather_tiles(tiles: usize, bytes: usize, indices: usize, count: usize, to: usize): void {
  for (let i: usize = 0; i < count; i++) {
    memory.copy(to + i * bytes, tiles + <usize>load<u32>(indices + i * 4) * bytes, bytes);
  }
}

/** STAGE.gumbel of src/philox.ts. */
const STAGE_GUMBEL: u32 = 19;
/** A little below −ln(1 − 2^−33), the least E there is. */
const LEAST_E: f64 = 1.16e-10;
/** Makes up for the roundings of weights and comparisons in f32. */
const SLACK: f64 = 1.0001;

const WORDS: usize = memory.data(64, 16);
/** Values that do not fill 16, and −∞. */
const REST: usize = memory.data(64, 16);
const WEIGHTS: usize = memory.data(64, 16);
const ITEMS: usize = memory.data<u32>([0, 1, 2, 3], 16);

/**
 * Tokens with  exp((row[i] − top) · inverse) / E[i]  ≥  score,  E[i] = −ln u[i];  perhaps some more, none less.
 *
 * u: the noise of src/philox.ts. E > 1 − u, so a token is out if 1 − u is above weight / score; see verify/race.ts.
 *
 * @param follow 0: all are listed, ascending. 1: the score rises with each one that passes it, and the last one listed is
 *               the one that wins the race over the row itself, but for roundings of f32.
 * @returns How many; −1 if there is no room for all.
 */
export function list_racers(
  row: usize,
  vocab: usize,
  top: f32,
  inverse: f32,
  score: f64,
  key0: u32,
  key1: u32,
  position: u32,
  follow: i32,
  out: usize,
  room: u32,
): i32 {
  set_key(key0, key1);
  const top_f32x4 = f32x4.splat(top);
  const inverse_f32x4 = f32x4.splat(inverse);
  let best = score;
  let factor_f32x4 = factor_of(best);
  let least_f32x4 = least_of(best);
  let count: u32 = 0;
  for (let first: usize = 0; first < vocab; first += 16) {
    const at = first + 16 <= vocab ? row + first * 4 : rest(row, first, vocab);
    let possible = i32x4.splat(0);
    for (let i: usize = 0; i < 64; i += 16) {
      const x = f32x4.mul(f32x4.sub(v128.load(at + i), top_f32x4), inverse_f32x4);
      const w = exp_f32x4(x);
      v128.store(WEIGHTS + i, w);
      possible = v128.or(possible, f32x4.ge(w, least_f32x4));
    }
    if (!v128.any_true(possible)) continue;
    philox4(position, STAGE_GUMBEL, <u32>(first >> 2), ITEMS, WORDS);
    for (let i: usize = 0; i < 64; i += 16) {
      const w = v128.load(WEIGHTS + i);
      const below_one = f32x4.convert_i32x4_s(i32x4.shr_u(v128.not(v128.load(WORDS + i)), 1));
      let lanes = i32x4.bitmask(f32x4.le(below_one, f32x4.mul(w, factor_f32x4)));
      for (; lanes != 0; lanes &= lanes - 1) {
        const place = i + ((<usize>ctz(lanes)) << 2);
        const weight = load<f32>(WEIGHTS + place);
        if (!(weight > 0)) continue;
        const u = (<f64>load<u32>(WORDS + place) + 0.5) * 2.3283064365386963e-10;
        const reached = <f64>weight / -log_f64(u);
        if (reached * SLACK < best) continue;
        if (count == room) return -1;
        store<u32>(out + <usize>count * 4, <u32>(first + (place >> 2)));
        count++;
        if (follow == 0) continue;
        best = max<f64>(best, reached);
        factor_f32x4 = factor_of(best);
        least_f32x4 = least_of(best);
      }
    }
  }
  return <i32>count;
}

/** 2^31 / best, for words without their last bit. */
// @ts-ignore: decorator
@inline
function factor_of(best: f64): v128 {
  return f32x4.splat(<f32>((2147483648.0 * SLACK) / best));
}

/** The least weight that can win. */
// @ts-ignore: decorator
@inline
function least_of(best: f64): v128 {
  return f32x4.splat(<f32>((best * LEAST_E) / SLACK));
}

function rest(row: usize, first: usize, vocab: usize): usize {
  for (let i: usize = 0; i < 16; i++) {
    store<f32>(REST + i * 4, first + i < vocab ? load<f32>(row + (first + i) * 4) : -Infinity);
  }
  return REST;
}
