/**
 * X-Token: a student against a teacher with another vocabulary.
 *
 *     P-KL   T² KL(p' ‖ q')      p: teacher, q = Wᵀ softmax(z/T); both cut to the teacher's top k and normalised again
 *     H-KL   T² (Σ_common p ln(p/q) + Σ |p_(i) − q_(i)|)    the second over what is not common, sorted descending
 *
 * q is projected as probabilities: summing logits would be a product of chances.
 *
 * Source: X-Token 2026, arXiv:2605.21699. The k are those of one row, where the training code takes one for its batch.
 */
import { log } from "../../math.ts";
import type { Row } from "../draft.ts";
import { topTokens } from "./divergence.ts";
import { kind, type Projection, temperatureOf } from "./kind.ts";
import { Law } from "./law.ts";
import { Sum } from "./sum.ts";

export const pKl = kind({
  needs: "row, reference, projection",
  better: "lower",
  formula: "T^2 KL(p || W' q) over the reference's top k, both normalised there",
  source: "X-Token 2026, arXiv:2605.21699",
  read: (fields) => ({
    temperature: temperatureOf(fields),
    k: fields.integer("k", 1, 2 ** 20, 512),
    /** What a probability of the student counts as at least. */
    floor: fields.number("floor", 1e-300, 1, 1e-10),
  }),
  compute({ row, reference, projection }, { temperature, k, floor }) {
    const teacher = new Law(reference, temperature);
    const student = projected(row, projection, reference.length, temperature);
    const top = topTokens(reference, k).sort((a, b) => a - b);
    const ours = new Sum();
    const theirs = new Sum();
    for (const token of top) {
      ours.add(student[token]);
      theirs.add(teacher.probability(token));
    }
    const sum = new Sum();
    for (const token of top) {
      const p = teacher.probability(token) / theirs.value;
      const q = Math.max(floor, ours.value > 0 ? student[token] / ours.value : 0);
      if (p > 0) sum.add(p * log(p / q));
    }
    return temperature * temperature * sum.value;
  },
});

/** (vocab of the teacher) Wᵀ softmax(z/T), student tokens ascending. */
export function projected(
  row: Row,
  { offsets, tokens, weights }: Projection,
  vocab: number,
  temperature: number,
): Float64Array {
  const law = new Law(row, temperature);
  const out = new Float64Array(vocab);
  for (let token = 0; token < row.length; token++) {
    const p = law.probability(token);
    for (let i = offsets[token]; i < offsets[token + 1]; i++) out[tokens[i]] += p * weights[i];
  }
  return out;
}

/** The first sum is over parts of two laws, so it can be below 0. */
export const hKl = kind({
  needs: "row, reference, common",
  better: "lower",
  formula: "T^2 (sum p ln(p/q) of common tokens + sum |p - q| of the others, sorted descending)",
  source: "X-Token 2026, arXiv:2605.21699",
  read: (fields) => ({
    temperature: temperatureOf(fields),
    /** Of the tokens that are not common, how many are compared. */
    k: fields.integer("k", 0, 2 ** 20, 8192),
  }),
  compute({ row, reference, common }, { temperature, k }) {
    const student = new Law(row, temperature);
    const teacher = new Law(reference, temperature);
    const square = temperature * temperature;
    const sum = new Sum();
    for (const [ours, theirs] of common) {
      if (!teacher.has(theirs)) continue;
      const p = teacher.probability(theirs);
      if (!student.has(ours)) sum.add(Infinity);
      else if (p > 0) sum.add(p * (teacher.logProbability(theirs) - student.logProbability(ours)));
    }
    const ours = uncommon(student, new Set(common.map(([token]) => token)));
    const theirs = uncommon(teacher, new Set(common.map(([, token]) => token)));
    const distance = new Sum();
    for (let i = 0; i < Math.min(k, Math.max(ours.length, theirs.length)); i++) {
      distance.add(Math.abs((ours[i] ?? 0) - (theirs[i] ?? 0)));
    }
    const parts = { common: square * sum.value, uncommon: square * distance.value };
    return { value: parts.common + parts.uncommon, parts };
  },
});

/** Probabilities of the other tokens, largest first. */
function uncommon(law: Law, common: ReadonlySet<number>): Float64Array {
  const probabilities = new Float64Array(law.vocab - common.size);
  let count = 0;
  for (let token = 0; token < law.vocab; token++) {
    if (!common.has(token)) probabilities[count++] = law.probability(token);
  }
  return probabilities.sort().reverse();
}
