/**
 * tensors: which tensors a model of the llama family must, may and must not have, and their shapes.
 *
 * The list is made before a byte of weights is read: a file with a missing, misshapen or unknown tensor is refused
 * while it is still cheap, and the memory it will take is known.
 */
import { UnsupportedError } from "../errors.ts";
import { isWeightType, WEIGHT_TYPES, type WeightType } from "../format/blocks.ts";
import type { Gguf, TensorInfo } from "../format/gguf.ts";
import { architectureOf, type LlamaConfig } from "./config.ts";
import { headTensorName } from "./head/stored-head.ts";
import { planStoredHeads, type StoredHeadPlan } from "./head/stored-plan.ts";

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
  /** Heads beside the dense one. */
  readonly heads: StoredHeadPlan;
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
    if (IGNORED.test(info.name) || headTensorName(info.name) !== null) continue;
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
  return { tensors, vocab, heads: planStoredHeads(gguf, { vocab, hidden: config.hidden }) };
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
  const { hidden, rope } = config;
  const architecture = architectureOf(config.architecture);
  const expected = new Map<string, Expected>();
  const add = (name: string, tensor: Expected) => expected.set(name, tensor);

  add("token_embd.weight", { kind: "matrix", rows: vocab, cols: hidden });
  // Tied to the embedding where absent.
  add("output.weight", { kind: "matrix", rows: vocab, cols: hidden, optional: true });
  add("output_norm.weight", { kind: "vector", rows: 1, cols: hidden });
  if (architecture.ropeDivisors) {
    add("rope_freqs.weight", { kind: "vector", rows: 1, cols: rope.rotary / 2, optional: true });
  }
  const tensors = architecture.layer(config);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const tensor of tensors) add(`blk.${layer}.${tensor.name}`, tensor);
  }
  return expected;
}

function missing(name: string): RangeError {
  return new RangeError(`Cannot load model: file has no tensor "${name}"`);
}
