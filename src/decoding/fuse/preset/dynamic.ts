/**
 * Dynamic Logits Fusion: how much of what tuning did to a small model is added to a large one, found anew for each token.
 *
 *     dlf          one expert
 *     dlf-multi    several, of which the one that fits best is active
 *
 * Source: Fan et al. 2024, arXiv:2406.15480; the equations are in ../match.ts.
 */
import type { Match, Solver } from "../plan.ts";
import { definePreset } from "./define.ts";

export const dlf = definePreset(
  { base: "base", expert: "expert", anti: "anti", solver: "grid21" as Solver, limit: 2 },
  ({ base, expert, anti, solver, limit }) => ({
    sources: [base, expert, anti],
    let: { alpha: { match: { base, experts: [{ expert, anti }], solver, limit } } },
    lin: [
      { source: base },
      { source: expert, weight: "alpha" },
      { source: anti, weight: { mul: [-1, "alpha"] } },
    ],
  }),
);

/** `experts`: [tuned, untuned] by name; the untuned one may be the same for all. */
export const dlfMulti = definePreset(
  {
    base: "base",
    experts: [
      ["expert1", "anti"],
      ["expert2", "anti"],
    ] as readonly (readonly [expert: string, anti: string])[],
    solver: "grid21" as Solver,
    limit: 2,
  },
  ({ base, experts, solver, limit }) => {
    const match: Match = {
      base,
      experts: experts.map(([expert, anti]) => ({ expert, anti })),
      solver,
      limit,
    };
    const alphas = experts.map((_, at) => [`alpha${at + 1}`, { match, at }] as const);
    const antis = [...new Set(experts.map(([, anti]) => anti))];
    const alphasOf = (name: string) =>
      alphas.map(([alpha]) => alpha).filter((_, at) => experts[at][1] === name);
    return {
      sources: [...new Set([base, ...experts.flat()])],
      let: Object.fromEntries(alphas),
      lin: [
        { source: base },
        ...experts.map(([expert], at) => ({ source: expert, weight: `alpha${at + 1}` })),
        ...antis.map((anti) => ({ source: anti, weight: { mul: [-1, { add: alphasOf(anti) }] } })),
      ],
    };
  },
);
