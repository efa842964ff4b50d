/**
 * Graph-on-logits distance: compares which tokens two models activate together, whatever the tokens are.
 *
 *     G  =  Σ_t s_t s_tᵀ                     s_t: the row of position t, all but its top k set to 0
 *     f  =  (1/n) G 1  =  Σ_t s_t (Σ s_t)/n  the mean weight of each token's edges, without G
 *     d  =  (1/n) Σ_i |f_(i) − f'_(i)|^o     both sorted; o = 1, 2
 *
 * The first lower bound of the Gromov-Wasserstein distance (Mémoli 2011), which in one dimension is solved by sorting:
 * O(n log n) where the distance itself is O(n⁴). Rows of different vocabularies are padded with zeros.
 *
 * Source: Wang et al. 2025, InfiGFusion, arXiv:2505.13893. Its closed form is not public; this is the one its abstract
 * and bound describe.
 */
import type { Row } from "../draft.ts";
import { topTokens } from "./divergence.ts";
import { kind } from "./kind.ts";
import { Sum } from "./sum.ts";

export const graphOnLogits = kind({
  needs: "positions",
  better: "lower",
  formula: "mean |f - f'|^order of the sorted mean edge weights of both graphs",
  source: "Wang et al. 2025, InfiGFusion, arXiv:2505.13893",
  read: (fields) => ({
    k: fields.integer("k", 1, 2 ** 20, 10),
    order: fields.integer("order", 1, 2, 1),
  }),
  compute({ row, reference }, { k, order }) {
    const n = Math.max(row[0].length, reference[0].length);
    const ours = nodeFeatures(row, k, n).sort();
    const theirs = nodeFeatures(reference, k, n).sort();
    const sum = new Sum();
    for (let i = 0; i < n; i++) {
      const distance = Math.abs(ours[i] - theirs[i]);
      sum.add(order === 2 ? distance * distance : distance);
    }
    return sum.value / n;
  },
});

/** (n) mean of each row of G; positions in order, tokens ascending within one. */
export function nodeFeatures(rows: readonly Row[], k: number, n: number): Float64Array {
  const features = new Float64Array(n);
  for (const row of rows) {
    const top = topTokens(row, k).sort((a, b) => a - b);
    const sum = new Sum();
    for (const token of top) sum.add(row[token]);
    for (const token of top) features[token] += (row[token] * sum.value) / n;
  }
  return features;
}
