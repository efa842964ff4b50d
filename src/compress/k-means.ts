/**
 * k-means: points in K groups, each near its centre; weighted, and none larger than it may be.
 *
 *     seeds    in rounds, each of them points drawn with chances of weight · distance² to the nearest seed so far
 *     steps    every point to its nearest centre; every centre to the weighted mean of its points
 *     sizes    at last, from groups that are too large, the farthest points go to the next best with room
 *
 * Deterministic: draws are philox.ts of the seed, ties go to the lowest index.
 *
 * Sources: Lloyd 1957; Arthur, Vassilvitskii 2007 (k-means++), in rounds as in Bahmani et al. 2012, arXiv:1203.6402;
 * draws of several at once by Efraimidis, Spirakis 2006.
 */
import type { Backend } from "../backend/backend.ts";
import { log } from "../math.ts";
import { STAGE, uniform } from "../philox.ts";
import { MatrixProduct } from "./matrix-product.ts";

const SEED_ROUNDS = 8;
const STEPS = 12;
/** Points between two reports. */
const SOME = 4096;

export interface Points {
  readonly count: number;
  readonly size: number;
  /** (count, size) */
  readonly values: Float32Array;
  /** (count) above 0: what a point's distance counts. */
  readonly weights: Float64Array;
}

export interface Groups {
  /** (count) */
  readonly groupOf: Uint32Array;
  /** (K, size) */
  readonly centres: Float32Array;
}

export interface GroupOptions {
  readonly backend: Backend;
  readonly seed: number;
  /** Points of a group at most. K times that is at least their number. */
  readonly most: number;
  readonly onProgress: (done: number, total: number) => void | Promise<void>;
}

/** @param count K, at most the number of points. */
export async function groupPoints(points: Points, count: number, options: GroupOptions): Promise<Groups> {
  const total = STEPS + 2;
  const { backend, onProgress } = options;
  let centres = await seedCentres(points, count, options);
  await onProgress(1, total);
  let near = await nearest(points, centres, count, backend, () => onProgress(1, total));
  for (let step = 0; step < STEPS; step++) {
    centres = meansOf(points, near, count);
    near = await nearest(points, centres, count, backend, () => onProgress(step + 1, total));
    await onProgress(step + 2, total);
  }
  const groupOf = await limitSizes(points, centres, near, count, options);
  await onProgress(total, total);
  return { groupOf, centres: meansOf(points, { ...near, groupOf }, count) };
}

interface Near {
  readonly groupOf: Uint32Array;
  /** Squared, to the centre of that group. */
  readonly distances: Float64Array;
}

async function seedCentres(points: Points, count: number, options: GroupOptions): Promise<Float32Array> {
  const { backend, seed } = options;
  const { size, values, weights } = points;
  const centres = new Float32Array(count * size);
  const isSeed = new Uint8Array(points.count);
  let distances: Float64Array = Float64Array.from({ length: points.count }, () => 1);
  let found = 0;
  for (let round = 0; round < SEED_ROUNDS && found < count; round++) {
    const wanted = Math.ceil((count - found) / (SEED_ROUNDS - round));
    const first = found;
    // Of −log(u) / chance the least ones are a draw without repetition.
    const keys = Float64Array.from({ length: points.count }, (_, i) => {
      if (isSeed[i] === 1) return Infinity;
      const chance = weights[i] * distances[i];
      const time = -log(uniform(seed, round, STAGE.compress, i) || 2 ** -54);
      return chance > 0 ? time / chance : 1e300;
    });
    for (const i of leastOf(keys, wanted)) {
      isSeed[i] = 1;
      centres.set(values.subarray(i * size, (i + 1) * size), found++ * size);
    }
    const fresh = centres.subarray(first * size, found * size);
    const { distances: others } = await nearest(points, fresh, found - first, backend, () =>
      options.onProgress(round / SEED_ROUNDS, STEPS + 2),
    );
    distances = round === 0 ? others : distances.map((distance, i) => Math.min(distance, others[i]));
  }
  return centres;
}

async function nearest(
  { count, size, values }: Points,
  centres: Float32Array,
  groups: number,
  backend: Backend,
  pause: () => void | Promise<void>,
): Promise<Near> {
  const groupOf = new Uint32Array(count);
  const distances = new Float64Array(count);
  const halves = halfSquares(centres, groups, size);
  const product = MatrixProduct.of(backend, centres, groups, size);
  try {
    for (let first = 0; first < count; first += SOME) {
      const some = Math.min(SOME, count - first);
      product.each(values.subarray(first * size), some, (dots, column) => {
        let best = -Infinity;
        let at = 0;
        for (let j = 0; j < groups; j++) {
          const closeness = dots[j] - halves[j];
          if (closeness > best) {
            best = closeness;
            at = j;
          }
        }
        const i = first + column;
        groupOf[i] = at;
        distances[i] = Math.max(0, squareOf(values, i, size) - 2 * best);
      });
      await pause();
    }
  } finally {
    product.close();
  }
  return { groupOf, distances };
}

/** Weighted means; a group without points takes one that is far from its own. */
function meansOf({ count, size, values, weights }: Points, near: Near, groups: number): Float32Array {
  const sums = new Float64Array(groups * size);
  const masses = new Float64Array(groups);
  const sizes = new Uint32Array(groups);
  for (let i = 0; i < count; i++) {
    const j = near.groupOf[i];
    masses[j] += weights[i];
    sizes[j]++;
    for (let k = 0; k < size; k++) sums[j * size + k] += weights[i] * values[i * size + k];
  }
  const centres = Float32Array.from(sums, (sum, at) => sum / (masses[Math.floor(at / size)] || 1));
  const empty = Array.from(sizes.keys()).filter((j) => sizes[j] === 0);
  if (empty.length === 0) return centres;
  const far = leastOf(
    near.distances.map((distance, i) => -distance * weights[i]),
    empty.length,
  );
  for (const [at, j] of empty.entries()) {
    centres.set(values.subarray(far[at] * size, (far[at] + 1) * size), j * size);
  }
  return centres;
}

/** Groups of `most` points at most: those that are far from the centre anyway go elsewhere. */
async function limitSizes(
  points: Points,
  centres: Float32Array,
  { groupOf, distances }: Near,
  groups: number,
  { backend, most }: GroupOptions,
): Promise<Uint32Array> {
  const { size, values } = points;
  const limited = groupOf.slice();
  const sizes = new Uint32Array(groups);
  for (const group of groupOf) sizes[group]++;
  const members = new Map<number, number[]>();
  for (const [i, group] of groupOf.entries()) {
    if (sizes[group] <= most) continue;
    const list = members.get(group) ?? [];
    list.push(i);
    members.set(group, list);
  }
  const moving: number[] = [];
  for (const [group, list] of members) {
    list.sort((a, b) => distances[b] - distances[a] || a - b);
    moving.push(...list.slice(0, list.length - most));
    sizes[group] = most;
  }
  if (moving.length === 0) return limited;
  const halves = halfSquares(centres, groups, size);
  const product = MatrixProduct.of(backend, centres, groups, size);
  const x = new Float32Array(moving.length * size);
  for (const [at, i] of moving.entries()) x.set(values.subarray(i * size, (i + 1) * size), at * size);
  product.each(x, moving.length, (dots, column) => {
    let best = -Infinity;
    let chosen = 0;
    for (let j = 0; j < groups; j++) {
      if (sizes[j] >= most || dots[j] - halves[j] <= best) continue;
      best = dots[j] - halves[j];
      chosen = j;
    }
    limited[moving[column]] = chosen;
    sizes[chosen]++;
  });
  product.close();
  return limited;
}

function halfSquares(centres: Float32Array, groups: number, size: number): Float64Array {
  return Float64Array.from({ length: groups }, (_, j) => squareOf(centres, j, size) / 2);
}

function squareOf(values: Float32Array, i: number, size: number): number {
  let sum = 0;
  for (let k = i * size; k < (i + 1) * size; k++) sum += values[k] * values[k];
  return sum;
}

/** Indices of the `count` least, ascending. */
function leastOf(keys: Float64Array, count: number): number[] {
  const order = Uint32Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b] || a - b);
  return Array.from(order.subarray(0, count)).sort((a, b) => a - b);
}
