/** One position of a plan: which rows it asks for, what it remembers, what it tells, what it refuses. */
import { describe, expect, it } from "vitest";
import {
  compilePlan,
  evaluatePlan,
  type FuseContext,
  fusePreset,
  neededSources,
  type Plan,
  type RowsByName,
  referenceKernels,
  type SourceRow,
  Step,
} from "../../../src/decoding/fuse.ts";
import { createRandom } from "../../support/random.ts";
import { ln, randomRow } from "./support.ts";

const UNSURE = [1, 1, 1, 1];
const SURE = [9, 0, 0, 0];

describe("needs", () => {
  it("are told before rows are computed, and shrink as they come", () => {
    const plan: Plan = {
      sources: ["small", "middle", "large", "judge"],
      route: [
        { source: "small" },
        {
          route: [{ source: "middle" }, { lin: [{ source: "large" }, { source: "middle", weight: -0.5 }] }],
          by: { less: [{ stat: "maxProbability", of: "middle" }, 0.5] },
        },
      ],
      by: {
        less: [
          { stat: "maxProbability", of: "small" },
          { stat: "maxProbability", of: "judge" },
        ],
      },
    };
    const program = compilePlan(plan);
    const step = new Step(program, referenceKernels);
    expect(step.needs).toEqual(["small", "judge"]);
    step.provide({ judge: SURE });
    expect(step.needs).toEqual(["small"]);
    expect(() => step.finish()).toThrow('Cannot fuse: the row of source "small" is missing');
    step.provide({ small: UNSURE });
    expect(step.needs).toEqual(["middle"]);
    step.provide({ middle: UNSURE });
    expect(step.needs).toEqual(["large"]);
    step.provide({ large: SURE });
    expect(step.needs).toEqual([]);
    expect(Array.from(step.finish().row)).toEqual([8.5, -0.5, -0.5, -0.5]);
    expect(neededSources(program, { small: SURE, judge: UNSURE })).toEqual([]);
    expect(neededSources(program, { small: UNSURE, judge: SURE, middle: SURE })).toEqual([]);
  });

  it("are followed to the end if all rows are there at once, with the same result", () => {
    const random = createRandom(1);
    const plan = fusePreset("early-exit", {
      exits: ["a", "b", "c"],
      gates: [
        { weights: [1, -1, 1, -1], bias: 0 },
        { weights: [2, -1, 0, 0], bias: 0 },
      ],
    });
    const asked = new Set<number>();
    for (let round = 0; round < 30; round++) {
      const rows: Record<string, SourceRow> = {
        a: randomRow(random, 9, 2),
        b: randomRow(random, 9, 2),
        c: randomRow(random, 9),
      };
      const step = new Step(compilePlan(plan), referenceKernels);
      let given = 0;
      for (; step.needs.length > 0; given++) step.provide({ [step.needs[0]]: rows[step.needs[0]] });
      expect(step.finish().row).toEqual(evaluatePlan(plan, rows).row);
      expect(step.finish().row).toEqual(rows["abc"[given - 1]]);
      asked.add(given);
    }
    expect([...asked].sort()).toEqual([1, 2, 3]);
  });

  it("never look at a row that nothing needs", () => {
    const plan = fusePreset("nudging");
    expect(Array.from(evaluatePlan(plan, { base: SURE, tuned: [NaN] }).row)).toEqual(SURE);
    expect(() => evaluatePlan(plan, { base: UNSURE, tuned: [NaN] })).toThrow('"rows.tuned" must have');
  });
});

describe("memory", () => {
  const smoothed = (rate: number): Plan => ({
    sources: ["a", "b"],
    lin: [{ source: "a", weight: { smooth: { stat: "max", of: "b" }, rate } }],
  });
  const weights = (plan: Plan, maxima: readonly number[]) => {
    let state: FuseContext["state"];
    return maxima.map((max) => {
      const fused = evaluatePlan(
        plan,
        { a: [1, 0], b: [max, 0] },
        { state: state && JSON.parse(JSON.stringify(state)) },
      );
      state = fused.state;
      return fused.row[0];
    });
  };

  it("moves towards each value, from the first one on", () => {
    expect(weights(smoothed(0.5), [2, 4, 4, 8])).toEqual([2, 3, 3.5, 5.75]);
    expect(weights(smoothed(1), [2, 4, 4, 8])).toEqual([2, 4, 4, 8]);
  });

  it("of rate 0 keeps the first, and then asks for nothing more", () => {
    expect(weights(smoothed(0), [2, 4, 8])).toEqual([2, 2, 2]);
    const { state } = evaluatePlan(smoothed(0), { a: [1, 0], b: [2, 0] });
    expect(neededSources(smoothed(0), {}, { state })).toEqual(["a"]);
  });

  it("stays where a step does not come by", () => {
    const weight = { smooth: { stat: "max", of: "b" }, rate: 0.5 } as const;
    const plan: Plan = {
      sources: ["a", "b"],
      route: [{ source: "a" }, { lin: [{ source: "a", weight }] }],
      by: {
        schedule: [
          [0, 1],
          [1, 0],
          [2, 1],
        ],
      },
    };
    let state: FuseContext["state"];
    const memory = [2, 100, 4].map((max, step) => {
      state = evaluatePlan(plan, { a: [1, 0], b: [max, 0] }, { state, step }).state;
      return state.memory[0];
    });
    expect(memory).toEqual([2, 2, 3]);
  });

  it("goes by place, not by how often it is named", () => {
    const plan: Plan = {
      sources: ["a"],
      let: { m: { smooth: { stat: "max", of: "a" }, rate: 0.5 } },
      lin: [
        { source: "a", weight: "m" },
        { source: "a", weight: "m" },
        { source: "a", weight: { smooth: 1, rate: 1 } },
      ],
    };
    expect(compilePlan(plan).memory).toBe(2);
  });
});

describe("audit", () => {
  it("tells weights, routes and entropies of what was used", () => {
    const plan = fusePreset("nudging");
    const { audit } = evaluatePlan(plan, { base: UNSURE, tuned: ln(1, 1, 0, 0) }, { audit: true });
    expect(audit).toMatchObject({
      sources: ["base", "tuned"],
      routes: [{ path: "plan", choice: 1 }],
      weights: [],
      matches: [],
    });
    expect(audit!.entropies.base).toBeCloseTo(Math.log(4), 12);
    expect(audit!.entropy).toBeCloseTo(Math.LN2, 12);
    expect(evaluatePlan(plan, { base: SURE, tuned: UNSURE }, { audit: true }).audit!.sources).toEqual([
      "base",
    ]);
    expect(evaluatePlan(plan, { base: SURE }).audit).toBe(undefined);
  });

  it("is plain data", () => {
    const { audit } = evaluatePlan(
      fusePreset("dlf"),
      { base: SURE, expert: UNSURE, anti: SURE },
      { audit: true },
    );
    expect(JSON.parse(JSON.stringify(audit))).toEqual(audit);
    expect(audit!.weights).toEqual([
      { path: "plan", weights: [1, audit!.matches[0].alpha, -audit!.matches[0].alpha] },
    ]);
  });
});

describe("bad input", () => {
  const plan = fusePreset("mixture");
  const good = [1, 2];
  const truncated = { ids: [0], logProbabilities: [-0.1], tailMass: 0.1, vocab: 2 };
  it.each<[RowsByName, string]>([
    [{ a: good }, 'Cannot fuse: the row of source "b" is missing'],
    [{ a: good, c: good }, '"rows" must be of a, b, got "c"'],
    [{ a: good, b: [1, NaN] }, '"rows.b" must have logits that are f32 below ∞, got NaN at token 1'],
    [
      { a: [Infinity, 1], b: good },
      '"rows.a" must have logits that are f32 below ∞, got Infinity at token 0',
    ],
    [{ a: [1e39, 1], b: good }, '"rows.a" must have logits that are f32 below ∞, got 1e+39 at token 0'],
    [{ a: ["1", 1] as never, b: good }, '"rows.a" must have logits that are f32 below ∞, got 1 at token 0'],
    [
      { a: [undefined, 1] as never, b: good },
      '"rows.a" must have logits that are f32 below ∞, got undefined at token 0',
    ],
    [{ a: [-Infinity, -Infinity], b: good }, '"rows.a" must have a logit above −∞, got none'],
    [{ a: [], b: good }, '"rows.a" must have from 1 to 1048576 values, got 0'],
    [{ a: null as never, b: good }, '"rows.a" must be an array, got null'],
    [{ a: {} as never, b: good }, '"rows.a" must be an array, got object'],
    [{ a: "12" as never, b: good }, '"rows.a" must be an array, got string'],
    [{ a: good, b: [1, 2, 3] }, '"rows.b" must have 2 tokens, as "rows.a" has, got 3'],
    [{ a: good, b: { ...truncated, vocab: 3 } }, '"rows.b" must have 2 tokens, as "rows.a" has, got 3'],
    [
      { a: good, b: { ...truncated, vocab: 0.5 } },
      '"rows.b" must have a vocabulary of 1 to 1048576 tokens, got 0.5',
    ],
    [{ a: good, b: { ...truncated, ids: [2] } }, '"rows.b" must have ids below 2, each once, got 2'],
    [
      { a: good, b: { ...truncated, ids: [0, 0], logProbabilities: [-1, -1] } },
      '"rows.b" must have ids below 2, each once, got 0',
    ],
    [
      { a: good, b: { ...truncated, ids: [0, 1] } },
      '"rows.b" must have as many log-probabilities as ids, got 1 and 2',
    ],
    [{ a: good, b: { ...truncated, tailMass: 2 } }, '"rows.b.tailMass" must be a number from 0 to 1, got 2'],
    [
      { a: good, b: { ...truncated, logProbabilities: [NaN] } },
      '"rows.b" must have logits that are f32 below ∞, got NaN at token 0',
    ],
    [{ a: good, b: { ids: 3, vocab: 2 } as never }, '"rows.b.ids" must be an array, got number'],
  ])("%#: rows are refused by name", (rows, message) => {
    expect(() => evaluatePlan(plan, rows)).toThrow(message);
  });

  const inputs: Plan = {
    sources: ["a"],
    inputs: { x: 2 },
    lin: [{ source: "a", weight: { input: "x", at: 1 } }],
  };
  const graph = fusePreset("grad");
  const mask: Plan = { sources: ["a"], source: "a", support: [{ bitmask: true }] };
  const memory: Plan = { sources: ["a"], lin: [{ source: "a", weight: { smooth: 1, rate: 1 } }] };
  const table = { kind: "graph", offsets: [0, 1], ids: [5], values: [1] } as const;
  it.each<[Plan, FuseContext, string]>([
    [inputs, {}, '"inputs.x" must be given, got undefined'],
    [inputs, { inputs: { x: [1] } }, '"inputs.x" must have 2 numbers, got 1'],
    [inputs, { inputs: { x: [1, NaN] } }, '"inputs.x[1]" must be finite, got NaN'],
    [graph, { last: 0 }, '"tables.graph" must be given, got undefined'],
    [
      graph,
      { last: 0, tables: { graph: { kind: "dense", values: [1] } } },
      '"tables.graph.kind" must be one of "graph", got "dense"',
    ],
    [
      graph,
      { last: 0, tables: { graph: { ...table, ids: [-1] } } },
      '"tables.graph.ids[0]" must be an integer from 0 to 1048575, got -1',
    ],
    [graph, { last: 0, tables: { graph: table } }, '"plan.tables.graph.ids" must be below 2, got 5'],
    [
      graph,
      { tables: { graph: { ...table, ids: [1] } } },
      '"last" must be given, as the plan has a graph, got undefined',
    ],
    [mask, { bitmask: new Uint32Array(0) }, '"bitmask" must have 1 words for 2 tokens, got 0'],
    [mask, { bitmask: new Uint32Array(1) }, "Cannot fuse: the plan leaves no token above −∞"],
    [memory, { state: { memory: [] } }, '"state.memory" must have 1 numbers or nulls'],
    [memory, { state: {} as never }, '"state.memory" must have 1 numbers or nulls'],
    [memory, { state: null as never }, '"state" must be an object, got null'],
    [memory, { step: -1 }, '"step" must be an integer from 0'],
    [memory, { position: 2 ** 32 }, '"position" must be an integer from 0'],
    [memory, { seed: 0.5 }, '"seed" must be an integer from 0'],
    [memory, { last: -1 }, '"last" must be an integer from 0'],
  ])("%#: contexts are refused by field", (given, context, message) => {
    const row = [1, 2];
    const name = given === graph ? "base" : "a";
    expect(() => evaluatePlan(given, { [name]: row }, context)).toThrow(message);
  });

  const lin = (weight: object): Plan => ({ sources: ["a"], lin: [{ source: "a", weight: weight as never }] });
  it.each<[Plan, string]>([
    [lin({ log: [-1] }), '"plan.lin[0].weight" must be a number, got NaN'],
    [lin({ stat: "logit", of: "a", token: 2 }), '"plan.lin[0].weight.token" must be a token below 2, got 2'],
    [lin({ mul: [0, 1] }), '"plan.lin" must have a weight that is not 0'],
    [
      { sources: ["a"], mix: [{ source: "a", weight: { sub: [0, 1] } }] },
      '"plan.mix[0].weight" must be finite and not negative, got -1',
    ],
    [{ sources: ["a"], mix: [{ source: "a", weight: 0 }] }, '"plan.mix" must have a weight above 0'],
    [
      { sources: ["a"], route: [{ source: "a" }, { source: "a" }], by: 2 },
      '"plan.by" must be an integer from 0 to 1, got 2',
    ],
    [
      { sources: ["a"], source: "a", support: [{ forbid: [0, 1] }] },
      "Cannot fuse: the plan leaves no token above −∞",
    ],
    [
      { sources: ["a"], mix: [{ source: "a", support: [{ forbid: [0, 1] }] }] },
      '"plan.mix[0]" must leave a token above −∞',
    ],
  ])("%#: what numbers make impossible names the place in the plan", (given, message) => {
    expect(() => evaluatePlan(given, { a: [1, 2] })).toThrow(message);
  });

  it("of one vocabulary and another is kept apart", () => {
    const tables = {
      b: { kind: "projection", vocabulary: "b", vocab: 2, offsets: [0, 1], ids: [0], values: [1] },
    } as const;
    const cross = fusePreset("x-token", { base: "a", other: "b" });
    expect(() => evaluatePlan(cross, { a: [1, 2], b: [1, 2, 3] }, { tables })).toThrow(
      '"plan.tables.b" must have 3 rows, got 1',
    );
    const wide = { b: { ...tables.b, vocab: 3 } };
    expect(() => evaluatePlan(cross, { a: [1, 2], b: [1] }, { tables: wide })).toThrow(
      '"plan.tables.b" must have 2 tokens, as "rows.a" has, got 3',
    );
  });

  it("padding is not looked at, extra columns are not tokens", () => {
    const sources = [
      { name: "a", vocab: 2, extra: 1 },
      { name: "b", vocab: 2 },
    ];
    const padded: Plan = {
      sources,
      lin: [{ source: "a", weight: { stat: "extra", of: "a" } }, { source: "b" }],
    };
    expect(Array.from(evaluatePlan(padded, { a: [1, 2, 3, NaN], b: [10, 20, NaN] }).row)).toEqual([13, 26]);
    expect(() => evaluatePlan(padded, { a: [1, 2], b: [1, 2] })).toThrow(
      '"rows.a" must have at least 3 values, got 2',
    );
    expect(() =>
      evaluatePlan(padded, { a: { ids: [], logProbabilities: [], tailMass: 1, vocab: 2 }, b: [1, 2] }),
    ).toThrow('"rows.a" must not be truncated, as 1 extra columns are read from it');
  });
});
