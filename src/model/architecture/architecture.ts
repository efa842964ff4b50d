/**
 * architecture: in what the models of the llama family differ. A file of this folder describes one of them.
 *
 * All of them run one forward pass (../llama.ts), which leaves out the steps that a file has no tensors for.
 */
import type { RopePairs } from "../../backend/backend.ts";
import type { ModelShape } from "../config.ts";

export interface Architecture {
  /** As files name it. */
  readonly name: string;
  readonly ropePairs: RopePairs;
  /** What the gate of the feed-forward part goes through: x · sigmoid(x), or GELU in its form with tanh. */
  readonly gate: "silu" | "gelu";
  /** The tensors of a layer, in the order in which it uses them. */
  readonly layer: (shape: ModelShape) => readonly LayerTensor[];
  /** Whether a file may bring divisors of the rope frequencies. */
  readonly ropeDivisors: boolean;
  /** What embeddings are multiplied by. Default 1. */
  readonly embeddingScale?: (shape: ModelShape) => number;
  /** What products of queries and keys are multiplied by. Default 1 / sqrt(headDim). */
  readonly attentionScale?: (shape: ModelShape) => number;
  /** Layers that look at a window of positions only, in files that have one. Default: all of them, turned by the file's rope. */
  readonly local?: {
    /** The last of so many layers looks at everything, unless the file says otherwise. */
    readonly period: number;
    /** Base of the rope of local layers, unless the file says otherwise. It has no scaling. */
    readonly ropeBase: number;
  };
}

/** A tensor that each layer has, named as in a file behind `blk.0.`. */
export interface LayerTensor {
  readonly name: string;
  /** "matrix": (rows, cols), packed for matmul. "vector": (cols) f32 values. */
  readonly kind: "matrix" | "vector";
  readonly rows: number;
  readonly cols: number;
  readonly optional: boolean;
}
