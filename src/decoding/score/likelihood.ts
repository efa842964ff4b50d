/** Scores of a row at the token that was right. */
import { log } from "../../math.ts";
import type { Row } from "../draft.ts";
import { power, softplus } from "./functions.ts";
import { kind, noOptions } from "./kind.ts";
import { Law } from "./law.ts";
import { OnlineLogSumExp } from "./log-sum-exp.ts";
import { standardized } from "./standardize.ts";

/** Its mean over a text is the logarithm of the perplexity. For a row that is not in memory: `blockNll`. */
export const nll = kind({
  needs: "row, token",
  better: "lower",
  formula: "-ln p(token)",
  source: "Wijmans et al. 2024, Cut Cross-Entropy, arXiv:2411.09009",
  read: noOptions,
  compute({ row, token }) {
    const online = new OnlineLogSumExp();
    online.add(row);
    return online.nll(row[token]);
  },
});

/** The lower token wins ties. */
export const rank = kind({
  needs: "row, token",
  better: "lower",
  formula: "place of the token among the logits, from 1",
  source: "order statistics",
  read: noOptions,
  compute: ({ row, token }) => rankOf(row, token),
});

export const topKAccuracy = kind({
  needs: "row, token",
  better: "higher",
  formula: "1 if the token is among the k best, else 0",
  source: "order statistics",
  read: (fields) => ({ k: fields.integer("k", 1, 2 ** 20, 1) }),
  compute: ({ row, token }, { k }) => (row[token] > -Infinity && rankOf(row, token) <= k ? 1 : 0),
});

function rankOf(row: Row, token: number): number {
  let before = 0;
  for (let id = 0; id < row.length; id++) {
    if (row[id] > row[token] || (row[id] === row[token] && id < token)) before++;
  }
  return before + 1;
}

/** On standardized logits, so that neither their offset nor their scale matters. */
export const zLoss = kind({
  needs: "row, token",
  better: "lower",
  formula: "softplus(a (b - z(token))) / a, z = (row - mean) / std, biased",
  source: "de Brebisson, Vincent 2016, The Z-loss, arXiv:1604.08859",
  read: (fields) => ({ a: fields.number("a", 1e-3, 1e3, 1), b: fields.number("b", -1e3, 1e3, 0) }),
  compute: ({ row, token }, { a, b }) => softplus(a * (b - standardized(row, 0, 0)[token])) / a,
});

/** Keeps the log-partition near 0, so that logits do not drift. */
export const palmZLoss = kind({
  needs: "row",
  better: "lower",
  formula: "coefficient (log sum e^z)^2",
  source: "Chowdhery et al. 2022, PaLM, arXiv:2204.02311",
  read: (fields) => ({ coefficient: fields.number("coefficient", 0, 1e6, 1e-4) }),
  compute({ row }, { coefficient }) {
    const { logPartition } = new Law(row);
    return coefficient * logPartition * logPartition;
  },
});

/** Of the right token's class alone; alpha = 0 is plain Dice. */
export const dice = kind({
  needs: "row, token",
  better: "lower",
  formula: "1 - (2 f + smooth) / (f + 1 + smooth), f = (1 - p)^alpha p",
  source: "Li et al. 2020, Dice Loss for Data-imbalanced NLP Tasks, arXiv:1911.02855",
  read: (fields) => ({
    alpha: fields.number("alpha", 0, 100, 0),
    smooth: fields.number("smooth", 0, 1e6, 1e-4),
    denominator: fields.choice("denominator", ["linear", "squared"], "linear"),
  }),
  compute({ row, token }, { alpha, smooth, denominator }) {
    const p = new Law(row).probability(token);
    const f = power(1 - p, alpha) * p;
    return 1 - (2 * f + smooth) / ((denominator === "squared" ? f * f : f) + 1 + smooth);
  },
});

/** What a bf16 gradient would see of the row: the rest is skipped by Cut Cross-Entropy. */
export const significantTokens = kind({
  needs: "row",
  better: null,
  formula: "number of tokens with p >= epsilon",
  source: "Wijmans et al. 2024, Cut Cross-Entropy, arXiv:2411.09009",
  read: (fields) => ({ epsilon: fields.number("epsilon", 0, 1, 1 / 4096) }),
  compute({ row }, { epsilon }) {
    const law = new Law(row);
    const floor = log(epsilon);
    let count = 0;
    for (let token = 0; token < row.length; token++) {
      if (law.has(token) && law.logProbability(token) >= floor) count++;
    }
    return count;
  },
});
