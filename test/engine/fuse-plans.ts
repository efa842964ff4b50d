/** Plans of every kind, over sources that share a vocabulary. Knows no platform. */
import type { FuseOptions, Model, Plan, Source } from "../../src/index.ts";
import { buildPlan, fusePreset, op, readPlan } from "../../src/index.ts";

export interface NamedPlan {
  readonly what: string;
  readonly plan: Plan;
  /** By the plan's names: the index of a model, and tokens before the text. */
  readonly members: Readonly<Record<string, readonly [model: number, prefix?: readonly number[]]>>;
  readonly options?: FuseOptions;
}

const three = { base: [0], expert: [1], anti: [2] } as const;

/** What follows each token in a corpus that goes around in a circle. */
function circle(vocab: number) {
  const ids = Array.from({ length: vocab }, (_, token) => (token + 1) % vocab);
  return {
    kind: "graph" as const,
    offsets: Array.from({ length: vocab + 1 }, (_, i) => i),
    ids,
    values: ids.map(() => 2),
  };
}

/** @param vocab Of all models. */
export function planZoo(vocab: number): readonly NamedPlan[] {
  return [
    { what: "proxy tuning", plan: fusePreset("proxy-tuning"), members: three },
    { what: "dexperts", plan: fusePreset("dexperts"), members: three },
    { what: "dlf, grid", plan: fusePreset("dlf"), members: three },
    { what: "dlf, continuous", plan: fusePreset("dlf", { solver: "continuous" }), members: three },
    { what: "contrastive", plan: fusePreset("contrastive"), members: { expert: [0], amateur: [2] } },
    {
      what: "cfg on two prefixes",
      plan: fusePreset("cfg"),
      members: { prompted: [0, [5, 6, 7]], plain: [0] },
    },
    {
      what: "cad",
      plan: fusePreset("cad", { topP: 0.9 }),
      members: { informed: [1, [9, 8]], plain: [1, [4]] },
    },
    { what: "nudging", plan: fusePreset("nudging"), members: { base: [0], tuned: [1] } },
    {
      what: "nudging by words",
      plan: fusePreset("nudging", { words: true, threshold: 0.4 }),
      members: { base: [0], tuned: [1] },
      options: {
        tables: {
          "word-starts": {
            kind: "dense",
            values: Array.from({ length: vocab }, (_, id) => (id % 4 === 0 ? 1 : 0)),
          },
        },
      },
    },
    {
      what: "gate",
      plan: fusePreset("confidence-gate", { threshold: 3 }),
      members: { small: [2], large: [0] },
    },
    {
      what: "early exit",
      plan: fusePreset("early-exit", {
        exits: ["exit1", "exit2", "final"],
        gates: [
          { weights: [3, -0.1, 2, -0.1], bias: -1 },
          { weights: [3, -0.1, 2, -0.1], bias: 0 },
        ],
      }),
      members: { exit1: [2], exit2: [1], final: [0] },
    },
    {
      what: "two ways to one source",
      plan: readPlan({
        sources: ["base", "expert", "anti"],
        route: [
          { source: "anti" },
          {
            route: [{ source: "anti" }, { source: "expert" }],
            by: { less: [{ stat: "max", of: "expert" }, 8] },
          },
        ],
        by: { less: [{ stat: "max", of: "base" }, 8] },
      }),
      members: three,
    },
    {
      what: "sampled mixture",
      plan: fusePreset("sampled-mixture", { sources: ["a", "b", "c"] }),
      members: { a: [0], b: [1], c: [2] },
    },
    { what: "mixture", plan: fusePreset("mixture"), members: { a: [0], b: [1] } },
    { what: "product", plan: fusePreset("product"), members: { a: [0], b: [1] } },
    {
      what: "mode switch",
      plan: fusePreset("mode-switch", { on: 11, off: 12 }),
      members: { base: [0] },
    },
    {
      what: "token graph",
      plan: fusePreset("grad", { graph: circle(vocab) }),
      members: { base: [0] },
    },
    {
      what: "smoothed weight",
      plan: buildPlan("base", "expert", "anti")
        .let("alpha", { match: { base: "base", experts: [{ expert: "expert", anti: "anti" }] } })
        .let("slow", { smooth: "alpha", rate: 0.3 })
        .lin({ base: 1, expert: "slow", anti: op("mul", -1, "slow") }),
      members: three,
    },
    {
      what: "first entropy decides for all",
      plan: readPlan({
        sources: ["base", "expert"],
        let: { first: { smooth: { stat: "entropy", of: "base" }, rate: 0 } },
        route: [{ source: "base" }, { lin: [{ source: "base" }, { source: "expert" }] }],
        by: { less: ["first", 4] },
      }),
      members: { base: [0], expert: [1] },
    },
    {
      what: "schedule",
      plan: readPlan({
        sources: ["base", "expert"],
        lin: [
          { source: "base" },
          {
            source: "expert",
            weight: {
              schedule: [
                [0, 0],
                [4, 1],
                [9, 0],
              ],
            },
          },
        ],
      }),
      members: { base: [0], expert: [1] },
    },
    {
      what: "router's numbers",
      plan: fusePreset("fusion-route"),
      members: { expert1: [0], expert2: [1], router: [2] },
      options: {
        inputs: (tokens) => ({ routing: [tokens.length % 3, (tokens.at(-1) ?? 0) % 2] }),
      },
    },
  ];
}

/** What `fuse` and `fuseModels` take. */
export function membersOf<S extends Source | Model>(
  { members }: NamedPlan,
  models: readonly S[],
): Record<string, { source: S; prefix?: readonly number[] }> {
  return Object.fromEntries(
    Object.entries(members).map(([name, [index, prefix]]) => [name, { source: models[index], prefix }]),
  );
}
