/**
 * tilt: the laws P·exp(α·d) / Σ of a grid of α, d = expert − anti, by one exp per token.
 *
 *     g = exp(step·d);  w = P·exp(start·d);  for each α:  Σ += w, Σd += w·d, Σd² += w·d²;  w *= g
 *
 * d is centred at the most likely token of P, as an offset of d changes no law and would overflow. Where a weight would
 * still pass e^80, as with spreads of d around 16, each α is summed on its own with the largest exponent taken off.
 *
 * Tokens that one of the three rows does not have are in none of the sums.
 *
 * Cost   three rows read, 2 exp and 4·count multiply-adds per token; fallen back, count exp per token.
 */
import { exp, log } from "../../../math.ts";
import type { MatchTargets, Tilt } from "../../fuse-kernels.ts";

type F64 = Float64Array;

/** exp(80) is 5e34: within f32, and so are the sums over a vocabulary. */
const MAX_EXPONENT = 80;

export function tilt(
  base: F64,
  expert: F64,
  anti: F64,
  start: number,
  step: number,
  count: number,
): readonly Tilt[] {
  const { ids, logP, d, centre } = common(base, expert, anti);
  let most = -Infinity;
  for (let i = 0; i < ids; i++) {
    for (const alpha of [start, start + step * (count - 1)]) {
      most = Math.max(most, logP[i] + alpha * d[i]);
    }
  }
  const sums = most > MAX_EXPONENT ? oneByOne : together;
  return sums(logP.subarray(0, ids), d.subarray(0, ids), start, step, count).map(
    ({ shift, sum, first, second }, j) => {
      const mean = first / sum;
      return {
        logMass: shift + log(sum) + (start + j * step) * centre,
        mean: mean + centre,
        variance: Math.max(0, second / sum - mean * mean),
      };
    },
  );
}

/** Σ of w, w·d and w·d², with w divided by exp(shift). */
interface Sums {
  readonly shift: number;
  readonly sum: number;
  readonly first: number;
  readonly second: number;
}

function together(logP: F64, d: F64, start: number, step: number, count: number): Sums[] {
  const sums = Array.from({ length: count }, () => ({ shift: 0, sum: 0, first: 0, second: 0 }));
  for (let i = 0; i < d.length; i++) {
    const growth = exp(step * d[i]);
    let weight = exp(logP[i] + start * d[i]);
    for (const sum of sums) {
      const weighted = weight * d[i];
      sum.sum += weight;
      sum.first += weighted;
      sum.second += weighted * d[i];
      weight *= growth;
    }
  }
  return sums;
}

function oneByOne(logP: F64, d: F64, start: number, step: number, count: number): Sums[] {
  return Array.from({ length: count }, (_, j) => {
    const alpha = start + j * step;
    let shift = -Infinity;
    for (let i = 0; i < d.length; i++) shift = Math.max(shift, logP[i] + alpha * d[i]);
    let [sum, first, second] = [0, 0, 0];
    for (let i = 0; i < d.length; i++) {
      const weight = exp(logP[i] + alpha * d[i] - shift);
      sum += weight;
      first += weight * d[i];
      second += weight * d[i] * d[i];
    }
    return { shift, sum, first, second };
  });
}

/** ln P over the tokens that all three rows have, and d less its value at the most likely of them. */
function common(base: F64, expert: F64, anti: F64): { ids: number; logP: F64; d: F64; centre: number } {
  const logP = new Float64Array(base.length);
  const d = new Float64Array(base.length);
  let ids = 0;
  let best = 0;
  for (let id = 0; id < base.length; id++) {
    if (!isCommon(base, expert, anti, id)) continue;
    logP[ids] = base[id];
    d[ids] = expert[id] - anti[id];
    if (logP[ids] > logP[best]) best = ids;
    ids++;
  }
  if (ids === 0) return { ids, logP, d, centre: 0 };
  const centre = d[best];
  const partition = logPartition(logP.subarray(0, ids));
  for (let i = 0; i < ids; i++) {
    logP[i] -= partition;
    d[i] -= centre;
  }
  return { ids, logP, d, centre };
}

export function matchTargets(base: F64, expert: F64, anti: F64): MatchTargets {
  const ids = Array.from(base.keys()).filter((id) => isCommon(base, expert, anti, id));
  const tuned = Float64Array.from(ids, (id) => expert[id]);
  const plain = Float64Array.from(ids, (id) => anti[id]);
  const partitionTuned = logPartition(tuned);
  const partitionPlain = logPartition(plain);
  let forward = 0;
  let backward = 0;
  for (let i = 0; i < ids.length; i++) {
    const logTuned = tuned[i] - partitionTuned;
    const logPlain = plain[i] - partitionPlain;
    forward += exp(logTuned) * (logTuned - logPlain);
    backward += exp(logPlain) * (logPlain - logTuned);
  }
  return { forward, backward };
}

function isCommon(base: F64, expert: F64, anti: F64, id: number): boolean {
  return base[id] > -Infinity && expert[id] > -Infinity && anti[id] > -Infinity;
}

function logPartition(row: F64): number {
  let top = -Infinity;
  for (const z of row) top = Math.max(top, z);
  let sum = 0;
  for (const z of row) sum += exp(z - top);
  return top + log(sum);
}
