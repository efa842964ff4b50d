/**
 * A distribution over few tokens of a large vocabulary: what is left of a row after its pipeline.
 *
 * All sums are f64 in order of id: in f32 a cumulative sum over 150,000 tokens ends at 0.9999, and every draw beyond falls
 * off the end.
 */
import { expectInteger } from "../../errors.ts";
import { log } from "../../math.ts";
import { race } from "./race.ts";
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

/**
 * The token at `random`, in [0, 1), of the cumulative distribution; the last one should rounding leave it beyond. For
 * drafters that draw several tokens of one place; what is emitted is raced for.
 */
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
 * The token that wins the exponential race: a draw from the distribution, and the same one as `Pipeline.sample` and the
 * verifier "gumbel" make with that seed at that position. See race.ts.
 */
export function gumbelArgmax({ ids, probabilities }: Distribution, seed: number, position: number): number {
  const field = { ids, weights: probabilities, count: ids.length, total: 1 };
  return ids[race(field, seed, position)];
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
