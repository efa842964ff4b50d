/**
 * weights: the tensors of a llama-family model in a backend's memory, streamed in file order.
 *
 * At no time is more held than the packed weights, one chunk of the input and four rows being packed.
 */
import type { Backend, Floats, Matrix } from "../backend/backend.ts";
import { bytesPerRow, decodeWeights } from "../format/blocks.ts";
import type { ByteReader } from "../format/bytes.ts";
import { FINGERPRINT_BYTES, Fingerprint } from "../format/fingerprint.ts";
import type { LlamaConfig } from "./config.ts";
import { headTensorName } from "./head/stored-head.ts";
import {
  openStoredHeads,
  type PlannedHeadTensor,
  planFor,
  type ReadHeadTensor,
  type StoredHeadPlan,
  type StoredHeads,
  storedHeadBytes,
} from "./head/stored-plan.ts";
import type { PlannedTensor, TensorPlan } from "./tensors.ts";

/** Shapes in comments are (rows, cols); D hidden, H heads, G kv heads, d head size, F feed-forward, V vocab. */
export interface LlamaWeights {
  readonly embedding: Matrix; // (V, D)
  readonly head: Matrix; // (V, D); the embedding itself where the file ties them
  /** What makes rows or drafts instead of `head`, where the file has it. */
  readonly storedHeads: StoredHeads;
  readonly outputNorm: Floats; // (D)
  readonly layers: readonly LayerWeights[];
  /** Divisors of the rope frequencies, (rotary / 2), or null. */
  readonly ropeScaling: Float32Array | null;
}

export interface LayerWeights {
  readonly attentionNorm: Floats; // (D)
  readonly q: Matrix; // (H d, D)
  readonly k: Matrix; // (G d, D)
  readonly v: Matrix; // (G d, D)
  readonly output: Matrix; // (D, H d)
  readonly qBias: Floats | null; // (H d)
  readonly kBias: Floats | null; // (G d)
  readonly vBias: Floats | null; // (G d)
  readonly outputBias: Floats | null; // (D)
  readonly qNorm: Floats | null; // (d)
  readonly kNorm: Floats | null; // (d)
  readonly postAttentionNorm: Floats | null; // (D)
  readonly feedForwardNorm: Floats; // (D)
  readonly gate: Matrix; // (F, D)
  readonly up: Matrix; // (F, D)
  readonly down: Matrix; // (D, F)
  readonly postFeedForwardNorm: Floats | null; // (D)
}

/** Bytes the planned tensors will take in `backend`. */
export function weightBytes(backend: Backend, plan: TensorPlan): number {
  let bytes = storedHeadBytes(backend, planFor(backend, plan.heads));
  for (const tensor of plan.tensors.values()) {
    bytes +=
      tensor.kind === "vector" ? tensor.cols * 4 : backend.matrixBytes(tensor.type, tensor.rows, tensor.cols);
  }
  return bytes;
}

/** Reads all planned tensors and adds them to `fingerprint`. `reader` stands at the end of the header. */
export async function loadWeights(
  backend: Backend,
  reader: ByteReader,
  plan: TensorPlan,
  config: LlamaConfig,
  fingerprint: Fingerprint,
): Promise<LlamaWeights> {
  const matrices = new Map<string, Matrix>();
  const vectors = new Map<string, Floats>();
  const stored = new Map<string, ReadHeadTensor>();
  let ropeScaling: Float32Array | null = null;
  const heads = planFor(backend, plan.heads);
  for (const [name, tensor] of inFileOrder({ ...plan, heads })) {
    await reader.skip(tensor.info.offset - reader.position, `bytes before tensor "${name}"`);
    if (heads.tensors.has(name)) {
      stored.set(
        name,
        await loadHeadTensor(backend, reader, tensor as PlannedHeadTensor, heads, fingerprint),
      );
      continue;
    }
    fingerprint.addText(`${name} ${tensor.type} ${tensor.rows} ${tensor.cols}`);
    if (tensor.kind === "matrix") matrices.set(name, await loadMatrix(backend, reader, tensor, fingerprint));
    else {
      const bytes = await reader.read(tensor.info.bytes, `tensor "${name}"`);
      fingerprint.addBytes(bytes.subarray(0, FINGERPRINT_BYTES));
      const values = decodeWeights(tensor.type, bytes);
      if (name === "rope_freqs.weight") ropeScaling = expectDivisors(values);
      else vectors.set(name, vectorOf(backend, values));
    }
  }
  const matrix = (name: string) => matrices.get(`${name}.weight`) as Matrix;
  const vector = (name: string) => vectors.get(name) as Floats;
  const optional = (name: string) => vectors.get(name) ?? null;
  const embedding = matrix("token_embd");
  const head = matrices.get("output.weight") ?? embedding;
  const storedHeads = openStoredHeads(heads, stored, { backend, dense: head });
  return {
    embedding,
    head,
    storedHeads,
    outputNorm: vector("output_norm.weight"),
    ropeScaling,
    layers: Array.from({ length: config.layers }, (_, layer) => {
      const block = `blk.${layer}`;
      return {
        attentionNorm: vector(`${block}.attn_norm.weight`),
        q: matrix(`${block}.attn_q`),
        k: matrix(`${block}.attn_k`),
        v: matrix(`${block}.attn_v`),
        output: matrix(`${block}.attn_output`),
        qBias: optional(`${block}.attn_q.bias`),
        kBias: optional(`${block}.attn_k.bias`),
        vBias: optional(`${block}.attn_v.bias`),
        outputBias: optional(`${block}.attn_output.bias`),
        qNorm: optional(`${block}.attn_q_norm.weight`),
        kNorm: optional(`${block}.attn_k_norm.weight`),
        postAttentionNorm: optional(`${block}.post_attention_norm.weight`),
        feedForwardNorm: vector(`${block}.ffn_norm.weight`),
        gate: matrix(`${block}.ffn_gate`),
        up: matrix(`${block}.ffn_up`),
        down: matrix(`${block}.ffn_down`),
        postFeedForwardNorm: optional(`${block}.post_ffw_norm.weight`),
      };
    }),
  };
}

function inFileOrder({ tensors, heads }: TensorPlan): [string, PlannedTensor | PlannedHeadTensor][] {
  return [...tensors, ...heads.tensors].sort(([, a], [, b]) => a.info.offset - b.info.offset);
}

/** A head that only drafts does not change the text, hence not the fingerprint. */
async function loadHeadTensor(
  backend: Backend,
  reader: ByteReader,
  tensor: PlannedHeadTensor,
  heads: StoredHeadPlan,
  fingerprint: Fingerprint,
): Promise<ReadHeadTensor> {
  const { name, type, shape, bytes: size } = tensor.info;
  const isModel = headTensorName(name)?.[0] === heads.model;
  const counted = isModel ? fingerprint : new Fingerprint();
  counted.addText(`${name} ${type} ${shape.join(" ")}`);
  if (tensor.kind === "matrix") return await loadMatrix(backend, reader, tensor, counted);
  const bytes = (await reader.read(size, `tensor "${name}"`)).slice();
  counted.addBytes(bytes.subarray(0, FINGERPRINT_BYTES));
  return { name, type, shape, bytes };
}

async function loadMatrix(
  backend: Backend,
  reader: ByteReader,
  tensor: Pick<PlannedTensor, "info" | "type" | "rows" | "cols">,
  fingerprint: Fingerprint,
): Promise<Matrix> {
  const writer = backend.matrix(tensor.type, tensor.rows, tensor.cols);
  const bytes = bytesPerRow(tensor.type, tensor.cols) * tensor.rows;
  let left = FINGERPRINT_BYTES;
  for await (const chunk of reader.chunks(bytes, Infinity, `tensor "${tensor.info.name}"`)) {
    writer.write(chunk);
    const counted = chunk.subarray(0, left);
    fingerprint.addBytes(counted);
    left -= counted.length;
  }
  return writer.finish();
}

function vectorOf(backend: Backend, values: Float32Array): Floats {
  const floats = backend.floats(values.length);
  backend.write(floats, values);
  return floats;
}

function expectDivisors(values: Float32Array): Float32Array {
  const index = values.findIndex((value) => !(value > 0 && value < 1e9));
  if (index < 0) return values;
  throw new RangeError(
    `Cannot load model: "rope_freqs.weight"[${index}] must be above 0 and below 1e9, got ${values[index]}`,
  );
}
