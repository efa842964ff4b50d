/**
 * evaluate: a head against the dense one, on states that it was not made from.
 *
 *     KL        mean of Σ p ln(p / q), p the dense head's law                 nats
 *     top-k     share of the dense head's k best that are among the head's k best
 *     NLL       mean of −ln q of the token that came, less that of the dense head
 */
import { type Backend, type Matrix, stride } from "../backend/backend.ts";
import { expBelow } from "../exp-below.ts";
import type { WeightType } from "../format/blocks.ts";
import { log } from "../math.ts";
import { DenseHead } from "../model/head/dense-head.ts";
import { HEAD_FORMATS } from "../model/head/formats.ts";
import type { Head } from "../model/head/head.ts";
import { type HeadContext, type HeadMethod, type HeadTensor, headPrefix } from "../model/head/stored-head.ts";
import type { Progress, TextStates } from "./states.ts";

export interface HeadQuality {
  readonly states: number;
  readonly kl: number;
  /** 0 … 1 */
  readonly top1: number;
  readonly top10: number;
  /** Of the dense head, nats a token. */
  readonly nll: number;
  readonly nllChange: number;
}

const TOP = 10;

/** A head of tensors as they would be in a file, opened as a loader does. */
export function openTensors(method: HeadMethod, tensors: readonly HeadTensor[], context: HeadContext): Head {
  const format = HEAD_FORMATS.find((one) => one.method === method)!;
  const prefix = headPrefix(method);
  const named = new Map(tensors.map((tensor) => [tensor.name.slice(prefix.length), tensor]));
  const head = format.open(
    {
      has: (name) => named.has(name),
      matrix: (name) => matrixOf(context.backend, named.get(name)!),
      values: (name) => named.get(name)!,
    },
    context,
  );
  return head ?? new DenseHead(context.backend, context.dense);
}

function matrixOf(backend: Backend, { type, shape, bytes }: HeadTensor): Matrix {
  const [cols, rows = 1] = shape;
  const writer = backend.matrix(type as WeightType, rows, cols);
  writer.write(bytes);
  return writer.finish();
}

export async function evaluateHead(
  backend: Backend,
  dense: Matrix,
  head: Head,
  { count, values, next }: TextStates,
  onProgress: Progress,
): Promise<HeadQuality> {
  const { rows: vocab, cols: hidden } = dense;
  const state = backend.floats(hidden);
  const memory = [backend.floats(stride(vocab)), backend.floats(stride(vocab))];
  const [row, other] = memory.map((floats) => backend.slice(floats, 0, vocab));
  const [p, q] = [new Float64Array(vocab), new Float64Array(vocab)];
  const sums = { kl: 0, top1: 0, top10: 0, nll: 0, change: 0 };
  const most = Math.min(TOP, vocab);
  try {
    for (let n = 0; n < count; n++) {
      backend.write(state, values.subarray(n * hidden, (n + 1) * hidden));
      backend.matmul(state, 1, [{ weights: dense, out: row }]);
      head.rows(state, 1, other);
      const [ours, theirs] = [await backend.top(row, vocab, most), await backend.top(other, vocab, most)];
      const logP = logLaw(p, (await backend.read(row)) as Float32Array, ours.logits[0]);
      const logQ = logLaw(q, (await backend.read(other)) as Float32Array, theirs.logits[0]);
      for (let i = 0; i < vocab; i++) if (p[i] > 0) sums.kl += p[i] * (logP(i) - logQ(i));
      if (ours.ids[0] === theirs.ids[0]) sums.top1++;
      sums.top10 += ours.ids.filter((id) => theirs.ids.includes(id)).length / most;
      sums.nll -= logP(next[n]);
      sums.change += logP(next[n]) - logQ(next[n]);
      await onProgress("comparison on text that was held out", n + 1, count);
    }
  } finally {
    for (const floats of [state, ...memory]) backend.free(floats);
  }
  return {
    states: count,
    kl: sums.kl / count,
    top1: sums.top1 / count,
    top10: sums.top10 / count,
    nll: sums.nll / count,
    nllChange: sums.change / count,
  };
}

/** Probabilities into `out`; gives the log-probability of a token. */
function logLaw(out: Float64Array, row: Float32Array, most: number): (token: number) => number {
  const logits = Float64Array.from(row);
  const total = expBelow(out, logits, row.length, most);
  for (let i = 0; i < out.length; i++) out[i] /= total;
  const logTotal = most + log(total);
  return (token) => logits[token] - logTotal;
}
