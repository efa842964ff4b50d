/**
 * Selection without sorting the vocabulary. One order everywhere: larger key first, of equal keys the lower index.
 */

type Keys = Float64Array | Float32Array;

/** Buckets of one round of `lastOfMass`, and how far they reach below the best key: as far as most rows do. */
const BUCKETS = 256;
const REACH = 128;
/** Few enough to sort. */
const SMALL = 64;

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
  let before = 0;
  for (let pool = everyIndex(count); ; ) {
    const [most, least] = range(keys, pool);
    if (pool.length <= SMALL) sortBestFirst(keys, pool);
    if (pool.length <= SMALL || most === least) return walk(weights, pool, before, goal);
    const scale = BUCKETS / Math.min(most - least, REACH);
    const mass = new Float64Array(BUCKETS);
    const size = new Uint32Array(BUCKETS);
    for (let i = 0; i < pool.length; i++) {
      const at = bucketOf(most - keys[pool[i]], scale);
      // The last bucket is what remains: often most of the row.
      if (at === BUCKETS - 1) continue;
      mass[at] += weights[pool[i]];
      size[at]++;
    }
    let boundary = 0;
    let left = pool.length;
    while (boundary < BUCKETS - 1 && (size[boundary] === 0 || before + mass[boundary] < goal)) {
      before += mass[boundary];
      left -= size[boundary++];
    }
    pool = inBucket(keys, pool, most, scale, boundary, boundary < BUCKETS - 1 ? size[boundary] : left);
  }
}

/** `below`: how far a key lies below the best one. */
function bucketOf(below: number, scale: number): number {
  return Math.min(below * scale, BUCKETS - 1) | 0;
}

function inBucket(
  keys: Keys,
  pool: Uint32Array,
  most: number,
  scale: number,
  bucket: number,
  size: number,
): Uint32Array {
  const inside = new Uint32Array(size);
  let count = 0;
  for (let i = 0; i < pool.length; i++) {
    if (bucketOf(most - keys[pool[i]], scale) === bucket) inside[count++] = pool[i];
  }
  return inside;
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
