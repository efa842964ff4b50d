/**
 * Routes: another model for another token. Those that are not chosen are not computed.
 *
 *     fusion-route      the expert with the largest routing number, plus the router's own row   arXiv:2601.05106
 *     co-llm            a column behind the row says whether to defer: σ(z) > η                 Shen et al. 2024, arXiv:2403.03870
 *     nudging           a tuned small model where the base is unsure: max p < 0.3, by token or word    Fei et al. 2024, arXiv:2410.09300
 *     confidence-gate   a large model where a statistic of a small one passes a threshold
 *     early-exit        the first exit whose gate opens                                         JEI-DNN: Regol et al. 2023, arXiv:2310.09163
 *     mode-switch       the first token, one of two, by their margin and a bias                 after arXiv:2505.20101
 */
import type { Node, StatisticName, Value } from "../plan.ts";
import { definePreset } from "./define.ts";

/** The host gives the routing numbers, one per expert, as the input "routing". */
export const fusionRoute = definePreset(
  { experts: ["expert1", "expert2"] as readonly string[], router: "router" },
  ({ experts, router }) => ({
    sources: [...experts, router],
    inputs: { routing: experts.length },
    route: experts.map((expert) => ({ lin: [{ source: expert }, { source: router }] })),
    by: { argmax: experts.map((_, at) => ({ input: "routing", at })) },
  }),
);

/** Rows of `base` have one column more than the vocabulary. */
export const coLlm = definePreset(
  { base: "base", large: "large", threshold: 0.5 },
  ({ base, large, threshold }) => ({
    sources: [{ name: base, extra: 1 }, large],
    route: [{ source: base }, { source: large }],
    by: { less: [threshold, { sigmoid: [{ stat: "extra" as const, of: base }] }] },
  }),
);

/**
 * `words`: whole words of the tuned model, as in the paper. What it begins where the base is unsure it ends: until its best
 * token begins a word, by the table "word-starts", (vocab) 1 or 0, which `fuseModels` makes.
 */
export const nudging = definePreset(
  { base: "base", tuned: "tuned", threshold: 0.3, words: false },
  ({ base, tuned, threshold, words }) => {
    const unsure: Value = { less: [{ stat: "maxProbability", of: base }, threshold] };
    const route = [{ source: base }, { source: tuned }];
    if (!words) return { sources: [base, tuned], route, by: unsure };
    return {
      sources: [base, tuned],
      tables: { "word-starts": { kind: "given" as const, like: "dense" as const } },
      rows: { starts: { table: "word-starts" } },
      let: {
        unsure,
        begins: { stat: "logit" as const, of: "starts", token: { stat: "argmax" as const, of: tuned } },
        nudged: { smooth: "unsure", rate: { max: ["unsure", "begins"] } },
      },
      route,
      by: "nudged",
    };
  },
);

/** Large where the statistic of small is above the threshold, as entropy is; with `below`, as of a margin, below it. */
export const confidenceGate = definePreset(
  { small: "small", large: "large", statistic: "entropy" as StatisticName, threshold: 1, below: false },
  ({ small, large, statistic, threshold, below }) => {
    const value: Value = { stat: statistic, of: small };
    return {
      sources: [small, large],
      route: [{ source: small }, { source: large }],
      by: { less: below ? [value, threshold] : [threshold, value] },
    };
  },
);

/** Of [max p, entropy, p₁ − p₂, entropy of p² / Σp²]. */
export interface ExitGate {
  readonly weights: readonly [number, number, number, number];
  readonly bias: number;
}

/** Below this, the chance that is left after earlier exits counts as none. */
const LEAST_CHANCE = 1e-9;

/**
 * One gate per exit but the last, which is always open. g = σ(weights · features + bias); the gate opens with chance
 * a = min(1, g / Π (1 − earlier a)), and exit is where a ≥ 1/2.
 */
export const earlyExit = definePreset(
  {
    exits: ["exit1", "final"] as readonly string[],
    gates: [{ weights: [3, -1, 2, -1], bias: -2 }] as readonly ExitGate[],
  },
  ({ exits, gates }) => {
    const last = exits.length - 1;
    if (gates.length !== last) {
      throw new RangeError(
        `"options.gates" must have ${last} gates, one per exit but the last, got ${gates.length}`,
      );
    }
    const chances = gates.flatMap(({ weights, bias }, at): [string, Value][] => {
      const earlier = Array.from({ length: at }, (_, index): Value => ({ sub: [1, `chance${index + 1}`] }));
      const left: Value = { max: [LEAST_CHANCE, { mul: [1, ...earlier] }] };
      return [
        [`gate${at + 1}`, gate(exits[at], weights, bias)],
        [`chance${at + 1}`, { min: [1, { div: [`gate${at + 1}`, left] }] }],
      ];
    });
    // From the last exit backwards: each stays, or hands on to those after it.
    const node = gates.reduceRight<Node>(
      (rest, _, at) => ({
        route: [{ source: exits[at] }, rest],
        by: { less: [`chance${at + 1}`, 0.5] },
      }),
      { source: exits[last] },
    );
    return { sources: exits, let: Object.fromEntries(chances), ...node };
  },
);

const FEATURES = ["maxProbability", "entropy", "margin", "squareEntropy"] as const;

function gate(of: string, weights: readonly number[], bias: number): Value {
  const terms = FEATURES.map((stat, index): Value => ({ mul: [weights[index], { stat, of }] }));
  return { sigmoid: [{ add: [...terms, bias] }] };
}

/** `bias` of the user towards `on`. Decides at the first token of the output and leaves all others alone. */
export const modeSwitch = definePreset(
  { source: "base", on: 0, off: 1, bias: 0, threshold: 0.5 },
  ({ source, on, off, bias, threshold }) => {
    const logit = (token: number): Value => ({ stat: "logit", of: source, token });
    return {
      sources: [source],
      let: {
        first: {
          schedule: [
            [0, 1],
            [1, 0],
          ] as const,
        },
        on: { sigmoid: [{ add: [{ sub: [logit(on), logit(off)] }, bias] }] },
      },
      // 0: not the first token; 1: on; 2: off.
      route: [{ source }, { source, support: [{ allow: [on] }] }, { source, support: [{ allow: [off] }] }],
      by: { mul: ["first", { add: [1, { less: ["on", threshold] }] }] },
    };
  },
);
