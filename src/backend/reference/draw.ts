/** What `DrawKernels` means: f64, token after token. It leaves nothing undecided but rows with no logit or an infinite one. */
import { exp, log } from "../../math.ts";
import { noise } from "../../philox.ts";
import { type Floats, stride } from "../backend.ts";
import type { Cut, DrawKernels, Drawn, DrawTask, LogitChanges } from "../draw-kernels.ts";
import type { Weights } from "../row-math.ts";
import { valuesOf } from "./memory.ts";
import { referenceRowMath } from "./row-math.ts";
import { scan } from "./scan.ts";

/** Bound of changed logits, so that none of them is infinite. */
const BOUND = 1e300;

export const referenceDrawKernels: DrawKernels = {
  async draw(x, vocab, tasks) {
    return rowsOf(x, vocab, tasks.length).map((row, i) => drawnOf(row, tasks[i]));
  },

  async scan(x, vocab, tasks, task) {
    const laws = rowsOf(x, vocab, tasks.length).map((row, i) => lawOf(row, tasks[i]));
    return laws.some((law) => law === null) ? null : scan(laws as Weights[], task);
  },
};

function rowsOf(x: Floats, vocab: number, count: number): Float32Array[] {
  const values = valuesOf(x, "x", (count - 1) * stride(vocab) + vocab);
  return Array.from({ length: count }, (_, i) =>
    values.subarray(i * stride(vocab), i * stride(vocab) + vocab),
  );
}

/** (vocab) softmax(logits / temperature); null for a row with no logit or an infinite one. */
function lawOf(row: Float32Array, task: DrawTask): Weights | null {
  const logits = new Float64Array(row.length).fill(-Infinity);
  for (const { token, logit } of cutLogits(logitsOf(row, task), task.cuts)) logits[token] = logit;
  const most = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  return Number.isFinite(most) ? referenceRowMath.tempered(logits, task.temperature) : null;
}

interface TokenLogit {
  readonly token: number;
  readonly logit: number;
}

function drawnOf(row: Float32Array, task: DrawTask): Drawn | null {
  const all = logitsOf(row, task);
  const most = all.reduce((most, { logit }) => Math.max(most, logit), -Infinity);
  if (!Number.isFinite(most)) return null;
  const { temperature, seed, position, list = 0, cuts } = task;
  const scaled = (logit: number) => (logit - most) / temperature;
  if (list > 0) {
    const order = bestFirst(all);
    const [best, others] = [order.slice(0, list), order.slice(list)];
    return {
      ids: Uint32Array.from(best, ({ token }) => token),
      logits: Float32Array.from(best, ({ token }) => row[token]),
      bound: others.length > 0 ? best[best.length - 1].logit : -Infinity,
      rest: others.reduce((sum, { logit }) => sum + exp(scaled(logit)), 0),
      restError: 0,
    };
  }
  const logits = cutLogits(all, cuts);
  if (temperature === 0) return { token: first(logits, ({ logit }) => logit).token, logProbability: 0 };
  const total = logits.reduce((sum, { logit }) => sum + exp(scaled(logit)), 0);
  const { token, logit } = first(
    logits,
    ({ token, logit }) => exp(scaled(logit)) / -log(noise(seed, position, token)),
  );
  return { token, logProbability: scaled(logit) - log(total) };
}

/** What the cuts leave, in order of id. */
function cutLogits(logits: readonly TokenLogit[], cuts: readonly Cut[] = []): readonly TokenLogit[] {
  if (cuts.length === 0 || logits.length === 0) return logits;
  let left = bestFirst(logits);
  for (const cut of cuts) left = left.slice(0, Math.max(1, lengthOf(left, cut)));
  return left.sort((a, b) => a.token - b.token);
}

function bestFirst(logits: readonly TokenLogit[]): TokenLogit[] {
  return [...logits].sort((a, b) => b.logit - a.logit || a.token - b.token);
}

/** How many of the tokens, best first, a cut leaves. */
function lengthOf(order: readonly TokenLogit[], cut: Cut): number {
  const most = order[0].logit;
  if (cut.cut === "top-k") {
    if (cut.k >= order.length || cut.ties === "lowest") return cut.k;
    return order.filter(({ logit }) => logit >= order[cut.k - 1].logit).length;
  }
  const { p, temperature } = cut;
  if (cut.cut === "min-p") {
    const least = most / temperature + log(p);
    return order.filter(({ logit }) => logit / temperature >= least).length;
  }
  if (p === 1) return order.length;
  const weights = order.map(({ logit }) => exp((logit - most) / temperature));
  const goal = p * weights.reduce((sum, weight) => sum + weight, 0);
  let count = 0;
  for (let mass = 0; count < weights.length && (count === 0 || mass < goal); count++) mass += weights[count];
  return count;
}

/** The logits of the tokens that have a chance, in order of id. */
function logitsOf(row: Float32Array, { changes, mask }: DrawTask): TokenLogit[] {
  const numbers = new Map(Array.from(changes?.tokens ?? [], (token, i) => [token, i]));
  const logits: TokenLogit[] = [];
  for (let token = 0; token < row.length; token++) {
    const isAllowed = mask === undefined || ((mask[token >>> 5] >>> (token & 31)) & 1) === 1;
    if (!isAllowed || !(row[token] > -Infinity)) continue;
    const number = numbers.get(token);
    const logit = number === undefined ? row[token] : changed(row[token], changes!, number);
    if (logit > -Infinity) logits.push({ token, logit });
  }
  return logits;
}

/** The logit of the token with this number among the changed; −∞: it has no chance. An infinite one stays what it is. */
export function changed(x: number, { changes }: LogitChanges, number: number): number {
  const [before, penalty, after] = [0, 1, 2].map((i) => changes[3 * number + i]);
  if (after === -Infinity) return -Infinity;
  const sum = x + before;
  const logit = (sum > 0 ? sum / penalty : sum * penalty) + after;
  return x === Infinity ? x : Math.min(BOUND, Math.max(-BOUND, logit));
}

/** The one with the largest score, the first of equal ones. */
function first(logits: readonly TokenLogit[], score: (one: TokenLogit) => number): TokenLogit {
  const scores = logits.map(score);
  return logits[scores.indexOf(scores.reduce((most, one) => Math.max(most, one), -Infinity))];
}
