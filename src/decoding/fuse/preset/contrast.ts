/**
 * Contrast of two rows: what one says and the other does not.
 *
 *     contrastive          log p_expert − c·log p_amateur on p_expert ≥ 0.1·max     Li et al. 2022, arXiv:2210.15097
 *     contrastive-logits   (1 + β)·expert − β·amateur, β = 0.5, same cut            O'Brien, Lewis 2023, arXiv:2309.09117
 *     cfg                  plain + γ·(prompted − plain), γ = 1.5                    Sanchez et al. 2023, arXiv:2306.17806
 *     cad                  (1 + α)·informed − α·plain, α = 0.5                      Shi et al. 2023, arXiv:2305.14739
 *     align-distil         (1 + w)·tuned − w·reverse, w = 15·Σ|p − q| + 0.001       Zhang et al. 2025, arXiv:2503.02832
 *
 * In cfg and cad both rows are of one model, on two prefixes.
 */
import type { Support } from "../plan.ts";
import { definePreset } from "./define.ts";

const AMATEUR = { expert: "expert", amateur: "amateur", plausibility: 0.1 };

const plausible = (expert: string, plausibility: number): Support[] => [{ minP: plausibility, of: expert }];

export const contrastive = definePreset(
  { ...AMATEUR, coefficient: 1, amateurTemperature: 0.5 },
  ({ expert, amateur, plausibility, coefficient, amateurTemperature }) => ({
    sources: [expert, amateur],
    lin: [
      { source: expert, norm: "logsoftmax" as const },
      { source: amateur, temperature: amateurTemperature, norm: "logsoftmax" as const, weight: -coefficient },
    ],
    support: plausible(expert, plausibility),
  }),
);

export const contrastiveLogits = definePreset(
  { ...AMATEUR, beta: 0.5 },
  ({ expert, amateur, plausibility, beta }) => ({
    sources: [expert, amateur],
    lin: [
      { source: expert, weight: 1 + beta },
      { source: amateur, weight: -beta },
    ],
    support: plausible(expert, plausibility),
  }),
);

export const cfg = definePreset(
  { prompted: "prompted", plain: "plain", gamma: 1.5 },
  ({ prompted, plain, gamma }) => ({
    sources: [prompted, plain],
    lin: [
      { source: prompted, weight: gamma },
      { source: plain, weight: 1 - gamma },
    ],
  }),
);

/**
 * `topP` cuts by the informed row. The authors' code cuts the plain row too, by finite penalties, which leaves a choice
 * where no token is likely under both; a cut cannot, so the row that is being trusted decides alone.
 */
export const cad = definePreset(
  { informed: "informed", plain: "plain", alpha: 0.5, topP: 1 },
  ({ informed, plain, alpha, topP }) => ({
    sources: [informed, plain],
    lin: [
      { source: informed, weight: 1 + alpha },
      { source: plain, weight: -alpha },
    ],
    support: topP === 1 ? [] : [{ topP, of: informed }],
  }),
);

/** β₂ is 15 on-policy, 10 off-policy. */
export const alignDistil = definePreset(
  { tuned: "tuned", reverse: "reverse", beta2: 15 },
  ({ tuned, reverse, beta2 }) => ({
    sources: [tuned, reverse],
    let: { w: { add: [{ mul: [beta2, { stat: "l1" as const, of: tuned, to: reverse }] }, 1e-3] } },
    lin: [
      { source: tuned, weight: { add: [1, "w"] } },
      { source: reverse, weight: { mul: [-1, "w"] } },
    ],
  }),
);
