/** The definitions of the kernels that read numbers off rows. */
import { exp, log } from "../../../math.ts";
import type { Floor, Summary, SummaryGroup } from "../../fuse-kernels.ts";

type F64 = Float64Array;

export function summary(row: F64, temperature: number, groups: ReadonlySet<SummaryGroup>): Summary {
  const argmax = largest(row);
  const top = row[argmax];
  return {
    vocab: row.length,
    top,
    argmax,
    ...(groups.has("moments") && moments(row, temperature)),
    ...((groups.has("partition") || groups.has("probabilities")) && partition(row, temperature, argmax)),
    ...(groups.has("probabilities") && probabilityMoments(row, temperature, top)),
  };
}

export function top(row: F64): number {
  return row[largest(row)];
}

/** Id of the largest value, the lowest of equal ones. */
function largest(row: F64): number {
  let best = 0;
  for (let id = 1; id < row.length; id++) if (row[id] > row[best]) best = id;
  return best;
}

/** In two passes, as Σz² less the square of the mean cancels. */
function moments(row: F64, temperature: number): Partial<Summary> {
  let count = 0;
  let sum = 0;
  for (const z of row) {
    if (z === -Infinity) continue;
    count++;
    sum += z / temperature;
  }
  const mean = sum / count;
  let squares = 0;
  for (const z of row) if (z !== -Infinity) squares += (z / temperature - mean) * (z / temperature - mean);
  return { count, mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : 0 };
}

/** With e = exp(z − top): Σe, Σ(z − top)·e and the same of e², which is the partition at half the temperature. */
function partition(row: F64, temperature: number, argmax: number): Partial<Summary> {
  const top = row[argmax];
  let sum = 0;
  let weighted = 0;
  let squareSum = 0;
  let squareWeighted = 0;
  let second = 0;
  let least = Infinity;
  row.forEach((z, id) => {
    const x = (z - top) / temperature;
    const e = exp(x);
    least = Math.min(least, e);
    if (id !== argmax) second = Math.max(second, e);
    if (e === 0) return;
    sum += e;
    weighted += x * e;
    squareSum += e * e;
    squareWeighted += x * e * e;
  });
  return {
    logPartition: top / temperature + log(sum),
    entropy: log(sum) - weighted / sum,
    // −Σ r ln r for r = e² / Σe²: ln r = 2x − ln Σe².
    squareEntropy: log(squareSum) - (2 * squareWeighted) / squareSum,
    maxProbability: 1 / sum,
    minProbability: least / sum,
    margin: (1 - second) / sum,
  };
}

function probabilityMoments(row: F64, temperature: number, top: number): Partial<Summary> {
  const probabilities = row.map((z) => exp((z - top) / temperature));
  const sum = probabilities.reduce((total, e) => total + e, 0);
  const count = row.length;
  let squares = 0;
  let fourths = 0;
  let weights = 0;
  for (const e of probabilities) {
    weights += exp(e / sum / 2);
    const square = (e / sum - 1 / count) * (e / sum - 1 / count);
    squares += square;
    fourths += square * square;
  }
  const variance = count > 1 ? squares / (count - 1) : 0;
  // Of equal probabilities rounding leaves something like 1e-33, which says nothing.
  const flat = variance <= 1e-30 / (count * count);
  return {
    probabilityDeviation: Math.sqrt(variance),
    probabilityKurtosis: flat ? 1 : fourths / count / (variance * variance),
    probabilityEnergy: 2 * log(weights),
  };
}

export function topK(row: F64, k: number): Floor {
  return floorOf(row, k, () => 1);
}

export function topP(row: F64, temperature: number, p: number): Floor {
  const most = top(row);
  const weigh = (z: number) => exp((z - most) / temperature);
  const goal = p * row.reduce((sum, z) => sum + weigh(z), 0);
  return floorOf(row, goal, weigh);
}

/** Where the weights of tokens above −∞, best first, reach the goal; the last of them should they not. */
function floorOf(row: F64, goal: number, weigh: (z: number) => number): Floor {
  const rising = row.filter((z) => z > -Infinity).sort();
  let sum = 0;
  let equal = 0;
  let value = Infinity;
  for (let i = rising.length - 1; i >= 0; i--) {
    equal = rising[i] === value ? equal + 1 : 1;
    value = rising[i];
    sum += weigh(value);
    if (sum >= goal) break;
  }
  let last = -1;
  while (equal-- > 0) last = row.indexOf(value, last + 1);
  return { value, last };
}

export function rank(row: F64, token: number): number {
  let before = 0;
  for (let id = 0; id < row.length; id++) {
    if (row[id] > row[token] || (row[id] === row[token] && id < token)) before++;
  }
  return before;
}

/** KL(p‖q) and Σ|p − q|. Where p is 0 the first adds nothing; where q alone is, it is ∞. */
export function distance(a: F64, b: F64): { kl: number; l1: number } {
  const partitionA = logPartition(a);
  const partitionB = logPartition(b);
  let kl = 0;
  let l1 = 0;
  for (let id = 0; id < a.length; id++) {
    const logP = a[id] - partitionA;
    const logQ = b[id] - partitionB;
    const p = exp(logP);
    l1 += Math.abs(p - exp(logQ));
    if (p > 0) kl += p * (logP - logQ);
  }
  return { kl, l1 };
}

function logPartition(row: F64): number {
  return partition(row, 1, largest(row)).logPartition!;
}
