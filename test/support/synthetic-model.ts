/**
 * Small complete models with random weights, as GGUF files that this project and llama.cpp load.
 *
 * The weights depend on seed and tensor name only, not on the weight type: the same options with another type give
 * the same model, rounded otherwise. They are scaled so that logits have a standard deviation of about 3.
 */
import { blockSize, type WeightType } from "../../src/format/blocks.ts";
import {
  bool,
  f32,
  type GgufSpec,
  type GgufTensor,
  type GgufValue,
  ggufBytes,
  string,
  u32,
} from "./gguf-writer.ts";
import { quantize } from "./quantize.ts";
import { createRandom, seedOf } from "./random.ts";
import { syntheticTokenizer } from "./synthetic-tokenizer.ts";

export type Architecture = "llama" | "qwen2" | "qwen3" | "gemma3";

export interface SyntheticModelOptions {
  /** Default "llama". */
  architecture?: Architecture;
  /** Of all matrices; vectors are F32. Default "F16". */
  type?: WeightType;
  /** Types of single matrices, by tensor name, where they are not `type`. */
  typeOf?: (name: string) => WeightType | undefined;
  /** Default 512. */
  vocab?: number;
  /** Default 64, or one block of `type` where that is wider. */
  hidden?: number;
  /** Default 2; for gemma3 7, so that one of them looks at all positions. */
  layers?: number;
  /** Default 4. */
  heads?: number;
  /** Default 2. */
  kvHeads?: number;
  /** Default: hidden / heads; for qwen3 and gemma3 twice that, as their files have it different. */
  headDim?: number;
  /** Width of the feed-forward layer. Default 96, or one block. */
  feedForward?: number;
  /** Default 256. */
  contextLength?: number;
  /** Positions that local layers look at. Default: for gemma3 24, else none. */
  window?: number;
  /** Whether the head uses the embedding table. Default false; for gemma3 true. */
  tied?: boolean;
  /**
   * "linear": positions divided by 4. "llama3": a factor per frequency, in the tensor `rope_freqs.weight`.
   * Default "none".
   */
  ropeScaling?: "none" | "linear" | "llama3";
  /** Default "gpt2"; for gemma3 "gemma". */
  tokenizer?: "llama" | "gpt2" | "gemma";
  /** Value of `tokenizer.ggml.pre`. Default: "qwen2" for the qwens, else "gpt-2". */
  pre?: string;
  chatTemplate?: string;
  /** Keys to add or replace. */
  metadata?: Readonly<Record<string, GgufValue>>;
  /** Default 1. */
  seed?: number;
}

/** A llama of 135 million parameters, the shape that speeds are compared on. Add `type`. */
export const LLAMA_135M: SyntheticModelOptions = {
  architecture: "llama",
  vocab: 50_304,
  hidden: 576,
  layers: 30,
  heads: 9,
  kvHeads: 3,
  feedForward: 1536,
  contextLength: 2048,
  tied: true,
};

/**
 * The types of a Q4_K_M file: Q6_K for the head and half of the value and down projections, the rest Q4_K. With "Q5_K" as
 * `type` those of a Q5_K_M file.
 */
export function mediumTypes(layers: number): (name: string) => WeightType | undefined {
  return (name) => {
    if (name === "output.weight" || name === "token_embd.weight") return "Q6_K";
    const [, layer, part] = /^blk\.(\d+)\.(.*)\.weight$/.exec(name) ?? [];
    const more = Number(layer) % 2 === 0 || Number(layer) >= layers - 1;
    return more && (part === "attn_v" || part === "ffn_down") ? "Q6_K" : undefined;
  };
}

const LOGIT_DEVIATION = 3;
const NORM_EPSILON = 1e-5;
const ROPE_BASE = 10_000;
/** Of the layers of gemma3 that look at everything; the others have the usual one. */
const GEMMA_ROPE_BASE = 1_000_000;
const GEMMA_WINDOW = 24;
const POST_NORM = 10;
const LINEAR_FACTOR = 4;
/** Weights made and encoded at a time. */
const PIECE_WEIGHTS = 1 << 16;

/** `general.file_type`: what most of the tensors are. */
const FILE_TYPES: Readonly<Record<WeightType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q4_K: 15,
  Q5_K: 17,
  Q6_K: 18,
  IQ4_NL: 25,
  BF16: 32,
};

/** The whole file in memory. For large models use `ggufChunks(syntheticModel(options))`. */
export function syntheticModelBytes(options: SyntheticModelOptions = {}): Uint8Array {
  return ggufBytes(syntheticModel(options));
}

/** The file as a spec; weights are made when its tensors are written. */
export function syntheticModel(options: SyntheticModelOptions = {}): GgufSpec {
  const { architecture = "llama", type = "F16", heads = 4 } = options;
  const block = blockSize(type).weights;
  const hidden = options.hidden ?? Math.max(64, block);
  const isGemma = architecture === "gemma3";
  const headDim = options.headDim ?? (hidden / heads) * (isGemma || architecture === "qwen3" ? 2 : 1);
  const model: Model = {
    architecture,
    type,
    typeOf: () => undefined,
    vocab: 512,
    layers: isGemma ? 7 : 2,
    heads,
    kvHeads: 2,
    feedForward: Math.max(96, block),
    contextLength: 256,
    window: isGemma ? GEMMA_WINDOW : 0,
    tied: isGemma,
    ropeScaling: "none",
    tokenizer: isGemma ? "gemma" : "gpt2",
    pre: architecture === "llama" ? "gpt-2" : "qwen2",
    seed: 1,
    ...options,
    hidden,
    headDim,
  };
  return { metadata: modelMetadata(model), tensors: modelTensors(model) };
}

type Optional = "chatTemplate" | "metadata";
type Model = Required<Omit<SyntheticModelOptions, Optional>> & Pick<SyntheticModelOptions, Optional>;

function modelMetadata(model: Model): Record<string, GgufValue> {
  const { architecture: arch, type, headDim, tokenizer, vocab, pre, chatTemplate, seed } = model;
  const metadata: Record<string, GgufValue> = {
    "general.architecture": string(arch),
    "general.name": string(`synthetic-${arch}`),
    "general.file_type": u32(FILE_TYPES[type]),
    [`${arch}.context_length`]: u32(model.contextLength),
    [`${arch}.embedding_length`]: u32(model.hidden),
    [`${arch}.block_count`]: u32(model.layers),
    [`${arch}.feed_forward_length`]: u32(model.feedForward),
    [`${arch}.attention.head_count`]: u32(model.heads),
    [`${arch}.attention.head_count_kv`]: u32(model.kvHeads),
    [`${arch}.attention.layer_norm_rms_epsilon`]: f32(NORM_EPSILON),
    [`${arch}.rope.freq_base`]: f32(arch === "gemma3" ? GEMMA_ROPE_BASE : ROPE_BASE),
  };
  if (model.window > 0) metadata[`${arch}.attention.sliding_window`] = u32(model.window);
  if (headDim * model.heads !== model.hidden) {
    metadata[`${arch}.attention.key_length`] = u32(headDim);
    metadata[`${arch}.attention.value_length`] = u32(headDim);
  }
  if (arch === "llama") {
    metadata["llama.vocab_size"] = u32(vocab);
    metadata["llama.rope.dimension_count"] = u32(headDim);
  }
  if (model.ropeScaling === "linear") {
    metadata[`${arch}.rope.scaling.type`] = string("linear");
    metadata[`${arch}.rope.scaling.factor`] = f32(LINEAR_FACTOR);
    metadata[`${arch}.rope.scaling.finetuned`] = bool(true);
  }
  return {
    ...metadata,
    ...syntheticTokenizer({ kind: tokenizer, vocab, pre, chatTemplate, seed }),
    ...model.metadata,
  };
}

function modelTensors(model: Model): GgufTensor[] {
  const { architecture, hidden, headDim, heads, kvHeads, feedForward, vocab } = model;
  const matrix = (name: string, cols: number, rows: number, gain = 1): GgufTensor =>
    randomTensor(model, name, [cols, rows], { deviation: gain / Math.sqrt(cols) });
  const norm = (name: string, length: number, mean = 1): GgufTensor =>
    randomTensor(model, name, [length], { mean, deviation: 0.1 });

  const head = matrix("output.weight", hidden, vocab, LOGIT_DEVIATION);
  const tensors = [
    model.tied ? { ...head, name: "token_embd.weight" } : matrix("token_embd.weight", hidden, vocab),
    norm("output_norm.weight", hidden),
  ];
  if (!model.tied) tensors.push(head);
  if (model.ropeScaling === "llama3") tensors.push(ropeFactors(headDim));
  for (let layer = 0; layer < model.layers; layer++) {
    const block = `blk.${layer}`;
    tensors.push(
      norm(`${block}.attn_norm.weight`, hidden),
      matrix(`${block}.attn_q.weight`, hidden, heads * headDim),
      matrix(`${block}.attn_k.weight`, hidden, kvHeads * headDim),
      matrix(`${block}.attn_v.weight`, hidden, kvHeads * headDim),
      matrix(`${block}.attn_output.weight`, heads * headDim, hidden),
      norm(`${block}.ffn_norm.weight`, hidden),
      matrix(`${block}.ffn_gate.weight`, hidden, feedForward),
      matrix(`${block}.ffn_up.weight`, hidden, feedForward),
      // Gated activations are about half as large as what they are made of.
      matrix(`${block}.ffn_down.weight`, feedForward, hidden, 2),
    );
    if (architecture === "qwen2") {
      for (const [part, count] of [["q", heads] as const, ["k", kvHeads] as const, ["v", kvHeads] as const]) {
        const name = `${block}.attn_${part}.bias`;
        tensors.push(randomTensor(model, name, [count * headDim], { deviation: 0.5 }));
      }
    }
    if (architecture === "gemma3") {
      // Enough for the layers to be heard beside the token itself, which a tied head would say again.
      tensors.push(norm(`${block}.post_attention_norm.weight`, hidden, POST_NORM));
      tensors.push(norm(`${block}.post_ffw_norm.weight`, hidden, POST_NORM));
    }
    if (architecture === "qwen3" || architecture === "gemma3") {
      tensors.push(
        norm(`${block}.attn_q_norm.weight`, headDim),
        norm(`${block}.attn_k_norm.weight`, headDim),
      );
    }
  }
  return tensors;
}

/** Matrices have the type asked for, vectors are F32. */
function randomTensor(
  { type, typeOf, seed }: Model,
  name: string,
  shape: readonly number[],
  { mean = 0, deviation }: { mean?: number; deviation: number },
): GgufTensor {
  const [cols, rows = 1] = shape;
  const tensorType = shape.length === 1 ? "F32" : (typeOf(name) ?? type);
  const data = function* (): Generator<Uint8Array, void, void> {
    const { normal } = createRandom(seedOf(seed, name));
    const rowsAtOnce = Math.max(1, Math.floor(PIECE_WEIGHTS / cols));
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const values = new Float32Array(cols * Math.min(rowsAtOnce, rows - row));
      for (let index = 0; index < values.length; index++) values[index] = mean + deviation * normal();
      yield quantize(tensorType, values);
    }
  };
  return { name, type: tensorType, shape, data };
}

/** Divides each rotation frequency: 1 for the fast first half, up to 8 for the slowest, as Llama 3.1 files do. */
function ropeFactors(headDim: number): GgufTensor {
  const count = headDim / 2;
  const factors = Float32Array.from({ length: count }, (_, index) =>
    index < count / 2 ? 1 : 1 + (7 * (index + 1 - count / 2)) / (count / 2),
  );
  return {
    name: "rope_freqs.weight",
    type: "F32",
    shape: [count],
    data: () => [quantize("F32", factors)],
  };
}
