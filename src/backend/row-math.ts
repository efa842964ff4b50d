/**
 * RowMath: what verifiers do with whole rows, behind an interface: reference/row-math.ts is the definition in f64,
 * wasm/row-math.ts does it in linear memory.
 *
 * All sums are f64 in one published order: in f32 a cumulative sum over 150,000 tokens ends at 0.9999, and every draw beyond
 * falls off the end.
 */
import { expectInteger } from "../errors.ts";

/** (vocab) values, one per token id. */
export type Row = Float32Array | Float64Array;

/** A row of which most values are 0. */
export interface SparseRow {
  readonly vocab: number;
  /** Ids below `vocab`, each once. */
  readonly ids: ArrayLike<number>;
  /** (ids.length), none negative. */
  readonly probabilities: ArrayLike<number>;
}

/** A distribution, not normalised: token x has probability values[x] / mass. Not to be written to. */
export interface Weights {
  /** (vocab), none negative. May be a view that the next call makes invalid: ask again instead of keeping it. */
  readonly values: Row;
  /** Σ values. */
  readonly mass: number;
}

/** Randomness as a function of an address, so that nothing depends on the order of calls; see philox.ts. */
export interface VerifyRandom {
  /** Set if the numbers are those of philox.ts under this seed: kernels then make them themselves. */
  readonly seed?: number;
  /** Uniform in [0, 1). The same address always gives the same number. */
  uniform(position: number, stage: number, item: number): number;
  /** Uniform in (0, 1): what a token brings to the race for a place. */
  noise(position: number, token: number): number;
}

/**
 * Rows that `read`, `fromDistribution`, `tempered`, `residual` and `without` make may lie in a backend's memory. They stay
 * until they are given back, by `free`, or by `release` with all others made since a `mark`. `verify` gives back what it
 * made.
 *
 * @example
 * ```ts
 * const q = math.fromDistribution(pipeline.distribution(row, context));
 * const token = math.draw(q, u); // and q.values is the row that `verify` takes, without a copy
 * ```
 */
export interface RowMath {
  /** A row as weights, copied if it lies elsewhere. `mass` is NaN if any value is negative or NaN. */
  read(row: Row): Weights;
  /** @throws {RangeError} If an id is not below `vocab`. */
  fromDistribution(distribution: SparseRow): Weights;
  /**
   * softmax(logits / temperature); temperature 0 gives all to the best token. NaN and −∞ have no chance, +∞ counts as the
   * largest f32.
   *
   * @throws {RangeError} If no logit is above −∞.
   */
  tempered(logits: Row, temperature: number): Weights;
  free(weights: Weights): void;
  /** For `release`; only around work that does not wait for anything, as all users of a backend share its rows. */
  mark(): number;
  release(mark: number): void;

  /** Id of the largest value, the lowest of equal ones; NaN never wins. −1 if none is above −∞. */
  argmax(row: Row): number;
  /** Σ row; NaN if any value is negative or NaN. */
  mass(row: Row): number;
  /** Whether a token of draft probability q > 0 survives: u·q < p. Never if p or q is 0, or NaN. */
  accepts(u: number, p: number, q: number): boolean;
  /**
   * The token at u in the cumulative distribution; the last one with mass if rounding leaves u beyond the end.
   *
   * @throws {RangeError} If no token has mass.
   */
  draw(weights: Weights, u: number): number;
  /** (scale·p − q)+, of p and q as probabilities. */
  residual(p: Weights, q: Weights, scale: number): Weights;
  /** The mass of `residual`, without the row. */
  residualMass(p: Weights, q: Weights, scale: number): number;
  /** The same weights with those of `tokens` set to 0. */
  without(weights: Weights, tokens: readonly number[]): Weights;
  /**
   * The token with the largest p[x] / E[x], E[x] = −ln noise(position, x): exponential race, the same choice as that of
   * the largest ln p[x] + g[x] with Gumbel noise g. The lowest id wins ties.
   *
   * @throws {RangeError} If no token has mass.
   */
  gumbelArgmax(weights: Weights, random: VerifyRandom, position: number): number;
}

/** Probability of a token of the vocabulary. */
export function probability({ values, mass }: Weights, token: number): number {
  return mass > 0 ? values[token] / mass : 0;
}

export function accepts(u: number, p: number, q: number): boolean {
  return q > 0 && u * q < p;
}

/** The ids and probabilities of a sparse row into `out`, (vocab) zeros. */
export function scatter({ ids, probabilities, vocab }: SparseRow, out: Row): void {
  expectInteger("probabilities.length", probabilities.length, ids.length, ids.length);
  for (let i = 0; i < ids.length; i++) {
    out[expectInteger(`ids[${i}]`, ids[i], 0, vocab - 1)] = probabilities[i];
  }
}

/** @param token −1: there is none. */
export function expectSome(token: number): number {
  if (token < 0) throw new RangeError("Cannot draw a token: no token of the row has mass");
  return token;
}

export function noLogit(): RangeError {
  return new RangeError("Cannot make a row of probabilities: no logit is above −∞");
}
