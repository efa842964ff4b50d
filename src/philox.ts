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
 *     sample     of the token            0                   the token, from its distribution
 *     xtc        of the token            index of the step   the coin of that step of the pipeline
 *     accept     first of the round      node + 1            keeping that node of a draft
 *     residual   first of the round      0                   the token that ends the round
 *     draft      first of the round      node + 1            the draft itself, if the drafter samples
 *     gumbel     of the token            token               noise shared by drafter and verifier
 *
 * verify/random.ts says why rounds are numbered by their first position.
 */
export const STAGE = { sample: 0, xtc: 1, accept: 16, residual: 17, draft: 18, gumbel: 19 } as const;

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Four 32-bit words for a counter of four words and a key of two. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(MULTIPLIER_0, c0);
    const [high1, low1] = multiply(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** High and low word of a 32 x 32-bit product. */
function multiply(a: number, b: number): [number, number] {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const middle2 = aLow * bHigh + (middle & 0xffff);
  const high = aHigh * bHigh + Math.floor(middle / 65_536) + Math.floor(middle2 / 65_536);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

/** Uniform in [0, 1), 53 bits. `seed`: an integer from 0 to 2^53 − 1. */
export function uniform(seed: number, position: number, stage: number, item = 0): number {
  const key: [number, number] = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  const [a, b] = philox4x32([position, stage, item, 0], key);
  return ((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53;
}
