/**
 * Mirostat: truncates so that the surprise of the text stays near a target, by feedback.
 *
 *     both    s = −log₂ p of the emitted token;   μ ← μ − η·(s − τ),   μ₀ = 2τ
 *     1       keep the k most likely, k = (ε·2^μ / (1 − n^-ε))^(1/ŝ),   ε = ŝ − 1, n candidates;
 *             ŝ: slope of the m most likely tokens, were they Zipf's, ln p_i against ln i
 *     2       keep the tokens with −log₂ p ≤ μ
 *
 * μ is the memory that makes a pipeline stateful: it advances with emitted tokens alone.
 *
 * Source: Basu et al. 2020, arXiv:2007.14966; version 2 as in the authors' code and llama.cpp.
 */
import { exp, log } from "../../math.ts";
import type { Fields } from "./fields.ts";
import { bestFirst, kBest } from "./select.ts";
import type { StepKind } from "./step.ts";

interface Feedback {
  /** τ, the target in bits, 0 … 100. Default 5. */
  tau?: number;
  /** η, the rate of learning, 0 … 1. Default 0.1. */
  eta?: number;
}

export interface MirostatStep extends Feedback {
  step: "mirostat";
  /** Tokens that ŝ is estimated from, 2 … 1000. Default 100. */
  m?: number;
}

export interface Mirostat2Step extends Feedback {
  step: "mirostat-2";
}

/** μ may not leave this: a token that should hardly be possible must not end all feedback. */
const BOUND = 1000;

const memory = {
  start: ({ tau }: Required<Feedback>) => 2 * tau,
  next: ({ tau, eta }: Required<Feedback>, mu: number, surprise: number) =>
    Math.min(BOUND, Math.max(-BOUND, mu - eta * (surprise - tau))),
};

export const mirostat: StepKind<Required<MirostatStep>> = {
  read: (fields) => ({ step: "mirostat", ...readFeedback(fields), m: fields.integer("m", 2, 1000, 100) }),
  memory,
  apply(candidates, { m }, _place, _index, mu) {
    const { logits, count } = candidates;
    if (count < 2) return;
    const best = bestFirst(logits, count, m);
    let products = 0;
    let squares = 0;
    for (let i = 0; i + 1 < best.length; i++) {
      const step = log((i + 2) / (i + 1));
      products += step * (logits[best[i]] - logits[best[i + 1]]);
      squares += step * step;
    }
    const k = zipfCut(products / squares, mu, count);
    if (k < count) candidates.pick(kBest(logits, count, k).sort());
  },
};

export const mirostat2: StepKind<Required<Mirostat2Step>> = {
  read: (fields) => ({ step: "mirostat-2", ...readFeedback(fields) }),
  memory,
  apply(candidates, _values, _place, _index, mu) {
    const surprise = candidates.surprise();
    const best = candidates.best();
    candidates.keep((index) => surprise(index) <= mu * Math.LN2 || index === best);
  },
};

function readFeedback(fields: Fields): Required<Feedback> {
  return { tau: fields.number("tau", 0, 100, 5), eta: fields.number("eta", 0, 1, 0.1) };
}

/** k of version 1, at least 1. */
function zipfCut(slope: number, mu: number, count: number): number {
  const epsilon = slope - 1;
  const decay = epsilon * log(count);
  // (1 − e^-x) / ε tends to ln n where ε is 0, and is positive on both sides of it.
  const scale = Math.abs(decay) < 1e-6 ? log(count) : (1 - exp(-decay)) / epsilon;
  const k = exp((mu * Math.LN2 - log(scale)) / slope);
  // A flat row has slope 0, of which the formula makes 0 or infinitely many.
  return k >= count ? count : Math.max(1, Math.floor(k)) || 1;
}
