import type { Architecture } from "./architecture.ts";
import { attention, feedForward, headNorms, normAfter } from "./layer-tensors.ts";

/** Layers of the 27B model, the one that does not scale by the size of its heads. */
const LAYERS_OF_27B = 62;

/**
 * Gemma 3, its text part: norms before and after both halves of a layer, and on queries and keys; five layers of six
 * look back at a window only.
 *
 * Source: Gemma Team 2025, arXiv:2503.19786; files, and what tells the 27B model: llama.cpp's `gemma3`.
 */
export const gemma3: Architecture = {
  name: "gemma3",
  ropePairs: "half-split",
  ropeDivisors: false,
  gate: "gelu",
  layer: (shape) => [
    ...attention(shape),
    ...headNorms(shape),
    normAfter("attention", shape),
    ...feedForward(shape),
    normAfter("ffw", shape),
  ],
  embeddingScale: ({ hidden }) => Math.fround(Math.sqrt(hidden)),
  attentionScale: ({ layers, hidden, heads, headDim }) =>
    1 / Math.sqrt(layers === LAYERS_OF_27B ? Math.floor(hidden / heads) : headDim),
  local: { period: 6, ropeBase: 10_000 },
};
