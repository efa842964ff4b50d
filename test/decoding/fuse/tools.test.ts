/** What makes plans and their data: the builder, graphs, tables between vocabularies, weight search. */
import { describe, expect, it } from "vitest";
import { TransitionGraph } from "../../../src/decoding/fuse/transition-graph.ts";
import { gatherTable, projectionTable, unionTexts } from "../../../src/decoding/fuse/vocabulary-tables.ts";
import { type RecordedStep, searchGreedy, searchGrid } from "../../../src/decoding/fuse/weight-search.ts";
import { buildPlan, evaluatePlan, fusePreset, op, readPlan } from "../../../src/decoding/fuse.ts";
import { createRandom } from "../../support/random.ts";
import { expectClose, lawOf, ln, randomRow, softmax } from "./support.ts";

describe("buildPlan", () => {
  it("makes the JSON that one would write", () => {
    const plan = buildPlan("base", "expert", "anti")
      .let("alpha", { match: { base: "base", experts: [{ expert: "expert", anti: "anti" }] } })
      .lin({ base: 1, expert: "alpha", anti: op("mul", -1, "alpha") });
    expect(plan).toEqual(fusePreset("dlf"));
    expect(buildPlan("a", "b").mix({ a: 0.5, b: 0.5 })).toEqual(fusePreset("mixture"));
    expect(
      buildPlan("base", "tuned").route(op("less", { stat: "maxProbability", of: "base" }, 0.3), [
        "base",
        "tuned",
      ]),
    ).toEqual(fusePreset("nudging"));
    expect(
      buildPlan("expert", "amateur").lin(
        { expert: { norm: "logsoftmax" }, amateur: { weight: -1, temperature: 0.5, norm: "logsoftmax" } },
        { support: [{ minP: 0.1, of: "expert" }] },
      ),
    ).toEqual(fusePreset("contrastive"));
  });

  it("knows names that were defined on the way", () => {
    const plan = buildPlan("a")
      .input("x")
      .table("bias", { kind: "sparse", ids: [0], values: [1] })
      .define("biased", { lin: [{ source: "a" }, { table: "bias" }] })
      .lin({ a: { input: "x" }, biased: 1 });
    expect(Array.from(evaluatePlan(plan, { a: [1, 2] }, { inputs: { x: [10] } }).row)).toEqual([12, 22]);
    expect(() => buildPlan("a", "b").row({ source: "c" })).toThrow(
      '"plan.source" must be one of a, b, got "c"',
    );
    // @ts-expect-error "c" is no name of this plan.
    expect(() => buildPlan("a", "b").lin({ c: 1 })).toThrow(
      '"plan.lin[0].source" must be one of a, b, got "c"',
    );
  });
});

describe("TransitionGraph", () => {
  it("gives a table that plans take, whatever order tokens came in", () => {
    const graph = new TransitionGraph();
    graph.addSequence([7, 2, 7, 0], () => [1, 1, 1, 1, 1, 1, 1, 2]);
    expect(graph.count).toBe(3);
    const table = graph.table();
    expect(table).toEqual({
      kind: "graph",
      offsets: [0, 0, 0, 1, 1, 1, 1, 1, 3],
      ids: [7, 0, 2],
      values: [2, 1, 1],
    });
    const plan = fusePreset("grad", { graph: table });
    const base = new Float64Array(8);
    expect(Array.from(evaluatePlan(plan, { base }, { last: 7 }).row)).toEqual([1, 0, 1, 0, 0, 0, 0, 0]);
    expect(Array.from(evaluatePlan(plan, { base }, { last: 5 }).row)).toEqual(Array.from(base));
  });

  it("counts evidence against a token as none", () => {
    const graph = new TransitionGraph();
    graph.add(0, 1, -3);
    const law = (alpha: number) =>
      Array.from(
        evaluatePlan(fusePreset("grad", { graph: graph.table(), alpha }), { base: [1, 2, 3] }, { last: 0 })
          .row,
      );
    expect(law(1)).toEqual([1, 2, 3]);
    graph.add(0, 2, 4);
    expect(law(0.5)).toEqual([1, 2, 3.5]);
  });

  it("refuses what is no edge", () => {
    const graph = new TransitionGraph();
    expect(() => graph.add(-1, 0, 1)).toThrow('"token" must be an integer from 0');
    expect(() => graph.add(0, 0.5, 1)).toThrow('"next" must be an integer from 0');
    expect(() => graph.addSequence([0, 1], () => [0])).toThrow('"logit" must be finite, got undefined');
  });
});

describe("tables between vocabularies", () => {
  const ONE = [" the", "cat", "s", "<end>"];
  const TWO = ["cat", "cats", " the", "<end>", "t", "h", "e", " "];
  const spellIn = (texts: readonly string[]) => (text: string) => {
    const ids: number[] = [];
    for (let at = 0; at < text.length; ) {
      const id = texts.findIndex((piece) => text.startsWith(piece, at));
      if (id < 0) return ids;
      ids.push(id);
      at += texts[id].length;
    }
    return ids;
  };

  it("lead to the same texts, and else to what they are spelled with", () => {
    const union = unionTexts([ONE, TWO]);
    expect(union).toEqual([" the", "cat", "s", "<end>", "cats", "t", "h", "e", " "]);
    const own = gatherTable(union, ONE, "one");
    expect(own).toEqual({ kind: "gather", vocabulary: "one", ids: [0, 1, 2, 3, -1, -1, -1, -1, -1] });
    expect(gatherTable(union, ONE, "one", spellIn(ONE)).ids).toEqual([0, 1, 2, 3, 1, -1, -1, -1, -1]);
    const projection = projectionTable(TWO, ONE, "two", spellIn(ONE));
    expect(projection.offsets).toEqual([0, 1, 3, 4, 5, 5, 5, 5, 5]);
    expect(projection.ids).toEqual([1, 1, 2, 0, 3]);
    expectClose(projection.values, [1, 10 / 11, 1 / 11, 1, 1], 1e-12);
  });

  it("make plans of unlike models", () => {
    const union = unionTexts([ONE, TWO]);
    const tables = {
      one: gatherTable(union, ONE, "one", spellIn(ONE)),
      "one-own": gatherTable(union, ONE, "one"),
      two: gatherTable(union, TWO, "two", spellIn(TWO)),
      "two-own": gatherTable(union, TWO, "two"),
    };
    const plan = fusePreset("unite", { sources: ["one", "two"], k: 1 });
    const rows = { one: ln(1, 8, 1, 1), two: ln(2, 9, 1, 1, 1, 1, 1, 1) };
    // Of "cat" and "cats": the first model gives both the weight 8 of "cat", the second 2 and 9.
    const law = lawOf(plan, rows, { tables });
    expectClose([law[1], law[4]], [(1 / 2 + 2 / 11) / 2, (1 / 2 + 9 / 11) / 2], 1e-12);
  });
});

describe("weight search", () => {
  const random = createRandom(1);
  /** The first source knows even tokens, the second odd ones, the third nothing. */
  const record: RecordedStep[] = Array.from({ length: 40 }, (_, index) => {
    const token = random.below(10);
    const knows = (source: number) =>
      randomRow(random, 10, 0.3).map((z, id) => z + (id === token && index % 2 === source ? 3 : 0));
    return { token, rows: [knows(0), knows(1), randomRow(random, 10, 2)] };
  });
  const loss = (name: "mixture" | "product", weights: readonly number[]) => {
    const plan = fusePreset(name, { sources: ["a", "b", "c"], weights });
    const losses = record.map(({ rows: [a, b, c], token }) => -Math.log(lawOf(plan, { a, b, c })[token]));
    return losses.reduce((sum, one) => sum + one, 0) / losses.length;
  };

  it.each(["mixture", "product"] as const)("%s: the weights it finds have the loss it tells", (kind) => {
    const greedy = searchGreedy(record, kind);
    expect(greedy.weights).toEqual([0.5, 0.5, 0]);
    expect(greedy.loss).toBeCloseTo(loss(kind, greedy.weights), 12);
    expect(greedy.loss).toBeLessThan(Math.min(loss(kind, [1, 0, 0]), loss(kind, [0, 1, 0])));
    const longer = searchGreedy(record, kind, 3);
    expect(longer.loss).toBeLessThanOrEqual(greedy.loss);
    const grid = searchGrid(record, kind, 4);
    expect(grid.loss).toBeCloseTo(loss(kind, grid.weights), 12);
    expect(grid.weights.reduce((sum, weight) => sum + weight, 0)).toBe(1);
    const all = [0, 1, 2, 3, 4].flatMap((a) =>
      [0, 1, 2, 3, 4].filter((b) => a + b <= 4).map((b) => loss(kind, [a / 4, b / 4, (4 - a - b) / 4])),
    );
    expect(all.length).toBe(15);
    expect(grid.loss).toBeCloseTo(Math.min(...all), 12);
  });

  it("has an answer where a source knows nothing of a token", () => {
    const steps = [
      {
        token: 0,
        rows: [
          [0, -Infinity],
          [-Infinity, 0],
        ],
      },
    ];
    expect(searchGreedy(steps, "mixture")).toEqual({ weights: [1, 0], loss: 0 });
    expect(searchGrid(steps, "mixture", 2)).toEqual({ weights: [1, 0], loss: 0 });
    const impossible = [{ token: 1, rows: [[0, -Infinity]] }];
    expect(searchGrid(impossible, "product", 2)).toEqual({ weights: [1], loss: Infinity });
  });

  it("refuses what is no record", () => {
    const softmaxed = softmax([1, 2]);
    expect(() => searchGreedy([], "mixture")).toThrow('"steps" must have a step');
    expect(() => searchGreedy([{ token: 2, rows: [softmaxed] }], "mixture")).toThrow(
      '"steps[0].token" must be an integer from 0 to 1, got 2',
    );
    expect(() => searchGrid([{ token: 0, rows: [[0, 1], [0]] }], "mixture")).toThrow(
      '"steps[0].rows[1].length" must be',
    );
    expect(() => searchGrid([{ token: 0, rows: new Array(16).fill([0, 1]) }], "mixture", 50)).toThrow(
      "The grid must have at most 100000 points",
    );
  });
});

describe("readPlan", () => {
  it("takes back what the builder made", () => {
    const plan = buildPlan("a", "b").mix({ a: 0.25, b: 0.75 }, { mode: "sampled" });
    expect(readPlan(JSON.parse(JSON.stringify(plan)))).toEqual(plan);
  });
});
