/**
 * weight-search: constant weights of an ensemble, from recorded rows of held-out text.
 *
 *     greedy    sources in order of their own score; each joins, and may join again, if that lowers the loss of the
 *               equally weighted ensemble; weights are how often each joined       (model soups' greedy ensemble)
 *     grid      the best of all weights that are multiples of 1/steps and sum to 1
 *
 * Loss is the mean −ln p of the recorded tokens, in nats. Of equal losses the first wins.
 *
 * Source: Wortsman et al. 2022, arXiv:2203.05482.
 */

import { logSum } from "../../backend/reference/fuse/combine.ts";
import { expectInteger } from "../../errors.ts";
import { exp, log } from "../../math.ts";

/** One position: the rows of all sources, in order, and the token that came. */
export interface RecordedStep {
  readonly rows: readonly ArrayLike<number>[];
  readonly token: number;
}

export type EnsembleKind = "product" | "mixture";

export interface SearchResult {
  /** One per source, of sum 1. */
  readonly weights: readonly number[];
  /** Nats per token. */
  readonly loss: number;
}

/** Combinations that a grid may have. */
const MAX_GRID = 100_000;

/**
 * @param rounds How many times sources are gone through; 1 lets each join once.
 */
export function searchGreedy(steps: readonly RecordedStep[], kind: EnsembleKind, rounds = 1): SearchResult {
  const loss = lossOf(steps, kind);
  const sources = steps[0].rows.length;
  expectInteger("rounds", rounds, 1, 100);
  const alone = Array.from({ length: sources }, (_, source) => loss(oneHot(sources, source)));
  const order = alone.map((_, source) => source).sort((a, b) => alone[a] - alone[b] || a - b);
  const joined = oneHot(sources, order[0]);
  let best = alone[order[0]];
  for (let round = 0; round < rounds; round++) {
    for (const source of order.slice(round === 0 ? 1 : 0)) {
      joined[source]++;
      const now = loss(normalized(joined));
      if (now < best) best = now;
      else joined[source]--;
    }
  }
  return { weights: normalized(joined), loss: best };
}

export function searchGrid(steps: readonly RecordedStep[], kind: EnsembleKind, fineness = 10): SearchResult {
  const loss = lossOf(steps, kind);
  expectInteger("fineness", fineness, 1, 1000);
  const grid = compositions(steps[0].rows.length, fineness);
  let best: SearchResult = { weights: [], loss: Infinity };
  for (const parts of grid) {
    const weights = parts.map((part) => part / fineness);
    const now = loss(weights);
    if (now < best.loss || best.weights.length === 0) best = { weights, loss: now };
  }
  return best;
}

/** Checks the record once, and keeps log-probabilities, which both ensembles start from. */
function lossOf(steps: readonly RecordedStep[], kind: EnsembleKind): (weights: readonly number[]) => number {
  if (steps.length === 0) throw new RangeError('"steps" must have a step');
  const sources = steps[0].rows.length;
  expectInteger("steps[0].rows.length", sources, 1, 16);
  const logs = steps.map(({ rows, token }, index) => {
    expectInteger(`steps[${index}].rows.length`, rows.length, sources, sources);
    const vocab = rows[0].length;
    rows.forEach((row, source) => {
      expectInteger(`steps[${index}].rows[${source}].length`, row.length, vocab, vocab);
    });
    expectInteger(`steps[${index}].token`, token, 0, vocab - 1);
    return { token, rows: rows.map((row) => logSoftmax(row)) };
  });
  return (weights) => {
    const losses = logs.map(({ rows, token }) => -logProbability(rows, weights, token, kind));
    return losses.reduce((sum, one) => sum + one, 0) / losses.length;
  };
}

function logProbability(
  rows: readonly Float64Array[],
  weights: readonly number[],
  token: number,
  kind: EnsembleKind,
): number {
  const used = rows.flatMap((row, source) => (weights[source] > 0 ? [{ row, weight: weights[source] }] : []));
  if (kind === "mixture") {
    return log(used.reduce((sum, { row, weight }) => sum + weight * exp(row[token]), 0));
  }
  const fused = rows[0].map((_, id) => used.reduce((sum, { row, weight }) => sum + weight * row[id], 0));
  return fused[token] - logSum(fused);
}

function logSoftmax(row: ArrayLike<number>): Float64Array {
  const partition = logSum(row);
  return Float64Array.from(row, (z) => z - partition);
}

function oneHot(count: number, at: number): number[] {
  return Array.from({ length: count }, (_, index) => (index === at ? 1 : 0));
}

function normalized(parts: readonly number[]): number[] {
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => part / total);
}

/** All ways to write `total` as a sum of `count` integers from 0 on, in order. */
function compositions(count: number, total: number): number[][] {
  let ways = 1;
  for (let i = 1; i < count; i++) ways = (ways * (total + i)) / i;
  if (ways > MAX_GRID) {
    throw new RangeError(`The grid must have at most ${MAX_GRID} points, got ${Math.round(ways)}`);
  }
  if (count === 1) return [[total]];
  return Array.from({ length: total + 1 }, (_, first) => first).flatMap((first) =>
    compositions(count - 1, total - first).map((rest) => [first, ...rest]),
  );
}
