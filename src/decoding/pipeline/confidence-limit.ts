/**
 * Confidence limit: heats a row that is too sure of itself, just enough. For many answers to one question (pass@N), where
 * a model that is sure gives the same wrong one each time.
 *
 *     the lowest T ≥ 1 at which   max p ≤ maxProbability   and   −Σ p ln p ≥ minEntropy,     p ∝ e^(logit / T)
 *
 * Rows within both limits stay as they are. Equal logits stay equal at every T, so of tokens that share the first place
 * each counts as the most likely one, and none is preferred. n candidates have max p ≥ 1/n and entropy ≤ ln n; if a limit
 * lies beyond, the row becomes the flattest there is, even over its n candidates (one, after a greedy step).
 *
 * Max p falls and entropy rises with T, so each limit has one T. It is found by bisection, the regula falsi in between
 * (the "Illinois" rule), and lies within the limit by less than 1e-10. Steps are bounded; the same bits everywhere.
 */
import { expBelow } from "../../exp-below.ts";
import { exp, log } from "../../math.ts";
import type { Candidates } from "./candidates.ts";
import type { StepKind } from "./step.ts";

export interface ConfidenceLimitStep {
  step: "confidence-limit";
  /** 1e-9 … 1; 1 sets no limit. Default 1. */
  maxProbability?: number;
  /** In nats, 0 … 20; 0 sets no limit. Default 0. */
  minEntropy?: number;
}

/** How far inside a limit counts as at it. */
const TOLERANCE = 1e-10;
/** Bisections from any bracket of ln T that f64 has leave nothing in between long before. */
const MAX_STEPS = 300;

export const confidenceLimit: StepKind<Required<ConfidenceLimitStep>> = {
  read: (fields) => ({
    step: "confidence-limit",
    maxProbability: fields.number("maxProbability", 1e-9, 1, 1),
    minEntropy: fields.number("minEntropy", 0, 20, 0),
  }),
  isNeutral: ({ maxProbability, minEntropy }) => maxProbability === 1 && minEntropy === 0,
  apply(candidates, { maxProbability, minEntropy }) {
    /** How far inside the limits a law is whose most likely token has probability 1 / total. */
    const room = (total: number, entropy: number) =>
      Math.min(maxProbability - 1 / total, entropy - minEntropy);
    const { count } = candidates;
    if (room(candidates.total(), candidates.entropy()) >= 0) return;
    if (room(count, log(count)) <= TOLERANCE) return candidates.spread(0);
    const heated = heater(candidates);
    candidates.spread(exp(-leastHeat((heat) => room(...heated(heat)))));
  },
};

/** From ln T to Σ e^(-gap / T), where gap is how far a logit lies below the best, and to the entropy. */
function heater(candidates: Candidates): (heat: number) => [total: number, entropy: number] {
  const { count } = candidates;
  const top = candidates.logits[candidates.best()];
  const gaps = candidates.logits.slice(0, count).map((logit) => logit - top);
  const scaled = new Float64Array(count);
  const weights = new Float64Array(count);
  return (heat) => {
    const factor = exp(-heat);
    for (let i = 0; i < count; i++) scaled[i] = gaps[i] * factor;
    const total = expBelow(weights, scaled, count, 0);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += weights[i] * scaled[i];
    return [total, log(total) - sum / total];
  };
}

/** The least ln T with room ≥ 0, but for the tolerance; room rises with it, from below 0 at T = 1 to above 0. */
function leastHeat(room: (heat: number) => number): number {
  let [low, below] = [0, room(0)];
  let [high, above] = [0.5, room(0.5)];
  while (above < 0) {
    [low, below] = [high, above];
    high *= 2;
    above = room(high);
  }
  let left = above;
  for (let step = 1; step < MAX_STEPS && left > TOLERANCE; step++) {
    const crossing = high - (above * (high - low)) / (above - below);
    const middle = step % 3 > 0 && crossing > low && crossing < high ? crossing : (low + high) / 2;
    if (!(middle > low && middle < high)) break;
    const value = room(middle);
    // The end that stays counts half, so that the next crossing falls on its side.
    if (value >= 0) {
      [high, above, below] = [middle, value, below / 2];
      left = value;
    } else [low, below, above] = [middle, value, above / 2];
  }
  return high;
}
