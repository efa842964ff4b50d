/**
 * tensors: which tensors a model of the llama family must, may and must not have, and their shapes.
 *
 * The list is made before a byte of weights is read: a file with a missing, misshapen or unknown tensor is refused
 * while it is still cheap, and the memory it will take is known.
 */
import { UnsupportedError } from "../errors.ts";
import { isWeightType, WEIGHT_TYPES, type WeightType } from "../format/blocks.ts";
import type { Gguf, TensorInfo } from "../format/gguf.ts";
import type { LlamaConfig } from "./config.ts";

/** "matrix": packed for matmul. "vector": f32 values. */
export interface PlannedTensor {
  readonly info: TensorInfo;
  readonly type: WeightType;
  readonly kind: "matrix" | "vector";
  readonly rows: number;
  readonly cols: number;
}

export interface TensorPlan {
  /** By name. */
  readonly tensors: ReadonlyMap<string, PlannedTensor>;
  readonly vocab: number;
}

interface Expected {
  readonly kind: "matrix" | "vector";
  readonly rows: number;
  readonly cols: number;
  readonly optional?: boolean;
}

/** Written by some converters; what they hold is computed here. */
const IGNORED = /^(rope\.freqs|blk\.\d+\.attn\.rot_embd|blk\.\d+\.attn_rot_embd)(\.weight)?$/;

/** @throws {UnsupportedError} For a tensor we would have to leave out, or of a type that cannot run. @throws {RangeError} For a missing or misshapen one. */
export function planTensors(gguf: Gguf, config: LlamaConfig): TensorPlan {
  const table = gguf.tensors.find((tensor) => tensor.name === "token_embd.weight");
  if (table === undefined) throw missing("token_embd.weight");
  const vocab = table.shape[1] ?? 0;
  const expected = expectedTensors(config, vocab);
  const tensors = new Map<string, PlannedTensor>();
  for (const info of gguf.tensors) {
    if (IGNORED.test(info.name)) continue;
    const shape = expected.get(info.name);
    if (shape === undefined) {
      throw new UnsupportedError(
        `Cannot load model: tensor "${info.name}" is not part of a ${config.architecture} model here`,
      );
    }
    tensors.set(info.name, plan(info, shape));
  }
  for (const [name, shape] of expected) {
    if (!shape.optional && !tensors.has(name)) throw missing(name);
  }
  return { tensors, vocab };
}

function plan(info: TensorInfo, expected: Expected): PlannedTensor {
  const shape = expected.kind === "vector" ? [expected.cols] : [expected.cols, expected.rows];
  const actual = info.shape.slice();
  while (actual.length > shape.length && actual[actual.length - 1] === 1) actual.pop();
  if (actual.length !== shape.length || actual.some((size, axis) => size !== shape[axis])) {
    throw new RangeError(
      `Cannot load model: tensor "${info.name}" must have shape [${shape.join(", ")}], got [${info.shape.join(", ")}]`,
    );
  }
  if (!isWeightType(info.type)) {
    throw new UnsupportedError(
      `Cannot load model: tensor "${info.name}" has type ${info.type}, supported are ${WEIGHT_TYPES.join(", ")}`,
    );
  }
  return { info, type: info.type, kind: expected.kind, rows: expected.rows, cols: expected.cols };
}

function expectedTensors(config: LlamaConfig, vocab: number): Map<string, Expected> {
  const { hidden, feedForward, heads, kvHeads, headDim, rope } = config;
  const expected = new Map<string, Expected>();
  const matrix = (name: string, rows: number, cols: number, optional = false) =>
    expected.set(`${name}.weight`, { kind: "matrix", rows, cols, optional });
  const vector = (name: string, cols: number, optional = false) =>
    expected.set(name, { kind: "vector", rows: 1, cols, optional });

  matrix("token_embd", vocab, hidden);
  matrix("output", vocab, hidden, true); // tied to the embedding where absent
  vector("output_norm.weight", hidden);
  vector("rope_freqs.weight", rope.rotary / 2, true);
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `blk.${layer}`;
    vector(`${block}.attn_norm.weight`, hidden);
    matrix(`${block}.attn_q`, heads * headDim, hidden);
    matrix(`${block}.attn_k`, kvHeads * headDim, hidden);
    matrix(`${block}.attn_v`, kvHeads * headDim, hidden);
    matrix(`${block}.attn_output`, hidden, heads * headDim);
    const biased = config.architecture === "qwen2";
    vector(`${block}.attn_q.bias`, heads * headDim, !biased);
    vector(`${block}.attn_k.bias`, kvHeads * headDim, !biased);
    vector(`${block}.attn_v.bias`, kvHeads * headDim, !biased);
    vector(`${block}.attn_output.bias`, hidden, true);
    if (config.architecture === "qwen3") {
      vector(`${block}.attn_q_norm.weight`, headDim);
      vector(`${block}.attn_k_norm.weight`, headDim);
    }
    vector(`${block}.ffn_norm.weight`, hidden);
    matrix(`${block}.ffn_gate`, feedForward, hidden);
    matrix(`${block}.ffn_up`, feedForward, hidden);
    matrix(`${block}.ffn_down`, hidden, feedForward);
  }
  return expected;
}

function missing(name: string): RangeError {
  return new RangeError(`Cannot load model: file has no tensor "${name}"`);
}
