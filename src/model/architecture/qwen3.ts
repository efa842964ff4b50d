import type { Architecture } from "./architecture.ts";
import { attention, biases, feedForward, headNorms } from "./layer-tensors.ts";

/** Qwen 3: norms on queries and keys, heads of a size of their own. Source: arXiv:2505.09388. */
export const qwen3: Architecture = {
  name: "qwen3",
  ropePairs: "half-split",
  ropeDivisors: true,
  gate: "silu",
  layer: (shape) => [
    ...attention(shape),
    ...biases(shape, { optional: true }),
    ...headNorms(shape),
    ...feedForward(shape),
  ],
};
