/**
 * The exponential race: one way to draw, for drafters, verifiers and plain sampling.
 *
 *     argmax p(x) / E(x),   E(x) = −ln u(position, x)         a draw from p; of equal scores the lowest id
 *
 * The noise u belongs to the seed, the position and the token (`noise` of philox.ts), not to the draw. So a draft model
 * that races its own law agrees with the target's race as often as the two laws allow, and the text does not depend on
 * who is asked.
 *
 * Cost  one Philox per group of four tokens of which any can still win; a logarithm for very few, as −ln u ≥ 1 − u.
 *
 * Sources: Gumbel 1954; Daliri, Musco, Suresh 2024, arXiv:2408.07978.
 */
import { log } from "../../math.ts";
import { noise, noiseWords, STAGE } from "../../philox.ts";

/** Of tokens that compete. */
export interface Field {
  /** (count), ascending. */
  readonly ids: Uint32Array;
  /** (count), up to a common factor: p = weight / total. */
  readonly weights: Float64Array;
  readonly count: number;
  readonly total: number;
}

/** The least E, that of u = 1 − 2^-33, a little less still for rounding. */
const LEAST_TIME = 1.16e-10;
/** Above any rounding of a score. */
const SLACK = 1 + 1e-12;

const words = new Uint32Array(4);

/** Index of the winner; −1 if nobody has a chance. @param stage Of the noise, where it is not tokens that race. */
export function race(
  { ids, weights, count, total }: Field,
  seed: number,
  position: number,
  stage: number = STAGE.gumbel,
): number {
  if (count === 0) return -1;
  // The favourite first: the bar is high from the start, and most others never reach it.
  const favourite = heaviest(weights, count);
  let best = weights[favourite] / total / -log(noise(seed, position, ids[favourite], stage));
  let winner = best > 0 ? favourite : -1;
  /** With a time of at least E, a weight below E · `par` cannot win. */
  let par = (best * total) / SLACK;
  let group = -1;
  for (let at = 0; at < count; at++) {
    const weight = weights[at];
    if (!(weight > par * LEAST_TIME)) continue;
    const token = ids[at];
    if (token >>> 2 !== group) {
      group = token >>> 2;
      noiseWords(words, seed, position, group, stage);
    }
    const u = (words[token & 3] + 0.5) / 2 ** 32;
    if (weight < (1 - u) * par) continue;
    const score = weight / total / -log(u);
    if (!(score > best || (score === best && at < winner))) continue;
    winner = at;
    best = score;
    par = (best * total) / SLACK;
  }
  return winner;
}

function heaviest(weights: Float64Array, count: number): number {
  let heaviest = 0;
  let most = weights[0];
  for (let at = 1; at < count; at++) {
    const weight = weights[at];
    if (weight > most) {
      most = weight;
      heaviest = at;
    }
  }
  return heaviest;
}
