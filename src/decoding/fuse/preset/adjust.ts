/**
 * One model's row, adjusted.
 *
 *     min-p               p ≥ 0.1·max p                                    Nguyen et al. 2024, arXiv:2407.01082
 *     lp-reg              the same with 0.02: the proxy of Lp-Reg          arXiv:2510.03222
 *     amu                 base + α·κ·zscore(helper), κ of the base's uncertainty        Tang et al. 2024, arXiv:2404.08958
 *     steer               W(h + a·v) = Wh + a·Wv: Wv is a row that is always the same
 *     logit-mask          bias by token, then allowed or forbidden ones
 */
import type { Support, Value } from "../plan.ts";
import { definePreset } from "./define.ts";

export const minP = definePreset({ source: "base", p: 0.1 }, ({ source, p }) => ({
  sources: [source],
  source,
  support: [{ minP: p }],
}));

export const lpReg = definePreset({ source: "base", rho: 0.02 }, ({ source, rho }) => ({
  sources: [source],
  source,
  support: [{ minP: rho }],
}));

/** κ as a function of the base's probabilities p. */
const UNCERTAINTIES = {
  none: () => 1,
  /** exp(power · H / ln vocab) */
  entropy: (of, power) => ({
    exp: [{ mul: [power, { div: [{ stat: "entropy", of }, { log: [{ stat: "vocab", of }] }] }] }],
  }),
  max: (of, power) => ({ pow: [{ stat: "maxProbability", of }, -power] }),
  "max-min": (of, power) => ({
    pow: [
      {
        sub: [
          { stat: "maxProbability", of },
          { stat: "minProbability", of },
        ],
      },
      -power,
    ],
  }),
  top5: (of, power) => ({
    pow: [{ sub: [{ stat: "maxProbability", of }, nthProbability(of, 5)] }, -power],
  }),
  energy: (of, power) => ({ pow: [{ stat: "probabilityEnergy", of }, -power] }),
  /** The one that grows where the base is sure; as published. */
  deviation: (of) => ({ stat: "probabilityDeviation", of }),
  /** Kurtosis, over a constant that fits 1000 classes. */
  moment: (of, power) => ({ pow: [{ div: [{ stat: "probabilityKurtosis", of }, 250] }, -power] }),
  /** The same at 1000 classes, and as strong at any other number of them: kurtosis grows with it. */
  "relative-moment": (of, power) => ({
    pow: [{ div: [{ mul: [4, { stat: "probabilityKurtosis", of }] }, { stat: "vocab", of }] }, -power],
  }),
} satisfies Record<string, (of: string, power: number) => Value>;

export type Uncertainty = keyof typeof UNCERTAINTIES;

function nthProbability(of: string, n: number): Value {
  return {
    exp: [
      {
        sub: [
          { stat: "nth", of, n },
          { stat: "logPartition", of },
        ],
      },
    ],
  };
}

/** The published script uses "none"; the paper's own measure is "moment". */
export const amu = definePreset(
  { base: "base", helper: "helper", alpha: 0.5, power: 0.4, uncertainty: "moment" as Uncertainty },
  ({ base, helper, alpha, power, uncertainty }) => {
    if (!Object.hasOwn(UNCERTAINTIES, uncertainty)) {
      const names = Object.keys(UNCERTAINTIES).join(", ");
      throw new RangeError(`"options.uncertainty" must be one of ${names}, got "${uncertainty}"`);
    }
    return {
      sources: [base, helper],
      let: { kappa: UNCERTAINTIES[uncertainty](base, power) },
      lin: [{ source: base }, { source: helper, norm: "zscore" as const, weight: { mul: [alpha, "kappa"] } }],
    };
  },
);

/** `concept`: a source whose row is W·v, whatever the text. */
export const steer = definePreset(
  { source: "base", concept: "concept", strength: 1 },
  ({ source, concept, strength }) => ({
    sources: [source, concept],
    lin: [{ source }, { source: concept, weight: strength }],
  }),
);

/** `bias` by token id; tokens that a step's bitmask does not allow go too. */
export const logitMask = definePreset(
  {
    source: "base",
    bias: {} as Readonly<Record<string, number>>,
    allow: null as readonly number[] | null,
    forbid: [] as readonly number[],
  },
  ({ source, bias, allow, forbid }) => {
    const support: Support[] = [{ bitmask: true }];
    if (allow !== null) support.push({ allow });
    if (forbid.length > 0) support.push({ forbid });
    const ids = Object.keys(bias).map(Number);
    return {
      sources: [source],
      tables: { bias: { kind: "sparse" as const, ids, values: Object.values(bias) } },
      lin: [{ source }, { table: "bias" }],
      support,
    };
  },
);
