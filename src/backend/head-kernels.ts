/**
 * CodebookKernels: what a codebook head does with whole vectors beside its product. reference/codebook.ts is the
 * definition, wasm/codebook.ts does it in linear memory; the numbers are the same to the last bit.
 */
import type { Floats } from "./backend.ts";

/**
 * Scores are multiples of 1 / SCORE_GRID within ±SCORE_RANGE, as are the biases added to them: each sum is exact in f32,
 * so that a logit is known without its row.
 */
export const SCORE_GRID = 4096;
export const SCORE_RANGE = 2048;

/** Codes that a map may name. */
export const MOST_CODES = 65_536;

/** Which code each token has, and what it adds to the code's score. In the backend's memory. */
export interface CodeMap {
  readonly vocab: number;
}

export interface CodebookKernels {
  /** Bytes that a map will take. */
  mapBytes(vocab: number): number;
  /**
   * @param codes (V) each below MOST_CODES.
   * @param bias (V) as `snapped` gives them.
   * @throws {MemoryError} If there is no room for it.
   */
  map(codes: Uint16Array, bias: Float32Array): CodeMap;
  /** Rounds `count` scores to the grid, halves to even, and bounds them; NaN becomes the least. */
  snap(scores: Floats, count: number): void;
  /** out[i] = scores[codes[i]] + bias[i] */
  row(out: Floats, scores: Floats, map: CodeMap): void;
  free(map: CodeMap): void;
}

/** What is added to it, and the sum less it again, is rounded to a whole number, halves to even. */
const ROUND = 1.5 * 2 ** 52;

/** The nearest value of the grid. */
export function snapped(x: number): number {
  const rounded = (x * SCORE_GRID + ROUND - ROUND) / SCORE_GRID;
  if (!(rounded > -SCORE_RANGE)) return -SCORE_RANGE;
  return Math.min(rounded, SCORE_RANGE);
}
