import { exp, log } from "../../math.ts";
import type { Row } from "../draft.ts";
import { OnlineLogSumExp } from "./log-sum-exp.ts";
import { Sum } from "./sum.ts";

/**
 * The distribution of a row: p = softmax(z/T).
 *
 * Everything is relative to the largest logit, so a row and the same row plus a constant have the same law, exactly if
 * the addition was exact. A token is in the support if its logit is above −∞, also where its p is 0 in f64.
 */
export class Law {
  /** (vocab), one of them at least above −∞. */
  readonly logits: Row;
  readonly temperature: number;
  /** Largest logit. */
  readonly max: number;
  /** Σ e^((z − max)/T), at least 1. */
  readonly sum: number;
  readonly #logSum: number;

  constructor(logits: Row, temperature = 1) {
    const online = new OnlineLogSumExp(temperature);
    online.add(logits);
    this.logits = logits;
    this.temperature = temperature;
    this.max = online.max;
    this.sum = online.sum;
    this.#logSum = log(online.sum);
  }

  get vocab(): number {
    return this.logits.length;
  }

  has(token: number): boolean {
    return this.logits[token] > -Infinity;
  }

  probability(token: number): number {
    return exp((this.logits[token] - this.max) / this.temperature) / this.sum;
  }

  /** ln p, in nats; −∞ outside the support, and finite in it. */
  logProbability(token: number): number {
    return (this.logits[token] - this.max) / this.temperature - this.#logSum;
  }

  /** log Σ e^(z/T) */
  get logPartition(): number {
    return this.max / this.temperature + this.#logSum;
  }
}

/** The law of the tokens except one; null if there is no other in the support. */
export function lawWithout(logits: Row, token: number, temperature = 1): Law | null {
  const others = Float64Array.from(logits);
  others[token] = -Infinity;
  return others.every((logit) => logit === -Infinity) ? null : new Law(others, temperature);
}

/**
 * −Σ p ln q in nats, tokens ascending. 0 · ln 0 = 0; infinite if p has a token in its support that q has not.
 */
export function crossEntropy(p: Law, q: Law): number {
  const sum = new Sum();
  for (let token = 0; token < p.vocab; token++) {
    if (!p.has(token)) continue;
    if (!q.has(token)) return Infinity;
    const probability = p.probability(token);
    if (probability > 0) sum.add(-probability * q.logProbability(token));
  }
  return sum.value;
}

/**
 * KL(p ‖ q) = Σ p (ln p − ln q) in nats, tokens ascending; never below 0. 0 · ln 0 = 0; infinite if p has a token in its
 * support that q has not.
 */
export function divergence(p: Law, q: Law): number {
  const sum = new Sum();
  for (let token = 0; token < p.vocab; token++) {
    if (!p.has(token)) continue;
    if (!q.has(token)) return Infinity;
    const probability = p.probability(token);
    if (probability > 0) sum.add(probability * (p.logProbability(token) - q.logProbability(token)));
  }
  return Math.max(0, sum.value);
}

/** −Σ p ln p in nats. */
export function entropy(p: Law): number {
  return Math.max(0, crossEntropy(p, p));
}

/** ½ Σ |p − q|, from 0 to 1. */
export function totalVariation(p: Law, q: Law): number {
  const sum = new Sum();
  for (let token = 0; token < p.vocab; token++)
    sum.add(Math.abs(p.probability(token) - q.probability(token)));
  return Math.min(1, sum.value / 2);
}
