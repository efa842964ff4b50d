/**
 * weights: the tensors of a llama-family model in a backend's memory, streamed in file order.
 *
 * At no time is more held than the packed weights, one chunk of the input and four rows being packed.
 */
import type { Backend, Floats, Matrix } from "../backend/backend.ts";
import { bytesPerRow, decodeWeights } from "../format/blocks.ts";
import type { ByteReader } from "../format/bytes.ts";
import { FINGERPRINT_BYTES, type Fingerprint } from "../format/fingerprint.ts";
import type { LlamaConfig } from "./config.ts";
import type { PlannedTensor, TensorPlan } from "./tensors.ts";

/** Shapes in comments are (rows, cols); D hidden, H heads, G kv heads, d head size, F feed-forward, V vocab. */
export interface LlamaWeights {
  readonly embedding: Matrix; // (V, D)
  readonly head: Matrix; // (V, D); the embedding itself where the file ties them
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
  readonly feedForwardNorm: Floats; // (D)
  readonly gate: Matrix; // (F, D)
  readonly up: Matrix; // (F, D)
  readonly down: Matrix; // (D, F)
}

/** Bytes the planned tensors will take in `backend`. */
export function weightBytes(backend: Backend, plan: TensorPlan): number {
  let bytes = 0;
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
  let ropeScaling: Float32Array | null = null;
  for (const [name, tensor] of inFileOrder(plan)) {
    await reader.skip(tensor.info.offset - reader.position, `bytes before tensor "${name}"`);
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
  return {
    embedding,
    head: matrices.get("output.weight") ?? embedding,
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
        feedForwardNorm: vector(`${block}.ffn_norm.weight`),
        gate: matrix(`${block}.ffn_gate`),
        up: matrix(`${block}.ffn_up`),
        down: matrix(`${block}.ffn_down`),
      };
    }),
  };
}

function inFileOrder(plan: TensorPlan): [string, PlannedTensor][] {
  return [...plan.tensors].sort(([, a], [, b]) => a.info.offset - b.info.offset);
}

async function loadMatrix(
  backend: Backend,
  reader: ByteReader,
  tensor: PlannedTensor,
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
