/**
 * A codebook from rows: k-means of what `dim` consecutive tokens have below the row's best, stage after stage, each on what
 * the one before left.
 *
 * A vector weighs as much as its tokens have mass, plus an equal share: the few vectors that matter are met well, and the many
 * others still have codewords. Starting points are drawn by distance (k-means++), from numbers that depend on the seed alone.
 */
import { expectInteger } from "../../errors.ts";
import { exp } from "../../math.ts";
import { noise } from "../../philox.ts";
import { type Codebook, type CodebookShape, createCodebook, expectCodebookShape } from "./codebook.ts";

export interface TrainCodebookOptions extends Partial<CodebookShape> {
  /** Rounds of k-means. Default 8. */
  readonly rounds?: number;
  /** Of the starting points, and of the vectors that are learned from where there are many. Default 0. */
  readonly seed?: number;
}

/** Vectors that are learned from. */
const MAX_VECTORS = 1 << 14;

/**
 * @param rows (vocab) logits each, finite.
 * @throws {RangeError} If there is no row, one has a token at −∞, or an option is out of range.
 *
 * @example
 * ```ts
 * const codebook = trainCodebook(rows, { stages: 2, count: 256, dim: 8 }); // 2 bits a token
 * ```
 */
export function trainCodebook(
  rows: readonly ArrayLike<number>[],
  { stages = 1, count = 256, dim = 8, rounds = 8, seed = 0 }: TrainCodebookOptions = {},
): Codebook {
  expectInteger("rows.length", rows.length, 1, 1 << 16);
  expectCodebookShape({ stages, count, dim }, "codebook");
  expectInteger("rounds", rounds, 1, 100);
  expectInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
  const vectors = sample(rows, dim, seed);
  const values = new Float32Array(stages * count * dim);
  for (let stage = 0; stage < stages; stage++) {
    const words = values.subarray(stage * count * dim, (stage + 1) * count * dim);
    seedWords(words, vectors, dim, seed, stage);
    for (let round = 0; round < rounds; round++) moveWords(words, vectors, dim);
    for (const { left } of vectors) {
      const word = nearest(words, left, dim);
      for (let d = 0; d < dim; d++) left[d] -= words[word + d];
    }
  }
  return createCodebook({ stages, count, dim }, values);
}

interface Vector {
  readonly left: Float32Array;
  readonly weight: number;
}

function sample(rows: readonly ArrayLike<number>[], dim: number, seed: number): Vector[] {
  const groups = rows.map((row) => Math.ceil(row.length / dim));
  const total = groups.reduce((sum, count) => sum + count, 0);
  const share = Math.min(1, MAX_VECTORS / total);
  return rows.flatMap((row, index) => {
    const floats = Float32Array.from(row);
    const bad = floats.findIndex((z) => !Number.isFinite(z));
    if (bad >= 0) {
      throw new RangeError(
        `"rows[${index}]" must have finite logits for a codebook, got ${floats[bad]} at token ${bad}`,
      );
    }
    if (floats.length === 0) throw new RangeError(`"rows[${index}]" must have a logit, has none`);
    const top = floats.reduce((most, z) => Math.max(most, z));
    const mass = floats.reduce((sum, z) => sum + exp(z - top), 0);
    const vectors: Vector[] = [];
    for (let group = 0; group < groups[index]; group++) {
      if (share < 1 && noise(seed, index, group) > share) continue;
      const left = Float32Array.from({ length: dim }, (_, d) => {
        return floats[Math.min(group * dim + d, floats.length - 1)] - top;
      });
      const own = left.reduce((sum, z) => sum + exp(z), 0) / mass;
      vectors.push({ left, weight: own + 1 / groups[index] });
    }
    return vectors;
  });
}

function seedWords(
  words: Float32Array,
  vectors: readonly Vector[],
  dim: number,
  seed: number,
  stage: number,
): void {
  const distances = Float64Array.from(vectors, ({ weight }) => weight);
  for (let word = 0; word < words.length; word += dim) {
    const total = distances.reduce((sum, distance) => sum + distance, 0);
    const goal = noise(seed, word, 0x40000000 + stage) * total;
    let sum = 0;
    const found = distances.findIndex((distance) => {
      sum += distance;
      return sum > goal;
    });
    const { left } = vectors[Math.max(0, found)];
    words.set(left, word);
    for (const [i, vector] of vectors.entries()) {
      const away = vector.weight * squared(left, 0, vector.left, dim);
      distances[i] = word === 0 ? away : Math.min(distances[i], away);
    }
  }
}

function moveWords(words: Float32Array, vectors: readonly Vector[], dim: number): void {
  const sums = new Float64Array(words.length);
  const weights = new Float64Array(words.length / dim);
  for (const { left, weight } of vectors) {
    const word = nearest(words, left, dim);
    weights[word / dim] += weight;
    for (let d = 0; d < dim; d++) sums[word + d] += weight * left[d];
  }
  // A codeword that nothing is near stays where it is.
  for (let i = 0; i < words.length; i++) {
    const weight = weights[Math.floor(i / dim)];
    if (weight > 0) words[i] = sums[i] / weight;
  }
}

/** Where the nearest codeword begins. */
function nearest(words: Float32Array, left: Float32Array, dim: number): number {
  let [best, least] = [0, Infinity];
  for (let word = 0; word < words.length; word += dim) {
    const distance = squared(words, word, left, dim);
    if (distance < least) [best, least] = [word, distance];
  }
  return best;
}

function squared(a: Float32Array, from: number, b: Float32Array, dim: number): number {
  let sum = 0;
  for (let d = 0; d < dim; d++) {
    const away = a[from + d] - b[d];
    sum += away * away;
  }
  return sum;
}
