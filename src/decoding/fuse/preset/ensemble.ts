/**
 * Ensembles.
 *
 *     product           p ∝ Π pᵢ^wᵢ, equal weights: what one model forbids is forbidden      Hinton 2002; logit averaging
 *     mixture           p = Σ wᵢ·pᵢ
 *     sampled-mixture   the same law, of one model per token, drawn by weight                arXiv:2605.00419
 *     memory-decoder    ln (λ·memory + (1 − λ)·base)                                         Cao et al. 2025, arXiv:2508.09874
 *     standardized      Σ wᵢ·zscore(zᵢ): rows of unlike scales                               Sun et al. 2024, arXiv:2403.01427
 */
import { definePreset } from "./define.ts";

const MEMBERS = { sources: ["a", "b"] as readonly string[], weights: null as readonly number[] | null };

/** Equal shares, unless said otherwise. */
function shares({ sources, weights }: typeof MEMBERS): { source: string; weight: number }[] {
  if (weights !== null && weights.length !== sources.length) {
    throw new RangeError(
      `"options.weights" must have ${sources.length} numbers, one per source, got ${weights.length}`,
    );
  }
  return sources.map((source, index) => ({ source, weight: weights?.[index] ?? 1 / sources.length }));
}

export const product = definePreset(MEMBERS, (options) => ({
  sources: options.sources,
  lin: shares(options),
}));

export const mixture = definePreset(MEMBERS, (options) => ({
  sources: options.sources,
  mix: shares(options),
}));

export const sampledMixture = definePreset(MEMBERS, (options) => ({
  sources: options.sources,
  mix: shares(options),
  mode: "sampled" as const,
}));

export const memoryDecoder = definePreset(
  { base: "base", memory: "memory", lambda: 0.3 },
  ({ base, memory, lambda }) => ({
    sources: [base, memory],
    mix: [
      { source: base, weight: 1 - lambda },
      { source: memory, weight: lambda },
    ],
  }),
);

export const standardized = definePreset(MEMBERS, (options) => ({
  sources: options.sources,
  lin: shares(options).map((share) => ({ ...share, norm: { zscore: { epsilon: 1e-7 } } })),
}));
