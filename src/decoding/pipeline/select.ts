/**
 * Selection without sorting the vocabulary. One order everywhere: larger key first, of equal keys the lower index.
 */

import { LAW_BUCKETS, lawBucket } from "../../backend/law-kernels.ts";

type Keys = Float64Array | Float32Array;

/** How far the buckets of a round of `lastOfMass` reach below the best key: as far as most rows do. */
const REACH = 128;
/** Few enough to sort. */
export const SMALL = 64;

/**
 * Indices of the k best, in no order but that the worst of them comes first; fewer if fewer are above −∞.
 *
 * A heap of k whose root is the worst; most of a large row is turned away by one comparison. O(n + m log k) where m
 * entered the heap.
 */
export function kBest(keys: Keys, count: number, k: number): Uint32Array {
  let size = Math.min(k, count);
  let heap = new Uint32Array(size);
  let next = 0;
  let taken = 0;
  for (; taken < size && next < count; next++) if (keys[next] > -Infinity) heap[taken++] = next;
  size = taken;
  heap = heap.subarray(0, size);
  if (size === 0) return heap;
  const sink = (at: number, item: number) => {
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && isBefore(keys, heap[child], heap[child + 1])) child++;
      if (!isBefore(keys, item, heap[child])) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = item;
  };
  for (let at = (size >> 1) - 1; at >= 0; at--) sink(at, heap[at]);
  let bar = keys[heap[0]];
  for (let i = next; i < count; i++) {
    if (!(keys[i] > bar)) continue;
    sink(0, i);
    bar = keys[heap[0]];
  }
  return heap;
}

/** Indices of the k best, best first. */
export function bestFirst(keys: Keys, count: number, k: number): Uint32Array {
  return sortBestFirst(keys, kBest(keys, count, k));
}

/** Whether index a comes before b in the order of selection. */
function isBefore(keys: Keys, a: number, b: number): boolean {
  return keys[a] > keys[b] || (keys[a] === keys[b] && a < b);
}

/**
 * The index at which the weights, best key first, reach `goal`: the last one of the smallest set of best ones whose
 * weight is at least that. The one routine behind every boundary of mass (top-p, typical).
 *
 * Buckets of keys instead of a sort: what lies in better buckets than the boundary is summed and done with, the
 * boundary's own bucket is divided again. O(n) but for constructed rows. Sums are f64: within a bucket in order of
 * index, over buckets best first. Should rounding keep the sum below the goal, it is the last index of all.
 *
 * @param goal At least 0; the best one is always taken.
 */
export function lastOfMass(keys: Keys, weights: Float64Array, count: number, goal: number): number {
  return lastIn(everyIndex(count), keys, weights, 0, goal);
}

/** The same of what `boundaryBucket` leaves: all of one bucket, `before` the weight of the better ones. */
export function lastOfPool(keys: Keys, weights: Float64Array, before: number, goal: number): number {
  return lastIn(everyIndex(keys.length), keys, weights, before, goal);
}

function lastIn(
  pool: Uint32Array,
  keys: Keys,
  weights: Float64Array,
  weightBefore: number,
  goal: number,
): number {
  let before = weightBefore;
  for (;;) {
    const [most, least] = range(keys, pool);
    if (pool.length <= SMALL) sortBestFirst(keys, pool);
    if (pool.length <= SMALL || most === least) return walk(weights, pool, before, goal);
    const scale = bucketScale(most, least);
    const mass = new Float64Array(LAW_BUCKETS);
    for (let i = 0; i < pool.length; i++) {
      const at = lawBucket(most - keys[pool[i]], scale);
      // The last bucket is what remains: often most of the row.
      if (at < LAW_BUCKETS - 1) mass[at] += weights[pool[i]];
    }
    const boundary = boundaryBucket(mass, before, goal);
    before = boundary.before;
    pool = inBucket(keys, pool, most, scale, boundary.bucket);
  }
}

/** Buckets per key of one round, over keys from `least` to `most`. */
export function bucketScale(most: number, least: number): number {
  return LAW_BUCKETS / Math.min(most - least, REACH);
}

/**
 * The bucket in which the weights, best bucket first, reach `goal`, and the weight of all better ones. It is never an empty
 * one: the first holds the best key, and those between add nothing.
 */
export function boundaryBucket(
  mass: Float64Array,
  weightBefore: number,
  goal: number,
): { bucket: number; before: number } {
  let bucket = 0;
  let before = weightBefore;
  while (bucket < LAW_BUCKETS - 1 && before + mass[bucket] < goal) before += mass[bucket++];
  return { bucket, before };
}

function inBucket(keys: Keys, pool: Uint32Array, most: number, scale: number, bucket: number): Uint32Array {
  const inside = new Uint32Array(pool.length);
  let count = 0;
  for (let i = 0; i < pool.length; i++) {
    if (lawBucket(most - keys[pool[i]], scale) === bucket) inside[count++] = pool[i];
  }
  return inside.subarray(0, count);
}

function everyIndex(count: number): Uint32Array {
  const indices = new Uint32Array(count);
  for (let i = 0; i < count; i++) indices[i] = i;
  return indices;
}

/** Where the weights of a sorted pool reach the goal. */
function walk(weights: Float64Array, pool: Uint32Array, before: number, goal: number): number {
  let mass = before;
  for (const index of pool) {
    mass += weights[index];
    if (mass >= goal) return index;
  }
  return pool[pool.length - 1];
}

function range(keys: Keys, pool: Uint32Array): [most: number, least: number] {
  let most = -Infinity;
  let least = Infinity;
  for (let i = 0; i < pool.length; i++) {
    const key = keys[pool[i]];
    if (key > most) most = key;
    if (key < least) least = key;
  }
  return [most, least];
}

function sortBestFirst(keys: Keys, indices: Uint32Array): Uint32Array {
  return indices.sort((a, b) => keys[b] - keys[a] || a - b);
}
