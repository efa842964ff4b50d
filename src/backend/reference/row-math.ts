/** What `RowMath` means: f64 values, f64 sums in order of id, on rows where they are. */
import { expectInteger, expectNumber } from "../../errors.ts";
import { exp, log } from "../../math.ts";
import {
  accepts,
  expectSome,
  noLogit,
  probability,
  type Row,
  type RowMath,
  scatter,
  type VerifyRandom,
  type Weights,
} from "../row-math.ts";

const MOST = 3.4028234663852886e38;

export const referenceRowMath: RowMath = {
  read: (row) => ({ values: row, mass: massOf(row) }),

  fromDistribution(distribution) {
    const values = new Float64Array(expectInteger("vocab", distribution.vocab, 1, 2 ** 31 - 1));
    scatter(distribution, values);
    return { values, mass: massOf(values) };
  },

  tempered(logits, temperature) {
    expectNumber("temperature", temperature, 0, Number.MAX_VALUE);
    const best = argmaxOf(logits);
    if (best < 0) throw noLogit();
    const values = new Float64Array(logits.length);
    const top = Math.min(logits[best], MOST);
    let total = 0;
    for (let id = 0; id < values.length; id++) {
      if (!(logits[id] > -Infinity)) continue;
      const below = Math.min(logits[id], MOST) - top;
      values[id] = temperature > 0 ? exp(below / temperature) : Number(id === best);
      total += values[id];
    }
    for (let id = 0; id < values.length; id++) values[id] /= total;
    return { values, mass: massOf(values) };
  },

  free() {},
  mark: () => 0,
  release() {},

  argmax: argmaxOf,
  mass: massOf,
  accepts,

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
    return { values, mass: massOf(values) };
  },

  gumbelArgmax: ({ values }, random, position) => raceOf(values, random, position),
};

function argmaxOf(row: Row): number {
  let best = -1;
  let top = -Infinity;
  for (let id = 0; id < row.length; id++) {
    if (row[id] > top) {
      top = row[id];
      best = id;
    }
  }
  return best;
}

function massOf(row: Row): number {
  let sum = 0;
  for (let id = 0; id < row.length; id++) {
    if (!(row[id] >= 0)) return NaN;
    sum += row[id];
  }
  return sum;
}

/** (scale·p[x] − q[x])+. Equal rows leave exactly 0 at scale 1. */
function excess(p: Weights, q: Weights, scale: number, id: number): number {
  return Math.max(0, scale * probability(p, id) - probability(q, id));
}

/** `RowMath.gumbelArgmax` with any numbers. */
export function raceOf(values: Row, random: VerifyRandom, position: number): number {
  let best = -1;
  let top = 0;
  let last = -1;
  for (let id = 0; id < values.length; id++) {
    if (!(values[id] > 0)) continue;
    const score = values[id] / -log(random.noise(position, id));
    if (score > top) {
      top = score;
      best = id;
    }
    last = id;
  }
  return best >= 0 ? best : expectSome(last);
}
