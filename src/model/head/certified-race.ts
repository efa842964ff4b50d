/**
 * certified-race: the exponential race among tokens whose logits are known, when the total of all weights is not.
 *
 *     argmax  (weight / total) / E        weight = exp((logit − top) / temperature),  E = −ln of the token's noise
 *
 * pipeline/race.ts divides by the total, which rounds, and top may be another one there. Both shift scores by less than
 * MARGIN, so a winner that is ahead by more is the winner there too.
 */
import { expBelow } from "../../exp-below.ts";
import { log } from "../../math.ts";
import { noise } from "../../philox.ts";
import type { HeadDraw } from "./head.ts";

/** Above the roundings of weights and scores, relatively. */
const MARGIN = 1e-11;

/** The score that the weight has with the worst noise there is, −ln 2^-33. */
export function floorOf(weight: number): number {
  return weight / 22.9;
}

/** @param top The largest logit. */
export function winnerOf(
  ids: readonly number[],
  logits: readonly number[],
  top: number,
  { temperature, seed, position }: Required<HeadDraw>,
): { token: number; score: number; isClear: boolean } {
  const weights = Float64Array.from(logits, (logit) => logit / temperature);
  expBelow(weights, weights, weights.length, top / temperature);
  let token = -1;
  let score = 0;
  let second = 0;
  for (let i = 0; i < weights.length; i++) {
    if (!(weights[i] > 0)) continue;
    const own = weights[i] / -log(noise(seed, position, ids[i]));
    if (own > score) {
      second = score;
      score = own;
      token = ids[i];
    } else if (own > second) second = own;
  }
  return { token, score, isClear: token >= 0 && second * (1 + MARGIN) < score };
}
