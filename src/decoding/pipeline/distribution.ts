/**
 * A distribution over few tokens of a large vocabulary: what is left of a row after its pipeline.
 *
 * All sums are f64 in order of id: in f32 a cumulative sum over 150,000 tokens ends at 0.9999, and every draw beyond falls
 * off the end.
 */
import { expectInteger } from "../../errors.ts";
import { log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import { bestFirst } from "./select.ts";

export interface Distribution {
  readonly vocab: number;
  /** Tokens with a chance, ascending. */
  readonly ids: Uint32Array;
  /** (ids.length), each above 0; they sum to 1, but for rounding. */
  readonly probabilities: Float64Array;
}

export interface TokenLogProbability {
  readonly token: number;
  /** ln p; −∞ of a token without a chance. */
  readonly logProbability: number;
}

/** The token at `random`, in [0, 1), of the cumulative distribution; the last one should rounding leave it beyond. */
export function draw({ ids, probabilities }: Distribution, random: number): number {
  let total = 0;
  for (let i = 0; i < probabilities.length; i++) total += probabilities[i];
  const goal = random * total;
  let sum = 0;
  for (let i = 0; i < ids.length; i++) {
    sum += probabilities[i];
    if (sum > goal) return ids[i];
  }
  return ids[ids.length - 1];
}

/**
 * The token with the largest p(x) / −ln u(position, x): the exponential race, the same choice as that of the largest
 * ln p(x) + Gumbel noise. The noise is that of the verifier "gumbel", so a drafter that races its own distribution agrees
 * with a target's race as often as the two distributions allow.
 *
 * Sources: Gumbel 1954; Daliri, Musco, Suresh 2024, arXiv:2408.07978.
 */
export function gumbelArgmax({ ids, probabilities }: Distribution, seed: number, position: number): number {
  let best = ids.length - 1;
  let top = 0;
  for (let i = 0; i < ids.length; i++) {
    const score = probabilities[i] / -log(uniform(seed, position, STAGE.gumbel, ids[i]));
    if (score > top) {
      top = score;
      best = i;
    }
  }
  return ids[best];
}

/** Probability of a token; 0 if it has none, or is not in the vocabulary. */
export function probabilityOf({ ids, probabilities }: Distribution, token: number): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle] < token) low = middle + 1;
    else high = middle;
  }
  return ids[low] === token ? probabilities[low] : 0;
}

/** The `count` most likely tokens, most likely first, of equal ones the lower id; fewer if fewer have a chance. */
export function topLogProbabilities(
  { ids, probabilities }: Distribution,
  count: number,
): readonly TokenLogProbability[] {
  return Array.from(bestFirst(probabilities, ids.length, count), (index) => ({
    token: ids[index],
    logProbability: log(probabilities[index]),
  }));
}

/**
 * All probabilities by id, zeros included: the target row of a verifier.
 *
 * @param out (vocab) is overwritten; default: a new array.
 */
export function denseProbabilities(
  { vocab, ids, probabilities }: Distribution,
  out = new Float64Array(vocab),
): Float64Array {
  expectInteger("out.length", out.length, vocab, vocab);
  out.fill(0);
  for (let i = 0; i < ids.length; i++) out[ids[i]] = probabilities[i];
  return out;
}
