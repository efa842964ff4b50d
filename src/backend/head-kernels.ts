/**
 * CodebookKernels: what a codebook head does with whole vectors beside its product. reference/codebook.ts is the
 * definition, wasm/codebook.ts does it in linear memory; the numbers are the same to the last bit. Residual codes are
 * looked at by the head itself (model/head/residual-codes.ts), but where a device must not be waited for.
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

/** Codewords of a sub-vector of residual codes. */
export const RESIDUAL_WORDS = 16;
/** Codes that are opened: their tokens are looked at. */
export const PROBES = 32;

/** Which code each token has, and what it adds to the code's score. In the backend's memory. */
export interface CodeMap {
  readonly vocab: number;
}

/** Residual codes of V tokens: S sub-vectors of C columns; src/model/head/residual-codes.ts says what they stand for. */
export interface ResidualTables {
  /** S / 2, of a token. */
  readonly bytes: number;
  /** (V, S / 2): sub-vectors 2t and 2t + 1 in the low and the high four bits of byte t. */
  readonly codes: Uint8Array;
  /** (S, C, 16) */
  readonly words: Float32Array;
  /** ρ, (V) within ±2048. */
  readonly bias: ArrayLike<number>;
}

/** Residual codes in a backend's memory. */
export interface ResidualMap {
  /** Of the tokens that they are of. */
  readonly codes: CodeMap;
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
  /** Present where which codes are opened cannot be looked at on the way. */
  readonly residuals?: ResidualKernels;
}

/** Rows of heads with residual codes, made in one go: what ResidualCodes tells, but for what f32 rounds. */
export interface ResidualKernels {
  /** Bytes that a map will take. @param size M = S · C */
  mapBytes(shape: { vocab: number; codes: number; bytes: number; size: number }): number;
  /**
   * @param codes Stay as long as the map does.
   * @param best β, (K): the largest bias of each code, −∞ for codes without tokens.
   * @throws {MemoryError} If there is no room for it.
   */
  map(codes: CodeMap, best: ArrayLike<number>, tables: ResidualTables): ResidualMap;
  /**
   * Per column, with s for its scores:
   *
   *     out[i] = s[codes[i]] + bias[i]           tokens of most codes
   *     out[i] = s[codes[i]] + snapped(r[i])     those of the PROBES codes with the largest s + β, of equal ones the lowest
   *
   * @param out (columns, stride(V)) @param scores (columns, stride(K)), snapped @param z (columns, stride(M))
   */
  rows(out: Floats, scores: Floats, z: Floats, columns: number, map: ResidualMap): void;
  free(map: ResidualMap): void;
}

/** What is added to it, and the sum less it again, is rounded to a whole number, halves to even. */
const ROUND = 1.5 * 2 ** 52;

/** The nearest value of the grid. */
export function snapped(x: number): number {
  const rounded = (x * SCORE_GRID + ROUND - ROUND) / SCORE_GRID;
  if (!(rounded > -SCORE_RANGE)) return -SCORE_RANGE;
  return Math.min(rounded, SCORE_RANGE);
}
