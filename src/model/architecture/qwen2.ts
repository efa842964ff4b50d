import type { Architecture } from "./architecture.ts";
import { attention, biases, feedForward } from "./layer-tensors.ts";

/** Qwen 2 and 2.5: biases on queries, keys and values. Source: arXiv:2407.10671. */
export const qwen2: Architecture = {
  name: "qwen2",
  ropePairs: "half-split",
  ropeDivisors: true,
  gate: "silu",
  layer: (shape) => [...attention(shape), ...biases(shape, { optional: false }), ...feedForward(shape)],
};
