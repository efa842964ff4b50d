/**
 * philox: random numbers as a function of a key and a counter, without state.
 *
 * A draw depends on the seed, the position of the token in the sequence, and what it is for (`stage`, `item`), not on
 * how many draws came before it. So the text does not change when work is reordered, repeated or speculated on.
 *
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox-4x32-10.
 */

/**
 * What a number is drawn for; part of the counter, so the draws of two stages never meet.
 *
 *     stage      position                item                drawn for
 *     xtc        of the token            index of the step   the coin of that step of the pipeline
 *     mixture    of the token            index of the mix    the row that a sampled mixture of a plan takes
 *     accept     first of the round      node + 1            keeping that node of a draft
 *     residual   first of the round      0                   the token that ends the round
 *     draft      first of the round      node + 1            the draft itself, if the drafter samples
 *     gumbel     of the token            token >>> 2         the race that the token wins: `noise`, four tokens a draw
 *     code       of the token            code >>> 2          the race of a head's codes, four a draw
 *     member     of the token            code                the token among those of the code
 *     compress   a round                 whatever it is for  where to begin when a head is compressed
 *
 * verify/random.ts says why rounds are numbered by their first position.
 */
export const STAGE = {
  xtc: 1,
  mixture: 2,
  accept: 16,
  residual: 17,
  draft: 18,
  gumbel: 19,
  code: 20,
  member: 21,
  compress: 32,
} as const;

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Four 32-bit words for a counter of four words and a key of two. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  philoxInto(words, ...counter, ...key);
  return [words[0], words[1], words[2], words[3]];
}

const words = new Uint32Array(4);

/** The same into (4) `out`, in integer steps alone: some fifty nanoseconds, as a race needs it for every four tokens. */
function philoxInto(
  out: Uint32Array,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(c0, MULTIPLIER_0);
    const high1 = multiplyHigh(c2, MULTIPLIER_1);
    const low0 = Math.imul(c0, MULTIPLIER_0);
    const low1 = Math.imul(c2, MULTIPLIER_1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + WEYL_0) | 0;
    k1 = (k1 + WEYL_1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** High word of a 32 x 32-bit product, from products of halves; no sum on the way passes 2^32. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const middle2 = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (middle2 >>> 16)) | 0;
}

/** Uniform in [0, 1), 53 bits. `seed`: an integer from 0 to 2^53 − 1. */
export function uniform(seed: number, position: number, stage: number, item = 0): number {
  philoxInto(words, position, stage, item, 0, seed | 0, (seed / 2 ** 32) | 0);
  return ((words[0] >>> 5) * 2 ** 26 + (words[1] >>> 6)) / 2 ** 53;
}

/**
 * What `token` brings to the race for the place at `position`: u in (0, 1), 32 bits. The token with the largest
 * p / E, E = −ln u, wins; that is a draw from p. Drafter, verifier and plain sampling share it.
 *
 *     u = (word[token mod 4] + 1/2) / 2^32      words of the counter (position, STAGE.gumbel, ⌊token / 4⌋, 0)
 *
 * `seed`: an integer from 0 to 2^53 − 1. `stage`: where it is not tokens that race.
 */
export function noise(seed: number, position: number, token: number, stage: number = STAGE.gumbel): number {
  noiseWords(words, seed, position, token >>> 2, stage);
  return (words[token & 3] + 0.5) / 2 ** 32;
}

/** The words of `noise` for tokens 4·group … 4·group + 3, into (4) `out`. */
export function noiseWords(
  out: Uint32Array,
  seed: number,
  position: number,
  group: number,
  stage: number = STAGE.gumbel,
): void {
  philoxInto(out, position, stage, group, 0, seed | 0, (seed / 2 ** 32) | 0);
}
