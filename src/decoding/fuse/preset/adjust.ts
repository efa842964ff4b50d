/**
 * One model's row, adjusted.
 *
 *     min-p               p ≥ 0.1·max p                                    Nguyen et al. 2024, arXiv:2407.01082
 *     lp-reg              the same with 0.02: the proxy of Lp-Reg          arXiv:2510.03222
 *     amu                 base + α·κ·zscore(helper), κ of the base's uncertainty        Tang et al. 2024, arXiv:2404.08958
 *     logit-adjustment    z − τ·ln prior, prior from counts of classes     Menon et al. 2021, arXiv:2007.07314
 *     margin              z + C / n^¼, the margins of LDAM given back     Cao et al. 2019, arXiv:1906.07413
 *     steer               W(h + a·v) = Wh + a·Wv: Wv is a row that is always the same
 *     logit-mask          bias by token, then allowed or forbidden ones
 */
import { log } from "../../../math.ts";
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
  deviation: (of) => ({ stat: "probabilityDeviation", of }),
  /** Kurtosis, over a constant that fits 1000 classes. */
  moment: (of, power) => ({ pow: [{ div: [{ stat: "probabilityKurtosis", of }, 250] }, -power] }),
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

/** `counts`: how often each class was seen, one per token, all above 0. */
export const logitAdjustment = definePreset(
  { source: "base", counts: [] as readonly number[], tau: 1 },
  ({ source, counts, tau }) => {
    const total = expectCounts(counts).reduce((sum, count) => sum + count, 0);
    return {
      sources: [source],
      tables: { prior: { kind: "dense" as const, values: counts.map((count) => log(count / total)) } },
      lin: [{ source }, { table: "prior", weight: -tau }],
    };
  },
);

/** The rarest class gets `largest`, the others less: training with margins took that much from the right class. */
export const margin = definePreset(
  { source: "base", counts: [] as readonly number[], largest: 0.5 },
  ({ source, counts, largest }) => {
    const shapes = expectCounts(counts).map((count) => 1 / Math.sqrt(Math.sqrt(count)));
    const scale = shapes.reduce((most, shape) => Math.max(most, shape), 0);
    return {
      sources: [source],
      tables: { margins: { kind: "dense" as const, values: shapes.map((shape) => shape / scale) } },
      lin: [{ source }, { table: "margins", weight: largest }],
    };
  },
);

function expectCounts(counts: readonly number[]): readonly number[] {
  const wrong = counts.findIndex((count) => !(count > 0 && count < Infinity));
  if (counts.length === 0) throw new RangeError('"options.counts" must have a count per token, got none');
  if (wrong >= 0) throw new RangeError(`"options.counts[${wrong}]" must be above 0, got ${counts[wrong]}`);
  return counts;
}

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
