/** product-words: k-means for the sixteen codewords of one sub-vector. */
import { PRODUCT_COLUMNS, PRODUCT_WORDS } from "../backend/screen-kernels.ts";
import { STAGE, uniform } from "../philox.ts";

const ROUNDS = 12;

/**
 * Codewords with a small Σ |point − nearest|²: k-means++, then Lloyd's rounds.
 *
 * @param points (n, 4)
 * @returns (16, 4)
 *
 * Sources: Lloyd 1982; Arthur, Vassilvitskii 2007.
 */
export function trainWords(points: Float64Array, seed: number, sub: number): Float64Array {
  const count = points.length / PRODUCT_COLUMNS;
  const words = firstWords(points, count, seed, sub);
  const sums = new Float64Array(words.length);
  const members = new Float64Array(PRODUCT_WORDS);
  for (let round = 0; round < ROUNDS; round++) {
    sums.fill(0);
    members.fill(0);
    for (let i = 0; i < count; i++) {
      const word = nearestWord(points, i * PRODUCT_COLUMNS, words, 0);
      members[word]++;
      for (let d = 0; d < PRODUCT_COLUMNS; d++) {
        sums[word * PRODUCT_COLUMNS + d] += points[i * PRODUCT_COLUMNS + d];
      }
    }
    for (let at = 0; at < words.length; at++) {
      const size = members[Math.floor(at / PRODUCT_COLUMNS)];
      if (size > 0) words[at] = sums[at] / size;
    }
  }
  return words;
}

/** The nearest of the 16 codewords at `first` to the point at `at`; of equally near ones the first. */
export function nearestWord(points: Float64Array, at: number, words: Float64Array, first: number): number {
  const [a, b, c, d] = [points[at], points[at + 1], points[at + 2], points[at + 3]];
  let nearest = 0;
  let least = Infinity;
  for (let word = 0; word < PRODUCT_WORDS; word++) {
    const from = first + word * PRODUCT_COLUMNS;
    const [e, f, g, h] = [a - words[from], b - words[from + 1], c - words[from + 2], d - words[from + 3]];
    const distance = e * e + f * f + g * g + h * h;
    if (distance >= least) continue;
    least = distance;
    nearest = word;
  }
  return nearest;
}

/** Each next one drawn in proportion to its squared distance from those before. */
function firstWords(points: Float64Array, count: number, seed: number, sub: number): Float64Array {
  const words = new Float64Array(PRODUCT_WORDS * PRODUCT_COLUMNS);
  const distances = new Float64Array(count).fill(Infinity);
  if (count === 0) return words;
  let chosen = Math.floor(uniform(seed, sub, STAGE.compress, 1) * count);
  for (let word = 0; word < PRODUCT_WORDS; word++) {
    const to = word * PRODUCT_COLUMNS;
    for (let d = 0; d < PRODUCT_COLUMNS; d++) words[to + d] = points[chosen * PRODUCT_COLUMNS + d];
    let total = 0;
    for (let i = 0; i < count; i++) {
      let distance = 0;
      for (let d = 0; d < PRODUCT_COLUMNS; d++) {
        const apart = points[i * PRODUCT_COLUMNS + d] - words[to + d];
        distance += apart * apart;
      }
      if (distance < distances[i]) distances[i] = distance;
      total += distances[i];
    }
    const goal = uniform(seed, sub, STAGE.compress, word + 2) * total;
    let sum = 0;
    for (let i = 0; i < count && sum <= goal; i++) {
      sum += distances[i];
      chosen = i;
    }
  }
  return words;
}
