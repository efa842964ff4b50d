import type { Architecture } from "./architecture.ts";
import { attention, biases, feedForward } from "./layer-tensors.ts";

/** Llama 1 to 3, SmolLM2, TinyLlama. Source: Touvron et al. 2023, arXiv:2302.13971. */
export const llama: Architecture = {
  name: "llama",
  ropePairs: "interleaved",
  ropeDivisors: true,
  gate: "silu",
  layer: (shape) => [...attention(shape), ...biases(shape, { optional: true }), ...feedForward(shape)],
};
