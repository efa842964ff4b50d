/**
 * product: product codes of a head, made so that logits, not weights, come out near. See model/head/product-head.ts.
 *
 *     least  E[(w · h − ŵ · h)²]  =  (w − ŵ) H (w − ŵ)ᵀ        H = E[h hᵀ] over the states of a text, and some more of I
 *
 * Sub-vectors of 4 columns are coded one after the other. What a codeword misses is made up for by the columns still to
 * come, as far as states go together: with H⁻¹ = Uᵀ U, U upper triangular,
 *
 *     y = x[s] · U[s, s]⁻¹        the codeword is the one nearest to y        x[later] −= (y − codeword) · U[s, later]
 *
 * and errors of y count alike, so plain k-means makes the codewords, on a sample of the rows. Rows are first divided by
 * their length; what is left of a token's error on the mean state becomes its bias.
 *
 * Cost: D² / 2 steps a row.
 *
 * Sources: Frantar et al. 2023 (GPTQ), van Baalen et al. 2024 (GPTVQ) for the compensation, Jégou et al. 2011 for the codes.
 */
import { PRODUCT_COLUMNS, PRODUCT_WORDS, productCodeAt, productShape } from "../backend/screen-kernels.ts";
import { UnsupportedError } from "../errors.ts";
import { f16ToNumber, numberToF16 } from "../format/half.ts";
import { STAGE, uniform } from "../philox.ts";
import type { CompressMethod, CompressTask, HeadRows } from "./method.ts";
import { type Compensation, compensationOf } from "./product-metric.ts";
import { trainWords } from "./product-words.ts";

const SAMPLE = 8192;
const ROWS_AT_ONCE = 32;

export const productMethod: CompressMethod = {
  name: "pq",
  summary: "product codes, 1 bit a weight, and 256 exact rows: drafts",

  async build(task) {
    const { head, states } = task;
    const { vocab, hidden } = head;
    if (hidden % 8 !== 0) {
      throw new UnsupportedError(`Cannot make product codes of ${hidden} columns: they are no multiple of 8`);
    }
    const { tiles, pairs, codes: codeBytes } = productShape(vocab, hidden);
    const compensation = compensationOf(states, hidden);
    const codebook = await trainCodebook(task, compensation);
    const codes = new Uint8Array(codeBytes);
    const scales = new Uint16Array(vocab);
    const biases = new Uint16Array(vocab);
    const x = new Float64Array(hidden);
    const coded = new Float64Array(hidden);
    for (let first = 0; first < vocab; first += ROWS_AT_ONCE) {
      await task.onProgress("codes", first, vocab);
      const count = Math.min(ROWS_AT_ONCE, vocab - first);
      const rows = head.rows(first, count);
      for (let i = 0; i < count; i++) {
        const token = first + i;
        const row = rows.subarray(i * hidden, (i + 1) * hidden);
        scales[token] = scaleOf(row);
        const scale = f16ToNumber(scales[token]);
        for (let k = 0; k < hidden; k++) x[k] = scale === 0 ? 0 : row[k] / scale;
        for (let s = 0; s < 2 * pairs; s++) {
          const word = compensation.code(x, s, codebook.whitened, coded, codebook.words);
          codes[productCodeAt(token, s >> 1, pairs)] |= word << (4 * (s & 1));
        }
        let missed = 0;
        for (let k = 0; k < hidden; k++) missed += compensation.mean[k] * (row[k] - scale * coded[k]);
        biases[token] = finiteHalf(missed);
      }
    }
    await task.onProgress("codes", vocab, vocab);
    const prefix = "output_pq.";
    const bytesOf = (values: Float32Array | Uint16Array) => new Uint8Array(values.buffer);
    return [
      { name: `${prefix}codes`, type: "I8", shape: [16, pairs, tiles], bytes: codes },
      {
        name: `${prefix}codebook`,
        type: "F32",
        shape: [PRODUCT_WORDS, PRODUCT_COLUMNS, hidden / PRODUCT_COLUMNS],
        bytes: bytesOf(codebook.words),
      },
      { name: `${prefix}scales`, type: "F16", shape: [vocab], bytes: bytesOf(scales) },
      { name: `${prefix}biases`, type: "F16", shape: [vocab], bytes: bytesOf(biases) },
    ];
  },
};

/** Codewords as the file has them, (S, 4, 16), and as they are compared, (S, 16, 4). */
interface ProductCodebook {
  readonly words: Float32Array;
  readonly whitened: Float64Array;
}

async function trainCodebook(
  { head, options, onProgress }: CompressTask,
  compensation: Compensation,
): Promise<ProductCodebook> {
  const { hidden } = head;
  const subs = hidden / PRODUCT_COLUMNS;
  const sample = sampleOf(head, options.seed);
  const words = new Float32Array(hidden * PRODUCT_WORDS);
  const whitened = new Float64Array(hidden * PRODUCT_WORDS);
  const points = new Float64Array(sample.length * PRODUCT_COLUMNS);
  for (let s = 0; s < subs; s++) {
    await onProgress("codebook", s, subs);
    sample.forEach((x, i) => {
      compensation.whiten(x, s, points, i * PRODUCT_COLUMNS);
    });
    const trained = trainWords(points, options.seed, s);
    compensation.restore(trained, s, words);
    // As f32 will have them, so that what they miss is known.
    compensation.whitenWords(words, s, whitened);
    for (const x of sample) compensation.code(x, s, whitened);
  }
  await onProgress("codebook", subs, subs);
  return { words, whitened };
}

/** Rows of the head, at most SAMPLE, divided by their lengths. */
function sampleOf(head: HeadRows, seed: number): Float64Array[] {
  const { vocab, hidden } = head;
  const count = Math.min(SAMPLE, vocab);
  const sample: Float64Array[] = [];
  for (let i = 0; i < count; i++) {
    const low = Math.floor((i * vocab) / count);
    const high = Math.floor(((i + 1) * vocab) / count);
    const row = head.rows(low + Math.floor(uniform(seed, i, STAGE.compress) * (high - low)), 1);
    const scale = f16ToNumber(scaleOf(row));
    if (scale > 0) sample.push(Float64Array.from({ length: hidden }, (_, k) => row[k] / scale));
  }
  return sample;
}

/** Root mean square of a row, as bits of F16. */
function scaleOf(row: Float32Array): number {
  let squares = 0;
  for (let k = 0; k < row.length; k++) squares += row[k] * row[k];
  return finiteHalf(Math.sqrt(squares / row.length));
}

function finiteHalf(value: number): number {
  return numberToF16(Math.min(Math.max(value, -65504), 65504));
}
