/**
 * Distillation losses: the row is the student's, the reference the teacher's. As evaluators they say how far a
 * compressed head or a fused plan is from its original.
 */
import type { Fields } from "../pipeline/fields.ts";
import { bestFirst } from "../pipeline/select.ts";
import { logCosh, sigmoid, softplus } from "./functions.ts";
import { kind, temperatureOf } from "./kind.ts";
import { crossEntropy, divergence, Law, lawWithout } from "./law.ts";
import { OnlineLogSumExp } from "./log-sum-exp.ts";
import { standardized } from "./standardize.ts";
import { Sum } from "./sum.ts";

export const nkd = kind({
  needs: "row, reference, token",
  better: "lower",
  formula: "-p(token) ln q(token) - gamma T^2 sum p' ln q', p' and q' without the token, at T",
  source: "Yang et al. 2023, arXiv:2303.13005",
  read: (fields) => ({ gamma: fields.number("gamma", 0, 1e3, 1.5), temperature: temperatureOf(fields) }),
  compute({ row, reference, token }, { gamma, temperature }) {
    const teacher = new Law(reference);
    const student = new Law(row);
    const p = teacher.probability(token);
    const target = p > 0 ? -p * student.logProbability(token) : 0;
    const p1 = lawWithout(reference, token, temperature);
    const q1 = lawWithout(row, token, temperature);
    let nonTarget = 0;
    // A teacher that leaves nothing beside the token asks nothing of the student there.
    if (p1 !== null && gamma > 0) {
      nonTarget = q1 === null ? Infinity : gamma * temperature * temperature * crossEntropy(p1, q1);
    }
    return { value: target + nonTarget, parts: { target, nonTarget } };
  },
});

/** Plackett-Luce: how likely the student is to pick the tokens in the teacher's order, the right one first. O(V log V). */
export const pld = kind({
  needs: "row, reference, token",
  better: "lower",
  formula: "-sum p(k) (z(k) - log sum of e^z from k on), k: the token, then by descending p",
  source: "Bassam, Zhu, Bian 2025, Plackett-Luce Distillation, arXiv:2506.12542",
  read: (fields) => ({ temperature: temperatureOf(fields) }),
  compute({ row, reference, token }, { temperature }) {
    const teacher = new Law(reference, temperature);
    const descending = bestFirst(reference, reference.length, reference.length);
    const order = [token, ...descending.filter((id) => id !== token)];
    const rest = new OnlineLogSumExp();
    const one = new Float64Array(1);
    const sum = new Sum();
    for (let place = order.length - 1; place >= 0; place--) {
      const id = order[place];
      one[0] = row[id];
      rest.add(one);
      const p = teacher.probability(id);
      if (p === 0) continue;
      if (row[id] === -Infinity) return Infinity;
      sum.add(p * rest.nll(row[id]));
    }
    return sum.value;
  },
});

const readTemperatureOfTwo = (fields: Fields) => ({ temperature: temperatureOf(fields, 2) });

/** Every token a question of yes or no. Not invariant to an offset of a row. */
export const binaryKl = kind({
  needs: "row, reference",
  better: "lower",
  formula: "T^2 sum KL(sigmoid(t/T) || sigmoid(z/T))",
  source: "Yang et al. 2024, Dual-Head Knowledge Distillation, arXiv:2411.08937",
  read: readTemperatureOfTwo,
  compute({ row, reference }, { temperature }) {
    const sum = new Sum();
    for (let token = 0; token < row.length; token++) {
      sum.add(binaryDivergence(reference[token] / temperature, row[token] / temperature));
    }
    return temperature * temperature * sum.value;
  },
});

/** KL of σ(t) to σ(s) as laws of one bit. */
function binaryDivergence(t: number, s: number): number {
  if (s === t) return 0;
  if (s === -Infinity) return Infinity;
  if (t === -Infinity) return softplus(s);
  const yes = sigmoid(t) * (softplus(-s) - softplus(-t));
  const no = sigmoid(-t) * (softplus(s) - softplus(t));
  return Math.max(0, yes + no);
}

/** BinaryKL of the difference to one half; symmetric in the rows. Not invariant to an offset of a row. */
export const dhkd = kind({
  needs: "row, reference",
  better: "lower",
  formula: "T^2 sum KL(1/2 || sigmoid((z - t)/T)) = T^2 sum ln cosh((z - t) / 2T)",
  source: "Yang et al. 2024, Dual-Head Knowledge Distillation, arXiv:2411.08937",
  read: readTemperatureOfTwo,
  compute({ row, reference }, { temperature }) {
    const sum = new Sum();
    for (let token = 0; token < row.length; token++) {
      // Both −∞: masked for both, so no difference.
      if (row[token] === reference[token]) continue;
      sum.add(logCosh((row[token] - reference[token]) / (2 * temperature)));
    }
    return temperature * temperature * sum.value;
  },
});

/** Blind to offset and scale of either row. Mean and deviation are those of the tokens above −∞. */
export const standardizedKd = kind({
  needs: "row, reference",
  better: "lower",
  formula: "T^2 KL(softmax(Z(t)/T) || softmax(Z(z)/T)), Z(z) = (z - mean) / (epsilon + std)",
  source: "Sun et al. 2024, Logit Standardization, arXiv:2403.01427",
  read: (fields) => ({
    ...readTemperatureOfTwo(fields),
    ddof: fields.integer("ddof", 0, 1, 1),
    epsilon: fields.number("epsilon", 0, 1, 1e-7),
  }),
  compute({ row, reference }, { temperature, ddof, epsilon }) {
    const p = new Law(standardized(reference, ddof, epsilon), temperature);
    const q = new Law(standardized(row, ddof, epsilon), temperature);
    return temperature * temperature * divergence(p, q);
  },
});
