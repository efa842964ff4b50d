/**
 * LawKernels: what a sampler needs to know of a whole row, so that it looks at few tokens itself. reference/law.ts is the
 * definition, wasm/law.ts does it in linear memory. Tokens and numbers are the same to the last bit.
 *
 * Mass of a token: exp(l − most), l its logit and `most` the largest. Sums are f64 in one published order: a bucket's in
 * order of token; that of a law is the sum of its even tokens plus the sum of its odd ones, each in order.
 */

/**
 * The logits that a token is drawn from, as made of a row x: x / temperature, but for the edited tokens. Tokens whose x is
 * NaN or −∞, whose bit of the mask is 0, or whose edited logit is NaN are none; +∞ counts as the largest finite f32.
 */
export interface Law {
  /** 1e-100 … 1e100. */
  readonly temperature: number;
  readonly edits: {
    /** Ascending, below the vocabulary. */
    readonly tokens: Uint32Array;
    /** (tokens.length), not to be divided any more; NaN: none. These come after the mask. */
    readonly logits: Float64Array;
  };
  /** Bit id mod 32 of word ⌊id / 32⌋. Default: all tokens. */
  readonly mask?: Uint32Array;
}

/** Logits that are part of it: those above the bar, and of those equal to it the tokens up to `last`. */
export interface LawFloor {
  readonly bar: number;
  readonly last: number;
}

export interface LawRange {
  /** Largest and least logit; −∞ and ∞ if there is none. */
  readonly most: number;
  readonly least: number;
  readonly count: number;
}

export interface LawBuckets {
  /** Mass of all tokens. */
  readonly total: number;
  /** (LAW_BUCKETS) by `lawBucket`; that of the last one, often most of the row, is not counted. */
  readonly mass: Float64Array;
}

/** Results are the caller's. None of these calls moves memory: views of rows outlive them. */
export interface LawKernels {
  range(law: Law): LawRange;
  /** @param most The largest logit of the law, here and below. */
  buckets(law: Law, most: number, scale: number): LawBuckets;
  /** The tokens, ascending, of the buckets from `first` to `last`; null if they are more than are listed. */
  within(law: Law, most: number, scale: number, first: number, last: number): Uint32Array | null;
  /**
   * Mass of the tokens at or above a floor, and some of them, ascending, with the one that wins the exponential race for
   * `position` (see pipeline/race.ts): usually a few dozen. Null if they are more than are listed.
   */
  contest(
    law: Law,
    most: number,
    floor: LawFloor,
    seed: number,
    position: number,
  ): { readonly total: number; readonly tokens: Uint32Array } | null;
}

export const LAW_BUCKETS = 256;
/** Edits that a law may have, and tokens that are listed at most. */
export const MOST_EDITS = 1024;
export const MOST_LISTED = 8192;
/** Tokens of a vocabulary that a mask may be for. */
export const MOST_MASKED = 1 << 18;

/** All logits are part of it. */
export const NO_FLOOR: LawFloor = { bar: -Infinity, last: 2 ** 32 - 1 };

/** The bucket of a logit that lies `below` the best one. */
export function lawBucket(below: number, scale: number): number {
  return Math.min(below * scale, LAW_BUCKETS - 1) | 0;
}
