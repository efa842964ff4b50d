/**
 * A classifier of what the text will be, asked for every next token.
 *
 *     fudge    log p + λ·log P(attribute | token), on the 200 likeliest tokens         Yang, Klein 2021, arXiv:2104.05218
 *     gedi     log p + ω·log P(class | token), on the 0.8 likeliest of the result      Krause et al. 2020, arXiv:2009.06367
 */
import { definePreset } from "./define.ts";

/** The row of `attribute` is log P(attribute | text, token). */
export const fudge = definePreset(
  { base: "base", attribute: "attribute", lambda: 1, topK: 200 },
  ({ base, attribute, lambda, topK }) => ({
    sources: [base, attribute],
    lin: [{ source: base }, { source: attribute, weight: lambda }],
    support: [{ topK, of: base }],
  }),
);

/**
 * Rows of a model that was told the wanted class, and of one that was told the other: by Bayes, with equal priors,
 * log P(class | token) = wanted − ln (e^wanted + e^unwanted).
 */
export const gedi = definePreset(
  { base: "base", wanted: "wanted", unwanted: "unwanted", omega: 30, topP: 0.8 },
  ({ base, wanted, unwanted, omega, topP }) => ({
    sources: [base, wanted, unwanted],
    rows: {
      either: {
        mix: [
          { source: wanted, norm: "raw" as const },
          { source: unwanted, norm: "raw" as const },
        ],
      },
    },
    lin: [{ source: base }, { source: wanted, weight: omega }, { source: "either", weight: -omega }],
    support: topP === 1 ? [] : [{ topP }],
  }),
);
