/** Scores of a row by itself: how sure it is, and whether it looks like rows the model was trained on. */
import { exp, log } from "../../math.ts";
import type { Row } from "../draft.ts";
import { expm1, log1p, sigmoid } from "./functions.ts";
import { kind, noOptions, temperatureOf } from "./kind.ts";
import { entropy, Law } from "./law.ts";
import { Sum } from "./sum.ts";

export const maxProbability = kind({
  needs: "row",
  better: null,
  formula: "max p",
  source: "Hendrycks, Gimpel 2017, arXiv:1610.02136",
  read: noOptions,
  compute: ({ row }) => 1 / new Law(row).sum,
});

export const maxLogit = kind({
  needs: "row",
  better: null,
  formula: "max z",
  source: "Hendrycks et al. 2022, arXiv:1911.11132",
  read: noOptions,
  compute: ({ row }) => new Law(row).max,
});

export const logPartition = kind({
  needs: "row",
  better: null,
  formula: "log sum e^(z/T)",
  source: "cumulant generating function of the logits",
  read: (fields) => ({ temperature: temperatureOf(fields) }),
  compute: ({ row }, { temperature }) => new Law(row, temperature).logPartition,
});

export const energy = kind({
  needs: "row",
  better: null,
  formula: "-T log sum e^(z/T)",
  source: "Liu et al. 2020, Energy-based Out-of-distribution Detection, arXiv:2010.03759",
  read: (fields) => ({ temperature: temperatureOf(fields) }),
  compute({ row }, { temperature }) {
    const law = new Law(row, temperature);
    return -(law.max + temperature * log(law.sum));
  },
});

/** 1 if there is no second token. */
export const margin = kind({
  needs: "row",
  better: null,
  formula: "p(first) - p(second)",
  source: "Scheffer, Decomain, Wrobel 2001",
  read: noOptions,
  compute: ({ row }) => marginOf(new Law(row)),
});

/** Infinite if there is no second token above −∞. */
export const logitGap = kind({
  needs: "row",
  better: null,
  formula: "z(first) - z(second)",
  source: "ln of the ratio of the two best probabilities",
  read: noOptions,
  compute({ row }) {
    const [first, second] = bestTwo(row);
    return first - second;
  },
});

export const entropyScore = kind({
  needs: "row",
  better: null,
  formula: "-sum p ln p",
  source: "Shannon 1948",
  read: (fields) => ({ temperature: temperatureOf(fields) }),
  compute: ({ row }, { temperature }) => entropy(new Law(row, temperature)),
});

/** Order 0 counts the tokens above −∞, order 1 is Shannon's, large orders go to −ln max p. */
export const renyiEntropy = kind({
  needs: "row",
  better: null,
  formula: "ln(sum p^order) / (1 - order)",
  source: "Renyi 1961",
  read: (fields) => ({ order: fields.number("order", 0, 1e3, 2) }),
  compute: ({ row }, { order }) => renyi(new Law(row), order),
});

function renyi(law: Law, order: number): number {
  if (order === 1) return entropy(law);
  const excess = order - 1;
  const sum = new Sum();
  if (Math.abs(excess) > 0.5) {
    for (let token = 0; token < law.vocab; token++) {
      if (law.has(token)) sum.add(exp(order * (law.logits[token] - law.max)));
    }
    // Both logarithms grow with the vocabulary where 1 − order does not: no cancellation beyond a few bits.
    return Math.max(0, (log(sum.value) - order * log(law.sum)) / -excess);
  }
  // Near order 1: ln(1 + Σ p (p^(order − 1) − 1)), as the sum of powers is near 1.
  for (let token = 0; token < law.vocab; token++) {
    const p = law.probability(token);
    if (p > 0) sum.add(p * expm1(excess * law.logProbability(token)));
  }
  return Math.max(0, log1p(sum.value) / -excess);
}

/** The entropy at temperature 1/order: with order 2 that of p² / Σ p². */
export const escortEntropy = kind({
  needs: "row",
  better: null,
  formula: "entropy of p^order / sum p^order",
  source: "Regol et al. 2024, Jointly-Learned Exit and Inference, arXiv:2310.09163",
  read: (fields) => ({ order: fields.number("order", 1e-3, 1e3, 2) }),
  compute: ({ row }, { order }) => entropy(new Law(row, 1 / order)),
});

export const klToUniform = kind({
  needs: "row",
  better: null,
  formula: "ln V - entropy",
  source: "Jaynes 1957, negentropy",
  read: noOptions,
  compute: ({ row }) => Math.max(0, log(row.length) - entropy(new Law(row))),
});

/** 0 for a uniform row. */
export const kurtosis = kind({
  needs: "row",
  better: null,
  formula: "mean ((p - 1/V) / std p)^4",
  source: "Tang et al. 2024, AMU-Tuning, arXiv:2404.08958",
  read: (fields) => ({ ddof: fields.integer("ddof", 0, 1, 1) }),
  compute({ row }, { ddof }) {
    const law = new Law(row);
    const mean = 1 / row.length;
    const squares = new Sum();
    const fourths = new Sum();
    for (let token = 0; token < row.length; token++) {
      const square = (law.probability(token) - mean) * (law.probability(token) - mean);
      squares.add(square);
      fourths.add(square * square);
    }
    if (!(fourths.value > 0)) return 0;
    const variance = squares.value / (row.length - ddof);
    return fourths.value / row.length / (variance * variance);
  },
});

/** Of a hidden state, before the head. 0 if it is zero. */
export const nan = kind({
  needs: "vector",
  better: null,
  formula: "norm 1 / norm 0 of the last hidden state",
  source: "Park et al. 2023, Understanding the Feature Norm for OOD Detection, arXiv:2310.05316",
  read: noOptions,
  compute({ row }) {
    const sum = new Sum();
    let count = 0;
    for (let i = 0; i < row.length; i++) {
      if (row[i] === 0) continue;
      sum.add(Math.abs(row[i]));
      count++;
    }
    return count === 0 ? 0 : sum.value / count;
  },
});

/** Leaves early where it is at least a half; weights come from training. */
export const jeiGate = kind({
  needs: "row",
  better: null,
  trained: true,
  formula: "sigmoid of bias + weights . (max p, entropy, margin, escort entropy of order 2)",
  source: "Regol et al. 2024, Jointly-Learned Exit and Inference, arXiv:2310.09163",
  read: (fields) => ({
    maxProbability: fields.number("maxProbability", -1e6, 1e6),
    entropy: fields.number("entropy", -1e6, 1e6),
    margin: fields.number("margin", -1e6, 1e6),
    escortEntropy: fields.number("escortEntropy", -1e6, 1e6),
    bias: fields.number("bias", -1e6, 1e6),
  }),
  compute({ row }, weights) {
    const law = new Law(row);
    const logit =
      weights.maxProbability / law.sum +
      weights.entropy * entropy(law) +
      weights.margin * marginOf(law) +
      weights.escortEntropy * entropy(new Law(row, 0.5)) +
      weights.bias;
    return { value: sigmoid(logit), parts: { logit } };
  },
});

function marginOf(law: Law): number {
  const [first, second] = bestTwo(law.logits);
  // 1 − e^−gap keeps the digits that the difference of two near probabilities would lose.
  return -expm1(second - first) / law.sum;
}

function bestTwo(row: Row): [first: number, second: number] {
  let first = -Infinity;
  let second = -Infinity;
  for (let token = 0; token < row.length; token++) {
    const logit = row[token];
    if (logit > first) {
      second = first;
      first = logit;
    } else if (logit > second) second = logit;
  }
  return [first, second];
}
