/**
 * vq: a codebook head from a dense one, by states of a text; no training of the model.
 *
 *     rows  →  metric of logits  →  K groups  →  biases fitted to the dense head's law  →  tensors
 *
 * What it costs in quality is that tokens of a code keep their odds whatever the text: the more so the fewer codes there are.
 * Tokens that the model expects often weigh more, and end up with codes of their own.
 *
 * Source: Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202, which trains such a head with the model; here it is made afterwards.
 */
import { MOST_CODES } from "../backend/head-kernels.ts";
import { expectInteger } from "../errors.ts";
import { numberToF16 } from "../format/half.ts";
import { log } from "../math.ts";
import { type HeadTensor, headPrefix } from "../model/head/stored-head.ts";
import { type CodeLaws, fitBias, MOST_CELLS } from "./fit.ts";
import { groupPoints } from "./k-means.ts";
import { MatrixProduct, matrixTensor, productsOf } from "./matrix-product.ts";
import type { CalibrationStates, CompressMethod, CompressTask, HeadRows } from "./method.ts";
import { type Metric, metricOf } from "./metric.ts";
import { residualTensors } from "./residual.ts";

/** Tokens of a code at most, over their mean: a draw within a code is to stay cheap. */
const MOST_SHARE = 16;
/** What is spread over all tokens when they are weighed by their probability, so that rare ones still have a place. */
const RARE_SHARE = 0.05;
/** Rows read at a time. */
const SOME_ROWS = 1024;
const LEAST_PROBABILITY = 1e-12;

export const vqMethod: CompressMethod = {
  name: "vq",
  summary: "tokens share codewords and differ by a bias; drafts in a hundredth of the time",
  build: buildVq,
};

async function buildVq(task: CompressTask): Promise<readonly HeadTensor[]> {
  const { head, states, options, backend, onProgress } = task;
  const { vocab, hidden } = head;
  const codes = expectInteger("codes", options.codes, 1, Math.min(vocab, MOST_CODES));
  await onProgress("directions of the states", 0, 1);
  const metric = metricOf(states, hidden, options.seed);
  const points = await pointsOf(metric, head, states, task);
  const { groupOf } = await groupPoints(points, codes, {
    backend,
    seed: options.seed,
    most: Math.max(16, MOST_SHARE * Math.ceil(vocab / codes)),
    onProgress: (done, total) => onProgress("groups of tokens", done, total),
  });
  const words = meanRows(head, groupOf, points.weights, codes);
  const laws = await codeLaws(states, groupOf, codes, onProgress);
  const tensor = matrixTensor(words, codes, hidden);
  const chosen = chosenStates(states, laws.states, hidden);
  const scores = productsOf(backend, tensor, chosen);
  const fitted = fitBias(scores, laws);
  const bias = tokenBias(states.probabilities, groupOf, fitted);
  const made = { metric, points, groupOf, words: tensor, bias, codeBias: fitted, laws, chosen, scores };
  const residual = (options.residual ?? 0) > 0 ? await residualTensors(task, made) : [];
  return [
    { ...tensor, name: `${headPrefix("vq")}codebook.weight` },
    {
      name: `${headPrefix("vq")}codes`,
      type: "I16",
      shape: [vocab],
      bytes: new Uint8Array(Uint16Array.from(groupOf).buffer),
    },
    {
      name: `${headPrefix("vq")}bias`,
      type: "F16",
      shape: [vocab],
      bytes: new Uint8Array(bias.buffer),
    },
    ...residual,
  ];
}

/** Tokens as points of the metric. */
async function pointsOf(metric: Metric, head: HeadRows, states: CalibrationStates, task: CompressTask) {
  const { vocab, hidden } = head;
  const size = metric.rows;
  const values = new Float32Array(vocab * size);
  const product = MatrixProduct.of(task.backend, metric.values, size, hidden);
  for (let first = 0; first < vocab; first += SOME_ROWS) {
    const some = Math.min(SOME_ROWS, vocab - first);
    values.set(product.all(head.rows(first, some), some), first * size);
    await task.onProgress("tokens among the directions", first + some, vocab);
  }
  product.close();
  const weights = states.probabilities.map((p) => p + RARE_SHARE / vocab);
  return { count: vocab, size, values, weights };
}

/** (K, D) weighted means of the rows of a code, less the mean of all rows, which changes no law. */
function meanRows(head: HeadRows, groupOf: Uint32Array, weights: Float64Array, codes: number): Float32Array {
  const { vocab, hidden } = head;
  const sums = new Float64Array(codes * hidden);
  const masses = new Float64Array(codes);
  const all = new Float64Array(hidden);
  for (let first = 0; first < vocab; first += SOME_ROWS) {
    const some = Math.min(SOME_ROWS, vocab - first);
    const rows = head.rows(first, some);
    for (let i = 0; i < some; i++) {
      const token = first + i;
      masses[groupOf[token]] += weights[token];
      for (let k = 0; k < hidden; k++) {
        all[k] += rows[i * hidden + k] / vocab;
        sums[groupOf[token] * hidden + k] += weights[token] * rows[i * hidden + k];
      }
    }
  }
  return Float32Array.from(sums, (sum, at) => {
    const mass = masses[Math.floor(at / hidden)];
    return mass > 0 ? sum / mass - all[at % hidden] : 0;
  });
}

/** What the dense head gives the tokens of each code together, for as many states as there is room for. */
async function codeLaws(
  { count, laws }: CalibrationStates,
  groupOf: Uint32Array,
  codes: number,
  onProgress: CompressTask["onProgress"],
): Promise<CodeLaws> {
  const states = Math.max(1, Math.min(count, Math.floor(MOST_CELLS / codes)));
  const values = new Float32Array(states * codes);
  let taken = 0;
  await laws(async (law, n) => {
    if (taken < states && n === Math.floor((taken * count) / states)) {
      const at = taken++ * codes;
      for (let i = 0; i < groupOf.length; i++) values[at + groupOf[i]] += law[i];
    }
    await onProgress("laws of the codes", n + 1, count);
  });
  return { states, codes, values };
}

function chosenStates({ count, values }: CalibrationStates, wanted: number, hidden: number): Float32Array {
  const out = new Float32Array(wanted * hidden);
  for (let i = 0; i < wanted; i++) {
    const n = Math.floor((i * count) / wanted);
    out.set(values.subarray(n * hidden, (n + 1) * hidden), i * hidden);
  }
  return out;
}

/** (V) F16 bits: the bias of the code, and the token's share of it. */
function tokenBias(
  probabilities: Float64Array,
  groupOf: Uint32Array,
  codeBias: Float64Array,
): Uint16Array<ArrayBuffer> {
  const masses = new Float64Array(codeBias.length);
  for (const [token, code] of groupOf.entries()) masses[code] += probabilities[token] + LEAST_PROBABILITY;
  return Uint16Array.from(groupOf, (code, token) =>
    numberToF16(codeBias[code] + log((probabilities[token] + LEAST_PROBABILITY) / masses[code])),
  );
}
