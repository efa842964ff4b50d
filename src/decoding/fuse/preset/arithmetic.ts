/**
 * Arithmetic of logits with constant weights.
 *
 *     proxy-tuning        base + α·(expert − anti), α = 1          Liu et al. 2024, arXiv:2401.08565
 *     dexperts            the same with α = 2, on top-p 0.9 of the base   Liu et al. 2021, arXiv:2105.03023
 *     offset-unlearning   the same: the offset that made a small model forget    Huang et al. 2024, arXiv:2404.11045
 *     trimix              α·large + β·tuned + (1 − α − β)·small    arXiv:2604.18106
 *     uld                 base + w·assistant, w = −0.8, on the likely tokens of the base   Ji et al. 2024, arXiv:2406.08607
 */
import type { Support } from "../plan.ts";
import { definePreset } from "./define.ts";

const OFFSET = { base: "base", expert: "expert", anti: "anti" };

const offset = (base: string, expert: string, anti: string, alpha: number) => ({
  sources: [base, expert, anti],
  lin: [{ source: base }, { source: expert, weight: alpha }, { source: anti, weight: -alpha }],
});

export const proxyTuning = definePreset({ ...OFFSET, alpha: 1 }, ({ base, expert, anti, alpha }) =>
  offset(base, expert, anti, alpha),
);

export const dexperts = definePreset(
  { ...OFFSET, alpha: 2, topP: 0.9 },
  ({ base, expert, anti, alpha, topP }) => ({
    ...offset(base, expert, anti, alpha),
    support: [{ topP, of: base }],
  }),
);

export const offsetUnlearning = definePreset(
  { base: "base", unlearned: "unlearned", small: "small", alpha: 1 },
  ({ base, unlearned, small, alpha }) => offset(base, unlearned, small, alpha),
);

/** `plausibility`: only tokens above this share of the most likely one of the source `judge`; ties at it go. */
export const trimix = definePreset(
  {
    large: "large",
    tuned: "tuned",
    small: "small",
    alpha: 0.1,
    beta: 0.9,
    plausibility: null as number | null,
    judge: null as string | null,
  },
  ({ large, tuned, small, alpha, beta, plausibility, judge }) => ({
    sources: [large, tuned, small],
    lin: [
      { source: large, weight: alpha },
      { source: tuned, weight: beta },
      { source: small, weight: 1 - alpha - beta },
    ],
    support:
      plausibility === null
        ? []
        : [{ minP: plausibility, of: judge ?? large, ties: "drop" } satisfies Support],
  }),
);

/**
 * `filter` 0 is none. `compat`: where the vocabulary is so small that the filter's share of it is no token, it keeps all,
 * as the authors' code does.
 */
export const uld = definePreset(
  { base: "base", assistant: "assistant", weight: -0.8, filter: 0.01, compat: false },
  ({ base, assistant, weight, filter, compat }) => ({
    sources: [base, assistant],
    lin: [{ source: base }, { source: assistant, weight }],
    support: filter === 0 ? [] : [{ relTop: filter, of: base, compat }],
  }),
);
