/**
 * USKD: a model as its own teacher. The row is the final one, the reference that of a weak head on an earlier layer.
 *
 *     target      −(1 + q² − mean q²) ln q(token)                       mean: over the batch
 *     non-target  −Σ n ln q'      q' without the token; n ∝ 1/rank, without the token
 *     weak        −Σ (0.9·[token] + 0.1/V) ln w
 *     rank        by w / (1 − w(token) + 1e-6) + q / (1 − q(token) + 1e-6), descending, the token included
 *
 * Source: Yang et al. 2023, arXiv:2303.13005. The published code ranks by ln q in the place of q, hence the option.
 */
import { bestFirst } from "../pipeline/select.ts";
import { kind } from "./kind.ts";
import { Law, lawWithout } from "./law.ts";
import { Sum } from "./sum.ts";

const SMOOTHING = 0.1;
const RANK_EPSILON = 1e-6;
/** What a token that the row rules out is ranked by; sums with it stay numbers. */
const LEAST = -1e300;

export const uskd = kind({
  needs: "row, reference, token",
  better: "lower",
  formula: "alpha target + beta nonTarget + mu weak",
  source: "Yang et al. 2023, arXiv:2303.13005",
  read: (fields) => ({
    alpha: fields.number("alpha", 0, 1e3, 1),
    beta: fields.number("beta", 0, 1e3, 0.1),
    mu: fields.number("mu", 0, 1e3, 0.005),
    /** Mean of q(token)² over the batch; −1: that of this row alone, which makes the weight 1. */
    meanSquare: fields.number("meanSquare", -1, 1, -1),
    ranking: fields.choice("ranking", ["log-probability", "probability"], "log-probability"),
  }),
  compute({ row, reference, token }, { alpha, beta, mu, meanSquare, ranking }) {
    const q = new Law(row);
    const weakLaw = new Law(reference);
    const square = q.probability(token) * q.probability(token);
    const weight = 1 + square - (meanSquare < 0 ? square : meanSquare);
    const target = alpha === 0 ? 0 : alpha * weighted(weight, q.logProbability(token));
    const nonTarget = beta === 0 ? 0 : beta * ranked(q, weakLaw, token, ranking === "probability");
    const weak = mu === 0 ? 0 : mu * smoothed(weakLaw, token);
    return { value: target + nonTarget + weak, parts: { target, nonTarget, weak } };
  },
});

/** −weight · ln p with 0 · ∞ = 0. */
function weighted(weight: number, logProbability: number): number {
  return weight === 0 ? 0 : -weight * logProbability;
}

/** Cross-entropy of Zipf's law over the ranks to the row, both without the token; 0 if it is the only one. */
function ranked(q: Law, weak: Law, token: number, byProbability: boolean): number {
  const others = lawWithout(q.logits, token);
  if (others === null) return q.vocab === 1 ? 0 : Infinity;
  const strong = (id: number) => (byProbability ? q.probability(id) : Math.max(LEAST, q.logProbability(id)));
  const weakScale = 1 / (1 - weak.probability(token) + RANK_EPSILON);
  const strongScale = 1 / (1 - strong(token) + RANK_EPSILON);
  const keys = Float64Array.from(
    q.logits,
    (_, id) => weak.probability(id) * weakScale + strong(id) * strongScale,
  );
  const shares = new Float64Array(q.vocab);
  const total = new Sum();
  bestFirst(keys, q.vocab, q.vocab).forEach((id, place) => {
    if (id === token) return;
    shares[id] = 1 / (place + 1);
    total.add(shares[id]);
  });
  const sum = new Sum();
  for (let id = 0; id < q.vocab; id++) {
    if (id !== token) sum.add(weighted(shares[id] / total.value, others.logProbability(id)));
  }
  return sum.value;
}

/** Cross-entropy of the smoothed label to the weak row. */
function smoothed(weak: Law, token: number): number {
  const sum = new Sum();
  for (let id = 0; id < weak.vocab; id++) {
    const label = SMOOTHING / weak.vocab + (id === token ? 1 - SMOOTHING : 0);
    sum.add(weighted(label, weak.logProbability(id)));
  }
  return sum.value;
}
