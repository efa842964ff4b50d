/** Scores of a row against a reference, as distributions: p is the reference, q the row. */
import { exp, log } from "../../math.ts";
import type { Row } from "../draft.ts";
import { kBest } from "../pipeline/select.ts";
import { expm1 } from "./functions.ts";
import { kind, noOptions, temperatureOf } from "./kind.ts";
import { crossEntropy, divergence, Law, totalVariation } from "./law.ts";
import { Sum } from "./sum.ts";

const readTemperature = (fields: Parameters<typeof temperatureOf>[0]) => ({
  temperature: temperatureOf(fields),
});

export const crossEntropyScore = kind({
  needs: "row, reference",
  better: "lower",
  formula: "-sum p ln q",
  source: "Shannon 1948",
  read: readTemperature,
  compute: ({ row, reference }, { temperature }) =>
    crossEntropy(new Law(reference, temperature), new Law(row, temperature)),
});

/** Not times T²; the distillation scores are. */
export const kl = kind({
  needs: "row, reference",
  better: "lower",
  formula: "KL(p || q) = sum p (ln p - ln q)",
  source: "Kullback, Leibler 1951",
  read: readTemperature,
  compute: ({ row, reference }, { temperature }) =>
    divergence(new Law(reference, temperature), new Law(row, temperature)),
});

export const reverseKl = kind({
  needs: "row, reference",
  better: "lower",
  formula: "KL(q || p) = sum q (ln q - ln p)",
  source: "Kullback, Leibler 1951",
  read: readTemperature,
  compute: ({ row, reference }, { temperature }) =>
    divergence(new Law(row, temperature), new Law(reference, temperature)),
});

export const jeffreys = kind({
  needs: "row, reference",
  better: "lower",
  formula: "KL(p || q) + KL(q || p)",
  source: "Jeffreys 1946",
  read: readTemperature,
  compute({ row, reference }, { temperature }) {
    const p = new Law(reference, temperature);
    const q = new Law(row, temperature);
    return divergence(p, q) + divergence(q, p);
  },
});

/** At most ln 2, also for rows that share no token. */
export const jensenShannon = kind({
  needs: "row, reference",
  better: "lower",
  formula: "(KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2",
  source: "Lin 1991",
  read: readTemperature,
  compute({ row, reference }, { temperature }) {
    const p = new Law(reference, temperature);
    const q = new Law(row, temperature);
    const sum = new Sum();
    for (let token = 0; token < p.vocab; token++) {
      const a = p.probability(token);
      const b = q.probability(token);
      // Of subnormal numbers the half may be 0.
      const middle = a / 2 + b / 2;
      if (middle > 0) sum.add((share(a, middle) + share(b, middle)) / 2);
    }
    return Math.min(Math.LN2, Math.max(0, sum.value));
  },
});

function share(p: number, middle: number): number {
  return p > 0 ? p * log(p / middle) : 0;
}

export const totalVariationScore = kind({
  needs: "row, reference",
  better: "lower",
  formula: "sum |p - q| / 2",
  source: "Levin, Peres, Wilmer 2009",
  read: readTemperature,
  compute: ({ row, reference }, { temperature }) =>
    totalVariation(new Law(reference, temperature), new Law(row, temperature)),
});

/** How often a token drawn from the row would survive speculative verification against the reference. */
export const acceptance = kind({
  needs: "row, reference",
  better: "higher",
  formula: "sum min(p, q)",
  source: "Leviathan, Kalman, Matias 2023, arXiv:2211.17192",
  read: readTemperature,
  compute({ row, reference }, { temperature }) {
    const p = new Law(reference, temperature);
    const q = new Law(row, temperature);
    const sum = new Sum();
    for (let token = 0; token < p.vocab; token++)
      sum.add(Math.min(p.probability(token), q.probability(token)));
    return Math.min(1, sum.value);
  },
});

/** Of reverse speculation: the row is the student that checks what the reference, its teacher, proposes. */
export const thresholdAcceptance = kind({
  needs: "row, reference",
  better: "higher",
  formula: "sum of p where q >= threshold",
  source: "Reverse Speculative Decoding 2025, arXiv:2509.22230",
  read: (fields) => ({ threshold: fields.number("threshold", 0, 1, 0.01) }),
  compute({ row, reference }, { threshold }) {
    const p = new Law(reference);
    const q = new Law(row);
    const sum = new Sum();
    for (let token = 0; token < p.vocab; token++) {
      if (q.probability(token) >= threshold) sum.add(p.probability(token));
    }
    return Math.min(1, sum.value);
  },
});

/** Tokens at −∞ are in no top k; where fewer are left than k, all of them are. The lower token wins ties. */
export const topKAgreement = kind({
  needs: "row, reference",
  better: "higher",
  formula: "|top k of both| / k",
  source: "overlap of top-k lists; Fagin, Kumar, Sivakumar 2003",
  read: (fields) => ({ k: fields.integer("k", 1, 2 ** 20, 1) }),
  compute({ row, reference }, { k }) {
    const ours = topTokens(row, k);
    const theirs = new Set(topTokens(reference, k));
    const shared = ours.filter((token) => theirs.has(token)).length;
    return shared / Math.max(ours.length, theirs.size);
  },
});

/** The k best tokens above −∞, in no order. */
export function topTokens(row: Row, k: number): number[] {
  return Array.from(kBest(row, row.length, k)).filter((token) => row[token] > -Infinity);
}

/** Its mean over tokens drawn from the row is KL(row ‖ reference). */
export const k3 = kind({
  needs: "row, reference, token",
  better: "lower",
  formula: "r - 1 - ln r, r = p(token) / q(token)",
  source: "Schulman 2020, Approximating KL divergence",
  read: noOptions,
  compute({ row, reference, token }) {
    const p = new Law(reference);
    const q = new Law(row);
    if (p.has(token) !== q.has(token)) return Infinity;
    return p.has(token) ? k3Of(p.logProbability(token) - q.logProbability(token)) : 0;
  },
});

/**
 * Lp-Reg: against the row's own proxy, that is the row after min-p. 0 for a token that the proxy dropped, which the method
 * leaves alone.
 */
export const lpReg = kind({
  needs: "row, token",
  better: "lower",
  formula: "k3 of the row after min-p(rho) to the row: r - 1 - ln r, r = 1 / kept mass",
  source: "Low-probability regularization 2025, arXiv:2510.03222",
  read: (fields) => ({ rho: fields.number("rho", 0, 1, 0.02) }),
  compute({ row, token }, { rho }) {
    const law = new Law(row);
    // A token is kept if its logit is near enough to the best: no exp decides, and none rounds.
    const floor = law.max + log(rho);
    const isKept = (id: number) => law.has(id) && row[id] >= floor;
    if (!isKept(token)) return 0;
    const mass = new Sum();
    for (let id = 0; id < row.length; id++) if (isKept(id)) mass.add(exp(row[id] - law.max));
    return k3Of(log(law.sum / mass.value));
  },
});

/** e^x − 1 − x for x = ln r. */
function k3Of(x: number): number {
  return Math.max(0, expm1(x) - x);
}
