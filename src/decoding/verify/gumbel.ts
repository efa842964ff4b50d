import { follow } from "./follow.ts";
import { ALL_LAWS, type Verifier } from "./verifier.ts";

/**
 * Gumbel coupling: drafter and target each take the best of ln probability + the same noise.
 *
 *     t = argmax ln p[x] + g(position, x)         stop when t is not in the draft
 *
 * A drafter that takes `gumbelArgmax` of its own q, with the same random source, agrees with probability at least
 * (1 − TV)/(1 + TV), and sends no q. Any other drafter is as right and only slower.
 *
 * Source: Daliri, Musco, Suresh 2024, arXiv:2408.07978.
 */
export const gumbel: Verifier = {
  lossless: true,
  reproducible: true,
  laws: ALL_LAWS,
  shape: "tree",
  siblings: "any",
  decide: (round) =>
    follow(round, (node, path) =>
      round.math.gumbelArgmax(round.target(node), round.random, round.start + path.length),
    ),
};
