/**
 * residual: residual codes for a codebook head. See model/head/residual-codes.ts for what is made of them.
 *
 *     w_i · h  =  c · h  +  r_i · h,   r_i = w_i − c           c: the word of the token's code
 *     r_i · h  ≈  r̂_i · h  +  (r_i − r̂_i) · mean h             r̂_i: the product code of r_i;  the rest is its bias
 *
 * Residuals are coded in the coordinates of the metric, where errors count as what logits differ by, with 16 words for each
 * sub-vector of a few of them. As the first coordinates vary the most, each sub-vector has an early and late ones.
 *
 * Such a bias makes logits near the dense head's; those of all other tokens make probabilities that are right on average.
 * One number makes up for what these two are apart: with it opened codes have, on average, the mass that the dense head
 * gives them.
 *
 * Sources: Jégou, Douze, Schmid 2011 (product quantisation of residuals); Ge et al. 2013 (OPQ) for balanced sub-vectors.
 */
import { RESIDUAL_WORDS } from "../backend/head-kernels.ts";
import { expectInteger } from "../errors.ts";
import { expBelow } from "../exp-below.ts";
import { decodeWeights } from "../format/blocks.ts";
import { numberToF16 } from "../format/half.ts";
import { exp, log } from "../math.ts";
import { Codebook } from "../model/head/codebook.ts";
import { ResidualCodes } from "../model/head/residual-codes.ts";
import { type HeadTensor, headPrefix } from "../model/head/stored-head.ts";
import type { CodeLaws } from "./fit.ts";
import { groupPoints, type Points } from "./k-means.ts";
import { MatrixProduct, type MatrixTensor, matrixTensor, productsOf } from "./matrix-product.ts";
import type { CompressTask } from "./method.ts";
import type { Metric } from "./metric.ts";

/** A codebook head that is made already. */
export interface MadeCodebook {
  readonly metric: Metric;
  /** (V, m) rows of the dense head in the metric. */
  readonly points: Points;
  readonly groupOf: Uint32Array;
  /** (K, D) */
  readonly words: MatrixTensor;
  /** (V) bits of F16. */
  readonly bias: Uint16Array<ArrayBuffer>;
  /** (K) log of the mass of a code at score 0. */
  readonly codeBias: Float64Array;
  readonly laws: CodeLaws;
  /** (states, D) those of the laws. */
  readonly chosen: Float32Array;
  /** (states, K) by the words. */
  readonly scores: Float32Array;
}

/** Tokens that words are trained on. */
const SAMPLE = 8192;
/** States that masses are compared in. */
const COMPARED = 512;
/** Rows read at a time. */
const SOME_ROWS = 1024;
const HALVINGS = 50;
const MOST_SHIFT = 64;
const MOST_BIAS = 2000;

export async function residualTensors(task: CompressTask, made: MadeCodebook): Promise<HeadTensor[]> {
  const { metric, points } = made;
  const bytes = expectInteger("residual", task.options.residual, 1, Math.floor(metric.rows / 2));
  const layout = layoutOf(metric.rows, 2 * bytes);
  const residuals = residualPoints(task, made);
  const { words, codes } = await codeResiduals(task, { ...points, values: residuals }, layout);
  const basis = basisTensor(metric, layout, task.head.hidden);
  const z = productsOf(task.backend, basis, made.chosen);
  const bias = await residualBias(task, made, { layout, words, codes, z });
  const shift = massShift(made, { bytes, codes, words, bias, z });
  const halves = Uint16Array.from(bias, (value) => numberToF16(bounded(value - shift)));
  const { vocab } = task.head;
  const prefix = `${headPrefix("vq")}residual.`;
  const subs = layout.length / layout.columns;
  return [
    { ...basis, name: `${prefix}basis.weight` },
    {
      name: `${prefix}codebook`,
      type: "F32",
      shape: [RESIDUAL_WORDS, layout.columns, subs],
      bytes: new Uint8Array(words.buffer),
    },
    { name: `${prefix}codes`, type: "I8", shape: [bytes, vocab], bytes: codes },
    { name: `${prefix}bias`, type: "F16", shape: [vocab], bytes: new Uint8Array(halves.buffer) },
  ];
}

/** Which coordinate of the metric stands where: (S, C); −1: none. */
interface Layout {
  readonly columns: number;
  readonly length: number;
  readonly axes: Int32Array;
}

/** The first S coordinates one for each sub-vector, the next S in the opposite order, and so on. */
function layoutOf(axes: number, subs: number): Layout {
  const columns = Math.ceil(axes / subs);
  const length = subs * columns;
  const places = Int32Array.from({ length }, (_, at) => {
    const [sub, column] = [Math.floor(at / columns), at % columns];
    const axis = column * subs + (column % 2 === 0 ? sub : subs - 1 - sub);
    return axis < axes ? axis : -1;
  });
  return { columns, length, axes: places };
}

/** (V, m) rows less the words of their codes, and less the mean row, which the words do not have. */
function residualPoints({ backend, head }: CompressTask, { metric, points, groupOf, words }: MadeCodebook) {
  const { count, size, values } = points;
  const product = MatrixProduct.of(backend, metric.values, size, head.hidden);
  const centres = product.all(decodeWeights(words.type, words.bytes), words.shape[1]);
  product.close();
  const mean = new Float64Array(size);
  for (let at = 0; at < values.length; at++) mean[at % size] += values[at] / count;
  return Float32Array.from(values, (value, at) => {
    const k = at % size;
    return value - mean[k] - centres[groupOf[(at - k) / size] * size + k];
  });
}

/** Words of all sub-vectors, (S, C, 16), and which of them each token has, (V, S / 2). */
async function codeResiduals(
  { backend, options, onProgress }: CompressTask,
  { count, size, values, weights }: Points,
  { columns, length, axes }: Layout,
): Promise<{ words: Float32Array<ArrayBuffer>; codes: Uint8Array<ArrayBuffer> }> {
  const subs = length / columns;
  const words = new Float32Array(length * RESIDUAL_WORDS);
  const codes = new Uint8Array((count * subs) / 2);
  const sampled = Uint32Array.from({ length: Math.min(SAMPLE, count) }, (_, i) =>
    Math.floor((i * count) / Math.min(SAMPLE, count)),
  );
  const pick = (token: number, sub: number, out: Float32Array, at: number) => {
    for (let column = 0; column < columns; column++) {
      const axis = axes[sub * columns + column];
      out[at + column] = axis < 0 ? 0 : values[token * size + axis];
    }
  };
  const point = new Float32Array(columns);
  for (let sub = 0; sub < subs; sub++) {
    await onProgress("residual codes", sub, subs);
    const some = new Float32Array(sampled.length * columns);
    for (const [i, token] of sampled.entries()) pick(token, sub, some, i * columns);
    const sample = {
      count: sampled.length,
      size: columns,
      values: some,
      weights: Float64Array.from(sampled, (token) => weights[token]),
    };
    const { centres } = await groupPoints(sample, Math.min(RESIDUAL_WORDS, sample.count), {
      backend,
      seed: options.seed,
      most: sample.count,
      onProgress: () => onProgress("residual codes", sub, subs),
    });
    for (let j = 0; j < RESIDUAL_WORDS; j++) {
      for (let column = 0; column < columns; column++) {
        words[(sub * columns + column) * RESIDUAL_WORDS + j] = centres[j * columns + column] ?? 0;
      }
    }
    for (let token = 0; token < count; token++) {
      pick(token, sub, point, 0);
      const word = nearestWord(point, words, sub * columns);
      codes[(token * subs + sub) >> 1] |= word << (4 * (sub & 1));
    }
  }
  await onProgress("residual codes", subs, subs);
  return { words, codes };
}

/** @param first The sub-vector's first column. */
function nearestWord(point: Float32Array, words: Float32Array, first: number): number {
  let nearest = 0;
  let least = Infinity;
  for (let j = 0; j < RESIDUAL_WORDS; j++) {
    let distance = 0;
    for (let column = 0; column < point.length; column++) {
      const apart = point[column] - words[(first + column) * RESIDUAL_WORDS + j];
      distance += apart * apart;
    }
    if (distance < least) {
      least = distance;
      nearest = j;
    }
  }
  return nearest;
}

/** (S · C, D): coordinates of the metric are E r; with E h over their variances, products are those of r and h. */
function basisTensor({ values }: Metric, { length, axes }: Layout, hidden: number): MatrixTensor {
  const rows = new Float32Array(length * hidden);
  for (const [row, axis] of axes.entries()) {
    if (axis < 0) continue;
    let variance = 0;
    for (let k = 0; k < hidden; k++) variance += values[axis * hidden + k] ** 2;
    if (!(variance > 0)) continue;
    for (let k = 0; k < hidden; k++) rows[row * hidden + k] = values[axis * hidden + k] / variance;
  }
  return matrixTensor(rows, length, hidden);
}

interface Coded {
  readonly layout: Layout;
  readonly words: Float32Array;
  readonly codes: Uint8Array;
  /** (states, S · C) */
  readonly z: Float32Array;
}

/** (V) what the codes miss of a token's logit in the mean state. */
async function residualBias(
  { backend, head, onProgress }: CompressTask,
  { chosen, groupOf, scores, words: codewords }: MadeCodebook,
  { layout, words, codes, z }: Coded,
): Promise<Float64Array> {
  const { vocab, hidden } = head;
  const meanScores = meanOf(scores, codewords.shape[1]);
  const meanZ = meanOf(z, layout.length);
  const product = MatrixProduct.of(backend, Float32Array.from(meanOf(chosen, hidden)), 1, hidden);
  const bias = new Float64Array(vocab);
  for (let first = 0; first < vocab; first += SOME_ROWS) {
    const some = Math.min(SOME_ROWS, vocab - first);
    bias.set(product.all(head.rows(first, some), some), first);
    await onProgress("biases of the residuals", first + some, vocab);
  }
  product.close();
  const all = bias.reduce((sum, logit) => sum + logit / vocab, 0);
  const subs = layout.length / layout.columns;
  return bias.map((logit, token) => {
    let left = logit - all - meanScores[groupOf[token]];
    for (let k = 0; k < layout.length; k++) {
      const sub = Math.floor(k / layout.columns);
      const word = (codes[(token * subs + sub) >> 1] >> (4 * (sub & 1))) & 15;
      left -= words[k * RESIDUAL_WORDS + word] * meanZ[k];
    }
    return bounded(left);
  });
}

interface Opened extends Omit<Coded, "layout"> {
  readonly bytes: number;
  readonly bias: Float64Array;
}

/** What opened logits are too large by, when their mass is compared with the dense head's. */
function massShift(
  { groupOf, bias, codeBias, laws, scores }: MadeCodebook,
  { bytes, codes, words, bias: own, z }: Opened,
): number {
  const codebook = new Codebook(laws.codes, groupOf, decodeWeights("F16", new Uint8Array(bias.buffer)));
  const residual = new ResidualCodes(codebook, { bytes, codes, words, bias: own });
  const compared = Math.min(COMPARED, laws.states);
  /** By state: ln of the mass of opened codes, less ln of that of the others. */
  const odds: number[] = [];
  let wanted = 0;
  for (let i = 0; i < compared; i++) {
    const n = Math.floor((i * laws.states) / compared);
    const some = scores.subarray(n * laws.codes, (n + 1) * laws.codes);
    const opened = residual.open(some, z.subarray(n * residual.size, (n + 1) * residual.size));
    const others: number[] = [];
    for (let j = 0; j < laws.codes; j++) {
      if (opened.best(j) !== undefined) wanted += laws.values[n * laws.codes + j] / compared;
      else others.push(some[j] + codeBias[j]);
    }
    if (others.length > 0) odds.push(logSum(opened.logits) - logSum(Float64Array.from(others)));
  }
  if (odds.length < compared) return 0;
  let [low, high] = [-MOST_SHIFT, MOST_SHIFT];
  for (let step = 0; step < HALVINGS; step++) {
    const middle = (low + high) / 2;
    const mass = odds.reduce((sum, one) => sum + 1 / (1 + exp(middle - one)) / compared, 0);
    // The larger the shift, the less is left for opened codes.
    if (mass > wanted) low = middle;
    else high = middle;
  }
  return low;
}

function logSum(logits: Float64Array): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + log(expBelow(new Float64Array(logits.length), logits, logits.length, most));
}

/** Mean of rows of `size`. */
function meanOf(values: Float32Array, size: number): Float64Array {
  const mean = new Float64Array(size);
  for (let at = 0; at < values.length; at++) mean[at % size] += (values[at] * size) / values.length;
  return mean;
}

function bounded(bias: number): number {
  return Math.min(Math.max(bias, -MOST_BIAS), MOST_BIAS);
}
