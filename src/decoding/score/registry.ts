/** All scores by name. */
import * as confidence from "./confidence.ts";
import * as distillation from "./distillation.ts";
import * as divergence from "./divergence.ts";
import { graphOnLogits } from "./graph-on-logits.ts";
import type { ScoreKind } from "./kind.ts";
import * as likelihood from "./likelihood.ts";
import { uskd } from "./uskd.ts";
import { hKl, pKl } from "./x-token.ts";

export const SCORE_KINDS = {
  // A row at the token that was right.
  nll: likelihood.nll,
  rank: likelihood.rank,
  "top-k-accuracy": likelihood.topKAccuracy,
  "z-loss": likelihood.zLoss,
  dice: likelihood.dice,
  "lp-reg": divergence.lpReg,
  // A row by itself.
  "max-probability": confidence.maxProbability,
  "max-logit": confidence.maxLogit,
  "log-partition": confidence.logPartition,
  energy: confidence.energy,
  margin: confidence.margin,
  "logit-gap": confidence.logitGap,
  entropy: confidence.entropyScore,
  "renyi-entropy": confidence.renyiEntropy,
  "escort-entropy": confidence.escortEntropy,
  "kl-to-uniform": confidence.klToUniform,
  kurtosis: confidence.kurtosis,
  "significant-tokens": likelihood.significantTokens,
  "palm-z-loss": likelihood.palmZLoss,
  "jei-gate": confidence.jeiGate,
  nan: confidence.nan,
  // A row against a reference.
  "cross-entropy": divergence.crossEntropyScore,
  kl: divergence.kl,
  "reverse-kl": divergence.reverseKl,
  jeffreys: divergence.jeffreys,
  "jensen-shannon": divergence.jensenShannon,
  "total-variation": divergence.totalVariationScore,
  acceptance: divergence.acceptance,
  "threshold-acceptance": divergence.thresholdAcceptance,
  "top-k-agreement": divergence.topKAgreement,
  k3: divergence.k3,
  // Distillation losses.
  nkd: distillation.nkd,
  uskd,
  pld: distillation.pld,
  "binary-kl": distillation.binaryKl,
  dhkd: distillation.dhkd,
  "standardized-kd": distillation.standardizedKd,
  // Of several positions, or of two vocabularies.
  "graph-on-logits": graphOnLogits,
  "p-kl": pKl,
  "h-kl": hKl,
} as const;

export type ScoreName = keyof typeof SCORE_KINDS;

export const SCORE_NAMES = Object.keys(SCORE_KINDS) as readonly ScoreName[];

/** Options of a score by name; each may be left out, but those of a kind without defaults ("jei-gate"). */
export type ScoreOptions<Name extends ScoreName = ScoreName> =
  (typeof SCORE_KINDS)[Name] extends ScoreKind<infer _, infer Options> ? Partial<Options> : never;

/** A score with its options, plain JSON: `{ score: "energy", temperature: 2 }`. */
export type ScoreSpec = { [Name in ScoreName]: { readonly score: Name } & ScoreOptions<Name> }[ScoreName];

/** @throws {RangeError} If there is none of that name. */
export function findScore(name: string): ScoreKind {
  if (!Object.hasOwn(SCORE_KINDS, name)) {
    const got = typeof name === "string" ? JSON.stringify(name.slice(0, 40)) : typeof name;
    throw new RangeError(`"score" must be one of ${SCORE_NAMES.join(", ")}, got ${got}`);
  }
  // Its input and options are what its own `needs` and `read` give.
  return SCORE_KINDS[name as ScoreName] as unknown as ScoreKind;
}
