/**
 * Selection without sorting the vocabulary. One order everywhere: larger key first, of equal keys the lower index.
 */

type Keys = Float64Array | Float32Array;

/** Buckets of one round of `lastOfMass`, and how far they reach below the best key: e^-32 is 1e-14. */
const BUCKETS = 256;
const REACH = 32;
/** Few enough to sort. */
const SMALL = 64;

/**
 * Indices of the k best, in no order but that the worst of them comes first.
 *
 * A heap of k whose root is the worst; most of a large row is turned away by one comparison. O(n + m log k) where m
 * entered the heap.
 */
export function kBest(keys: Keys, count: number, k: number): Uint32Array {
  const size = Math.min(k, count);
  const heap = new Uint32Array(size);
  if (size === 0) return heap;
  for (let i = 0; i < size; i++) heap[i] = i;
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
  for (let i = size; i < count; i++) {
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
  let pool = new Uint32Array(count);
  for (let i = 0; i < count; i++) pool[i] = i;
  let before = 0;
  for (;;) {
    const [most, least] = range(keys, pool);
    if (pool.length <= SMALL) sortBestFirst(keys, pool);
    if (pool.length <= SMALL || most === least) return walk(weights, pool, before, goal);
    const span = Math.min(most - least, REACH);
    const bucket = (index: number) =>
      Math.min(BUCKETS - 1, Math.floor(((most - keys[index]) / span) * BUCKETS));
    const mass = new Float64Array(BUCKETS);
    const size = new Uint32Array(BUCKETS);
    for (const index of pool) {
      const at = bucket(index);
      mass[at] += weights[index];
      size[at]++;
    }
    let boundary = 0;
    // The worst key is in the last bucket, so that one is not empty and ends the loop.
    while (boundary < BUCKETS - 1 && (size[boundary] === 0 || before + mass[boundary] < goal)) {
      before += mass[boundary++];
    }
    pool = pool.filter((index) => bucket(index) === boundary);
  }
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
  for (const index of pool) {
    if (keys[index] > most) most = keys[index];
    if (keys[index] < least) least = keys[index];
  }
  return [most, least];
}

function sortBestFirst(keys: Keys, indices: Uint32Array): Uint32Array {
  return indices.sort((a, b) => keys[b] - keys[a] || a - b);
}
