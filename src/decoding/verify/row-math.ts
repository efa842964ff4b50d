/**
 * What verifiers do with whole rows, behind an interface: here the definition in f64, elsewhere kernels.
 *
 * All sums are f64 in order of id: in f32 a cumulative sum over 150,000 tokens ends at 0.9999, and every draw beyond
 * falls off the end.
 */
import { log } from "../../math.ts";
import { STAGE } from "../../philox.ts";
import type { Row } from "../draft.ts";
import type { VerifyRandom } from "./random.ts";

/** A distribution, not normalised: token x has probability values[x] / mass. */
export interface Weights {
  /** (vocab), none negative. */
  readonly values: Row;
  /** Σ values. */
  readonly mass: number;
}

export interface RowMath {
  /** Id of the largest value, the lowest of equal ones; NaN never wins. −1 if none is above −∞. */
  argmax(row: Row): number;
  /** Σ row; NaN if any value is negative or NaN. */
  mass(row: Row): number;
  /** Whether a token of draft probability q > 0 survives: u·q < p. Never if p or q is 0, or NaN. */
  accepts(u: number, p: number, q: number): boolean;
  /**
   * The token at u in the cumulative distribution; the last one with mass if rounding leaves u beyond the end.
   *
   * @throws {RangeError} If no token has mass.
   */
  draw(weights: Weights, u: number): number;
  /** (scale·p − q)+, of p and q as probabilities. */
  residual(p: Weights, q: Weights, scale: number): Weights;
  /** The mass of `residual`, without the row. */
  residualMass(p: Weights, q: Weights, scale: number): number;
  /** The same weights with those of `tokens` set to 0. */
  without(weights: Weights, tokens: readonly number[]): Weights;
  /**
   * The token with the largest p[x] / E[x], E[x] = −ln u(position, x): exponential race, the same choice as that of
   * the largest ln p[x] + g[x] with Gumbel noise g. The lowest id wins ties.
   *
   * @throws {RangeError} If no token has mass.
   */
  gumbelArgmax(weights: Weights, random: VerifyRandom, position: number): number;
}

/** Probability of a token of the vocabulary. */
export function probability({ values, mass }: Weights, token: number): number {
  return mass > 0 ? values[token] / mass : 0;
}

/** What `RowMath` means. */
export const referenceRowMath: RowMath = {
  argmax(row) {
    let best = -1;
    let top = -Infinity;
    for (let id = 0; id < row.length; id++) {
      if (row[id] > top) {
        top = row[id];
        best = id;
      }
    }
    return best;
  },

  mass(row) {
    let sum = 0;
    for (let id = 0; id < row.length; id++) {
      if (!(row[id] >= 0)) return NaN;
      sum += row[id];
    }
    return sum;
  },

  accepts: (u, p, q) => q > 0 && u * q < p,

  draw({ values, mass }, u) {
    const goal = u * mass;
    let sum = 0;
    let last = -1;
    for (let id = 0; id < values.length; id++) {
      if (!(values[id] > 0)) continue;
      sum += values[id];
      if (sum > goal) return id;
      last = id;
    }
    return expectSome(last);
  },

  residual(p, q, scale) {
    const values = new Float64Array(p.values.length);
    let mass = 0;
    for (let id = 0; id < values.length; id++) {
      values[id] = excess(p, q, scale, id);
      mass += values[id];
    }
    return { values, mass };
  },

  residualMass(p, q, scale) {
    let mass = 0;
    for (let id = 0; id < p.values.length; id++) mass += excess(p, q, scale, id);
    return mass;
  },

  // Summed again, not subtracted: what is left of 1 after its last token must be exactly 0.
  without(weights, tokens) {
    const values = weights.values.slice();
    for (const token of tokens) values[token] = 0;
    return { values, mass: referenceRowMath.mass(values) };
  },

  gumbelArgmax({ values }, random, position) {
    let best = -1;
    let top = 0;
    let last = -1;
    for (let id = 0; id < values.length; id++) {
      if (!(values[id] > 0)) continue;
      const score = values[id] / -log(random.uniform(position, STAGE.gumbel, id));
      if (score > top) {
        top = score;
        best = id;
      }
      last = id;
    }
    return best >= 0 ? best : expectSome(last);
  },
};

/** (scale·p[x] − q[x])+. Equal rows leave exactly 0 at scale 1. */
function excess(p: Weights, q: Weights, scale: number, id: number): number {
  return Math.max(0, scale * probability(p, id) - probability(q, id));
}

function expectSome(token: number): number {
  if (token < 0) throw new RangeError("Cannot draw a token: no token of the row has mass");
  return token;
}
