/**
 * Randomness of a round: a function of an address, so that nothing depends on the order of calls.
 *
 * The stages are those of philox.ts.
 *
 * Every round starts at another position, so no number is used in two rounds. Numbering by the position of each token
 * instead would use some twice: block and traversal verification also look at numbers behind the last token they emit,
 * and a draft that was rejected is drafted anew. That biases the text. Gumbel noise must be shared, and may be: what is
 * behind the last emitted token had no influence.
 */
import type { VerifyRandom } from "../../backend/row-math.ts";
import { noise, uniform } from "../../philox.ts";

/** Philox-4x32-10 under `seed`, an integer from 0 to 2^53 − 1. */
export function seededRandom(seed: number): VerifyRandom {
  return {
    seed,
    uniform: (position, stage, item) => uniform(seed, position, stage, item),
    noise: (position, token) => noise(seed, position, token),
  };
}
