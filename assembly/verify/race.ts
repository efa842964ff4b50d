/**
 * race: the token that wins the exponential race over a row of weights, w: (vocab) f32.
 *
 *     argmax  w[x] / E[x],   E[x] = −ln u[x],   u[x] = (word + 1/2) / 2^32       the lowest id of equal ones
 *
 * That is a draw from w / Σw. The words are those of src/philox.ts, `noise`: four tokens to a counter.
 *
 * Almost no token needs its logarithm: as −ln u > 1 − u, one with 1 − u ≥ w / best cannot win, and 1 − u is the word with
 * its bits turned over. Sixteen tokens of which none could win with the luckiest word need no words either.
 *
 * Sources   Gumbel 1954; Philox: Salmon et al. 2011.
 * Accuracy  E and the quotient in f64, with the logarithm of src/math.ts: the choice is that of the definition.
 * Cost      one pass; 16 words for each 16 tokens with a chance.
 */
import { log_f64 } from "../lib/exp";
import { philox4, set_key } from "../lib/philox";

/** STAGE.gumbel of src/philox.ts. */
const STAGE_GUMBEL: u32 = 19;

/** A little below −ln(1 − 2^−33), the least E there is. */
const LEAST_E: f64 = 1.16e-10;
/** Makes up for the roundings of a comparison in f32. */
const SLACK: f64 = 1.000001;

const WORDS: usize = memory.data(64, 16);
/** Values that do not fill 16, and zeros. */
const REST: usize = memory.data(64, 16);
const ITEMS: usize = memory.data<u32>([0, 1, 2, 3], 16);

/** −1 if no token has mass. */
export function race(row: usize, vocab: usize, key0: u32, key1: u32, position: u32): i32 {
  set_key(key0, key1);
  let best: i32 = -1;
  let top: f64 = 0;
  // Of 2^31 · w / top, for words without their last bit.
  let factor_f32x4 = f32x4.splat(Infinity);
  let least_f32x4 = f32x4.splat(0);
  for (let first: usize = 0; first < vocab; first += 16) {
    const at = first + 16 <= vocab ? row + first * 4 : rest(row, first, vocab);
    const possible = v128.or(
      v128.or(f32x4.gt(v128.load(at), least_f32x4), f32x4.gt(v128.load(at, 16), least_f32x4)),
      v128.or(f32x4.gt(v128.load(at, 32), least_f32x4), f32x4.gt(v128.load(at, 48), least_f32x4)),
    );
    if (!v128.any_true(possible)) continue;
    philox4(position, STAGE_GUMBEL, <u32>(first >> 2), ITEMS, WORDS);
    for (let i: usize = 0; i < 64; i += 16) {
      let lanes = may_win(v128.load(at + i), v128.load(WORDS + i), factor_f32x4);
      for (; lanes != 0; lanes &= lanes - 1) {
        const offset = i + ((<usize>ctz(lanes)) << 2);
        const w = load<f32>(at + offset);
        if (!(w > 0)) continue;
        const u = (<f64>load<u32>(WORDS + offset) + 0.5) * 2.3283064365386963e-10;
        const score = <f64>w / -log_f64(u);
        if (!(score > top)) continue;
        top = score;
        best = <i32>(first + (offset >> 2));
        factor_f32x4 = f32x4.splat(<f32>((2147483648.0 * SLACK) / top));
        least_f32x4 = f32x4.splat(<f32>((top * LEAST_E) / SLACK));
      }
    }
  }
  return best;
}

/** Lanes with 1 − u < w / top; perhaps some more, none less. */
// @ts-ignore: decorator
@inline
function may_win(w: v128, words: v128, factor_f32x4: v128): i32 {
  const below_one = f32x4.convert_i32x4_s(i32x4.shr_u(v128.not(words), 1));
  return i32x4.bitmask(f32x4.le(below_one, f32x4.mul(w, factor_f32x4)));
}

function rest(row: usize, first: usize, vocab: usize): usize {
  memory.fill(REST, 0, 64);
  memory.copy(REST, row + first * 4, (vocab - first) * 4);
  return REST;
}
