/** layer-tensors: the parts that the layers of all architectures are put together from. */
import type { ModelShape } from "../config.ts";
import type { LayerTensor } from "./architecture.ts";

/** Norm, projections of the stream to queries, keys and values, and of what was attended back to it. */
export function attention({ hidden, heads, kvHeads, headDim }: ModelShape): LayerTensor[] {
  return [
    vector("attn_norm.weight", hidden),
    matrix("attn_q.weight", heads * headDim, hidden),
    matrix("attn_k.weight", kvHeads * headDim, hidden),
    matrix("attn_v.weight", kvHeads * headDim, hidden),
    matrix("attn_output.weight", hidden, heads * headDim),
  ];
}

/** What is added to the projections. The one of the output may always be absent. */
export function biases(
  { hidden, heads, kvHeads, headDim }: ModelShape,
  { optional }: { optional: boolean },
): LayerTensor[] {
  return [
    vector("attn_q.bias", heads * headDim, optional),
    vector("attn_k.bias", kvHeads * headDim, optional),
    vector("attn_v.bias", kvHeads * headDim, optional),
    vector("attn_output.bias", hidden, true),
  ];
}

/** Norms of each head's query and key, before rope. */
export function headNorms({ headDim }: ModelShape): LayerTensor[] {
  return [vector("attn_q_norm.weight", headDim), vector("attn_k_norm.weight", headDim)];
}

/** Norm of what a part adds to the stream. */
export function normAfter(part: "attention" | "ffw", { hidden }: ModelShape): LayerTensor {
  return vector(`post_${part}_norm.weight`, hidden);
}

/** Norm and the three matrices of a gated feed-forward part. */
export function feedForward({ hidden, feedForward: width }: ModelShape): LayerTensor[] {
  return [
    vector("ffn_norm.weight", hidden),
    matrix("ffn_gate.weight", width, hidden),
    matrix("ffn_up.weight", width, hidden),
    matrix("ffn_down.weight", hidden, width),
  ];
}

function matrix(name: string, rows: number, cols: number): LayerTensor {
  return { name, kind: "matrix", rows, cols, optional: false };
}

function vector(name: string, cols: number, optional = false): LayerTensor {
  return { name, kind: "vector", rows: 1, cols, optional };
}
