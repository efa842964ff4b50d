/**
 * pipeline: from a row of logits to a token.
 *
 *     repetition penalty  →  temperature  →  top-k  →  top-p  →  min-p  →  draw
 *
 * the order of Hugging Face transformers. Temperature 0 takes the best token after the penalty. All steps are f64 on
 * the f32 row, with our own exp, so the same row and seed give the same token in every engine.
 */
import { exp } from "../math.ts";
import { STAGE, uniform } from "./philox.ts";

/** See `SamplingOptions` for meanings; here every field is set. */
export interface PipelineSettings {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

/** Below this the probabilities of a row are exactly zero: exp(-80) is 2e-35 of the best token's. */
const NEGLIGIBLE = -80;

interface Candidates {
  readonly ids: number[];
  /** Unnormalised probabilities; the best token has 1. */
  readonly weights: number[];
}

/**
 * Chooses the token at `position`.
 *
 * @param row (vocab) logits; not changed.
 * @param history Tokens so far, prompt included: what the repetition penalty looks at.
 *
 * @example
 * ```ts
 * const settings = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };
 * sampleToken(Float32Array.of(0.5, 2, 1), [], 0, settings); // 1
 * ```
 */
export function sampleToken(
  row: Float32Array,
  history: readonly number[],
  position: number,
  settings: PipelineSettings,
): number {
  const logits = penalize(row, history, settings.repetitionPenalty);
  const best = argmax(logits);
  if (settings.temperature === 0) return best;
  let candidates = weigh(logits, logits[best], settings.temperature);
  if (settings.topK > 0) candidates = keepTopK(candidates, settings.topK);
  if (settings.topP < 1) candidates = keepTopP(candidates, settings.topP);
  if (settings.minP > 0) candidates = keepMinP(candidates, settings.minP);
  return draw(candidates, uniform(settings.seed, position, STAGE.sample)) ?? best;
}

/** Keskar et al. 2019, arXiv:1909.05858: seen tokens lose, whatever the sign of their logit. */
function penalize(row: Float32Array, history: readonly number[], penalty: number): Float32Array {
  if (penalty === 1) return row;
  const logits = row.slice();
  for (const token of new Set(history)) {
    logits[token] = row[token] > 0 ? row[token] / penalty : row[token] * penalty;
  }
  return logits;
}

/** Lowest id among the largest; NaN never wins. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  let top = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    if (logits[id] > top) {
      top = logits[id];
      best = id;
    }
  }
  return best;
}

/** exp((logit − best) / temperature) of every token that has a chance at all, by id. */
function weigh(logits: Float32Array, best: number, temperature: number): Candidates {
  const ids: number[] = [];
  const weights: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    const exponent = (logits[id] - best) / temperature;
    if (!(exponent > NEGLIGIBLE)) continue;
    ids.push(id);
    weights.push(exp(exponent));
  }
  return { ids, weights };
}

/** The k heaviest; of equal ones the lower ids. */
function keepTopK(candidates: Candidates, k: number): Candidates {
  if (candidates.ids.length <= k) return candidates;
  const heaviest = heaviestFirst(candidates);
  return pick(candidates, Array.from({ length: k }, heaviest));
}

/** The smallest set of heaviest tokens whose share reaches p: Holtzman et al. 2019, arXiv:1904.09751. */
function keepTopP(candidates: Candidates, p: number): Candidates {
  const heaviest = heaviestFirst(candidates);
  const goal = p * sum(candidates.weights);
  const kept = [heaviest()];
  let mass = candidates.weights[kept[0]];
  while (mass < goal && kept.length < candidates.ids.length) {
    const index = heaviest();
    kept.push(index);
    mass += candidates.weights[index];
  }
  return pick(candidates, kept);
}

/** Those at least minP times as likely as the best: Nguyen et al. 2024, arXiv:2407.01082. */
function keepMinP(candidates: Candidates, minP: number): Candidates {
  const floor = minP * candidates.weights.reduce((top, weight) => Math.max(top, weight), 0);
  return pick(
    candidates,
    candidates.ids.map((_, index) => index).filter((index) => candidates.weights[index] >= floor),
  );
}

/** Inverse of the cumulative distribution in order of id. */
function draw({ ids, weights }: Candidates, random: number): number | undefined {
  const goal = random * sum(weights);
  let mass = 0;
  for (let index = 0; index < ids.length; index++) {
    mass += weights[index];
    if (mass > goal) return ids[index];
  }
  return ids[ids.length - 1];
}

/**
 * Gives one index after the other, heaviest first; of equal ones the lower id first. A heap, since of a large vocabulary
 * few are asked for: it is made in O(n), each index costs O(log n).
 */
function heaviestFirst({ weights }: Candidates): () => number {
  const heap = Uint32Array.from(weights, (_, index) => index);
  let size = heap.length;
  const before = (a: number, b: number) => weights[a] > weights[b] || (weights[a] === weights[b] && a < b);
  const sink = (at: number) => {
    const item = heap[at];
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], item)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = item;
  };
  for (let at = (size >> 1) - 1; at >= 0; at--) sink(at);
  return () => {
    const top = heap[0];
    heap[0] = heap[--size];
    sink(0);
    return top;
  };
}

/** The candidates at `indices`, by id again. */
function pick({ ids, weights }: Candidates, indices: number[]): Candidates {
  const sorted = indices.sort((a, b) => a - b);
  return { ids: sorted.map((index) => ids[index]), weights: sorted.map((index) => weights[index]) };
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
