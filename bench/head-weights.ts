/** Random weights of an output head as a file stores them, and the numbers they stand for. */
import { blockSize, bytesPerRow, decodeWeights, type WeightType } from "../src/format/blocks.ts";
import { scalesOf } from "../test/support/quantize.ts";
import { createRandom } from "../test/support/random.ts";

export type HeadType = Exclude<WeightType, "F32" | "BF16">;

/** f16 patterns of 2^-10 and 2^-7: scales of real files lie between. Random bits would be subnormal or NaN at times. */
const LEAST_SCALE = 0x1400;
const SCALE_PATTERNS = 0x2000 - LEAST_SCALE;

/** Both f16 weights of a word: sign and mantissa random, magnitude 2^-9 ... 2^-5. */
const F16_RANDOM_BITS = 0x8fff8fff;
const F16_EXPONENT = 0x18001800;

/**
 * Rows `first` to `first + rows` as a file has them; a row depends on its number only.
 *
 * @param cols A multiple of 64, and of 512 for Q6_K, so that a row is a whole number of words.
 */
export function weightRows(type: HeadType, first: number, rows: number, cols: number): Uint8Array {
  const rowBytes = bytesPerRow(type, cols);
  const bytes = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const words = new Uint32Array(bytes.buffer, row * rowBytes, rowBytes >> 2);
    fillRandom(words, first + row);
    if (type === "F16") limitHalves(words);
    else
      limitScales(
        bytes.subarray(row * rowBytes, (row + 1) * rowBytes),
        blockSize(type).bytes,
        scalesOf(type),
      );
  }
  return bytes;
}

/** A Weyl sequence through an integer mixer: random enough for weights, and fast. */
function fillRandom(words: Uint32Array, seed: number): void {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  for (let i = 0; i < words.length; i++) {
    state = (state + 0x6d2b79f5) | 0;
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
    words[i] = mixed ^ (mixed >>> 13);
  }
}

function limitHalves(words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = (words[i] & F16_RANDOM_BITS) + F16_EXPONENT;
}

function limitScales(row: Uint8Array, blockBytes: number, halves: readonly number[]): void {
  for (let block = 0; block < row.length; block += blockBytes) {
    for (const half of halves) {
      const at = block + half;
      const scale = LEAST_SCALE + (((row[at] << 8) | row[at + 1]) % SCALE_PATTERNS);
      row[at] = scale;
      row[at + 1] = scale >> 8;
    }
  }
}

/** Weights whose input is rounded to 8 bits. */
const EIGHT_BITS: readonly HeadType[] = ["Q4_0", "Q4_K"];

/** What W x must give in some rows, in f64, and how far rounding may lead off. */
export interface ExpectedRow {
  readonly row: number;
  /** By column. */
  readonly values: readonly number[];
  readonly tolerance: number;
}

/**
 * Products of sampled rows, the first and the last among them, with each column of x.
 *
 * @param x (columns, cols)
 */
export function expectedRows(type: HeadType, rows: number, cols: number, x: Float32Array): ExpectedRow[] {
  const columns = x.length / cols;
  return sampledRows(rows).map((row) => {
    const weights = decodeWeights(type, weightRows(type, row, 1, cols));
    const values = Array.from({ length: columns }, (_, column) => {
      let sum = 0;
      for (let k = 0; k < cols; k++) sum += weights[k] * x[column * cols + k];
      return sum;
    });
    // x is of deviation 1, so products deviate by |w|; activations of 14 bits cost 1e-4 of that, of 8 bits 6e-3.
    return { row, values, tolerance: (EIGHT_BITS.includes(type) ? 4e-2 : 1e-3) * Math.hypot(...weights) };
  });
}

function sampledRows(rows: number): number[] {
  const { below } = createRandom(7);
  return [0, 1, 2, 3, rows - 2, rows - 1, ...Array.from({ length: 58 }, () => below(rows))];
}
