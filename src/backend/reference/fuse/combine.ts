/** The definitions of the kernels that make rows. */
import { exp, log } from "../../../math.ts";
import type { ResolvedBound, Scaled } from "../../fuse-kernels.ts";

type F64 = Float64Array;

export function lin(
  vocab: number,
  terms: readonly Scaled<F64>[],
  bounds: readonly (readonly ResolvedBound<F64>[])[],
): F64 {
  const out = new Float64Array(vocab);
  for (const { row, scale, offset } of terms) {
    for (let id = 0; id < vocab; id++) {
      // −∞ taken away is −∞ · −1, and 0 times it is NaN: neither may reach the sum.
      if (row[id] === -Infinity) out[id] = scale > 0 ? -Infinity : out[id];
      else out[id] += scale * row[id] + offset;
    }
  }
  for (let id = 0; id < vocab; id++) {
    if (!bounds.every((bound) => bound.some((one) => isInside(one, id)))) out[id] = -Infinity;
  }
  return out;
}

function isInside(bound: ResolvedBound<F64>, id: number): boolean {
  if (bound.kind === "mask") return ((bound.words[id >>> 5] >>> (id & 31)) & 1) === 1;
  const { row, floor } = bound;
  return row[id] > floor.value || (row[id] === floor.value && id <= floor.last);
}

export function mix(vocab: number, terms: readonly Scaled<F64>[]): F64 {
  const out = new Float64Array(vocab);
  const values = new Float64Array(terms.length);
  for (let id = 0; id < vocab; id++) {
    terms.forEach(({ row, scale, offset }, index) => {
      values[index] = row[id] === -Infinity ? -Infinity : scale * row[id] + offset;
    });
    out[id] = logSum(values);
  }
  return out;
}

/** ln Σ exp; −∞ of none. */
export function logSum(values: ArrayLike<number>): number {
  let top = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > top) top = values[i];
  if (top === -Infinity) return top;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += exp(values[i] - top);
  return top + log(sum);
}

export function scatter(row: F64, ids: ArrayLike<number>, values: ArrayLike<number>, scale: number): F64 {
  const out = row.slice();
  for (let i = 0; i < ids.length; i++) out[ids[i]] += scale * values[i];
  return out;
}

export function project(
  { row, scale, offset }: Scaled<F64>,
  vocab: number,
  offsets: ArrayLike<number>,
  ids: ArrayLike<number>,
  values: ArrayLike<number>,
): F64 {
  const out = new Float64Array(vocab);
  for (let i = 0; i + 1 < offsets.length; i++) {
    const probability = exp(scale * row[i] + offset);
    for (let at = offsets[i]; at < offsets[i + 1]; at++) out[ids[at]] += values[at] * probability;
  }
  return out.map(log);
}

export function gather(row: F64, ids: ArrayLike<number>): F64 {
  return Float64Array.from(ids, (id) => (id < 0 ? -Infinity : row[id]));
}

export function multiply(row: F64, factors: ArrayLike<number>): F64 {
  return row.map((z, id) => (z === -Infinity ? z : z * factors[id]));
}
