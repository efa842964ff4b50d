/** Worked examples of the methods: most logits are logarithms of small integers, so each can be checked by hand. */
import { describe, expect, it } from "vitest";
import { TransitionGraph } from "../../../src/decoding/fuse/transition-graph.ts";
import { projectionTable, spellingWeights } from "../../../src/decoding/fuse/vocabulary-tables.ts";
import {
  type FuseContext,
  type FusePresetName,
  fusePreset,
  neededSources,
  type Plan,
  type RowsByName,
} from "../../../src/decoding/fuse.ts";
import {
  type AnyKernels,
  EXACT,
  evaluateBy,
  expectClose as expectWithin,
  ln,
  ROUNDED,
  share,
  softmax,
} from "./support.ts";

const BASE = ln(4, 2, 2);
const TUNED = ln(2, 1, 1);
const ANTI = ln(1, 1, 2);
const SMALL = { base: BASE, expert: TUNED, anti: ANTI };

/**
 * @param slack What f32 adds to the tolerances.
 * @param positions Of a text, to draw at where a law is drawn.
 */
export function testVectors(kernels: AnyKernels, slack: number, positions = 4000): void {
  const evaluatePlan = (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    evaluateBy(kernels, plan, rows, context);
  const lawOf = async (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    softmax((await evaluatePlan(plan, rows, context)).row);
  const expectClose = (actual: ArrayLike<number>, expected: readonly number[], tolerance = ROUNDED) =>
    expectWithin(actual, expected, Math.max(tolerance, slack));

  const argmaxOf = (row: ArrayLike<number>) => Array.from(row).indexOf(Math.max(...Array.from(row)));

  describe("arithmetic", () => {
    it("proxy tuning", async () => {
      expectClose(await lawOf(fusePreset("proxy-tuning"), SMALL), share(8, 2, 1), EXACT);
      expectClose(
        await lawOf(fusePreset("offset-unlearning"), { base: BASE, unlearned: TUNED, small: ANTI }),
        share(8, 2, 1),
        EXACT,
      );
    });

    it("DExperts: α = 2, on the base's nucleus", async () => {
      const rows = { base: ln(90, 9, 1), expert: ln(1, 2, 50), anti: ln(1, 1, 1) };
      expectClose(await lawOf(fusePreset("dexperts"), rows), [1, 0, 0], EXACT);
      expectClose(await lawOf(fusePreset("dexperts", { topP: 0.95 }), rows), share(90, 36, 0), EXACT);
    });

    it("TriMix", async () => {
      const plan = fusePreset("trimix", { alpha: 0.5, beta: 1 });
      const rows = { large: BASE, tuned: TUNED, small: ANTI };
      expectClose(await lawOf(plan, rows), [0.6236150326, 0.2204812092, 0.1559037582]);
      // Plausible means above a share of the best, not at it, and by the model that is asked to judge.
      const cut = async (judge?: string) =>
        await lawOf(fusePreset("trimix", { alpha: 0.5, beta: 1, plausibility: 0.5, judge }), rows);
      expectClose(await cut(), [1, 0, 0], 0);
      expectClose(await cut("tuned"), [1, 0, 0], 0);
      expectClose(await cut("small"), [0, 0, 1], 0);
      // The third weight is 0 by default: the small model is not asked.
      expect(neededSources(fusePreset("trimix"))).toEqual(["large", "tuned"]);
    });

    it("ULD", async () => {
      const rows = { base: ln(50, 30, 15, 4, 1), assistant: ln(70, 10, 10, 5, 5) };
      const kept = [50 * 70 ** -0.8, 30 * 10 ** -0.8, 15 * 10 ** -0.8];
      const filtered = await lawOf(fusePreset("uld", { filter: 0.1 }), rows);
      expectClose(filtered, [0.1897911797, 0.5401392135, 0.2700696068, 0, 0]);
      expectClose(filtered, share(...kept, 0, 0), EXACT);
      const all = [0.1640742621, 0.4669497446, 0.2334748723, 0.1084008968, 0.0271002242];
      expectClose(await lawOf(fusePreset("uld", { filter: 0 }), rows), all);
      expectClose(await lawOf(fusePreset("uld", { filter: 0.1, compat: true }), rows), all);
    });
  });

  describe("GRAD", () => {
    const graph = new TransitionGraph();
    const rows = [[0, 2, 0], [0, 0, 3], [0, 1.5, 0], [0, 0, 2], []];
    graph.addSequence([0, 1, 2, 1, 2], (index) => rows[index]);

    it("counts what followed what", () => {
      expect([graph.weight(0, 1), graph.weight(1, 2), graph.weight(2, 1), graph.weight(1, 1)]).toEqual([
        2, 5, 1.5, 0,
      ]);
      expect(graph.table()).toEqual({
        kind: "graph",
        offsets: [0, 1, 2, 3],
        ids: [1, 2, 1],
        values: [2, 5, 1.5],
      });
    });

    it("adds it to the row", async () => {
      graph.add(1, 3, 2.5);
      const law = [0.2954663507, 0.108695996, 0.4871416573, 0.108695996];
      const base = [2, 1, 1.5, 0.5];
      expectClose(await lawOf(fusePreset("grad", { graph: graph.table() }), { base }, { last: 1 }), law);
      const scaled = fusePreset("grad", { alpha: 0.5, scaled: true });
      expectClose(await lawOf(scaled, { base }, { last: 1, tables: { graph: graph.table() } }), law);
      // Nothing is known of what follows token 3.
      const same = await evaluatePlan(scaled, { base }, { last: 3, tables: { graph: graph.table() } });
      expect(Array.from(same.row)).toEqual(base);
    });
  });

  describe("contrast", () => {
    const rows = { expert: ln(50, 30, 15, 4, 1), amateur: ln(60, 10, 5, 5, 20) };

    it("of Li et al.", async () => {
      const { row } = await evaluatePlan(fusePreset("contrastive", { amateurTemperature: 1 }), rows);
      expectClose(row, [Math.log(50 / 60), Math.log(3), Math.log(3), -Infinity, -Infinity], EXACT);
      expect(argmaxOf(row)).toBe(1);
      expectClose(
        await lawOf(fusePreset("contrastive", { amateurTemperature: 1 }), rows),
        share(5 / 6, 3, 3, 0, 0),
        EXACT,
      );
      // At temperature 1/2, the amateur's probabilities are squared.
      expectClose(
        await lawOf(fusePreset("contrastive"), rows),
        share(50 / 3600, 30 / 100, 15 / 25, 0, 0),
        EXACT,
      );
    });

    it("of O'Brien and Lewis", async () => {
      const law = await lawOf(fusePreset("contrastive-logits"), rows);
      expectClose(law, [0.3693266892, 0.4204488739, 0.2102244369, 0, 0]);
      expectClose(
        law,
        share(50 ** 1.5 / 60 ** 0.5, 30 ** 1.5 / 10 ** 0.5, 15 ** 1.5 / 5 ** 0.5, 0, 0),
        EXACT,
      );
    });

    it("drafted for by its amateur", async () => {
      const target = await lawOf(fusePreset("contrastive", { amateurTemperature: 1 }), rows);
      const draft = [0.6, 0.1, 0.05, 0.05, 0.2];
      const accepted = target.map((p, id) => Math.min(1, p / draft[id]));
      expectClose(accepted, [0.2032520325, 1, 1, 0, 0]);
      expectClose([accepted.reduce((sum, chance, id) => sum + chance * draft[id], 0)], [0.2719512195]);
      expectClose(
        share(...target.map((p, id) => Math.max(0, p - draft[id]))),
        [0, 0.4656616415, 0.5343383585, 0, 0],
      );
    });

    it("by guidance and by context are one", async () => {
      const two = [ln(5, 3, 2), ln(2, 2, 6)] as const;
      const guided = await lawOf(fusePreset("cfg"), { prompted: two[0], plain: two[1] });
      expectClose(guided, [0.6208028489, 0.2885230914, 0.0906740598]);
      expectClose(await lawOf(fusePreset("cad"), { informed: two[0], plain: two[1] }), guided, EXACT);
      const twice = await lawOf(fusePreset("cad", { alpha: 1 }), { informed: two[0], plain: two[1] });
      expectClose(twice, share(25 / 2, 9 / 2, 4 / 6), EXACT);
    });

    it("by a token's own weight (AlignDistil)", async () => {
      const plan = fusePreset("align-distil");
      const pair = { tuned: ln(6, 3, 1), reverse: ln(4, 4, 2) };
      expectClose(await lawOf(plan, pair), [0.9920285946, 0.0077448532, 0.0002265522]);
      const { weights } = (await evaluatePlan(plan, pair, { audit: true })).audit!;
      expectClose(weights[0].weights, [7.001, -6.001], EXACT);
    });
  });

  describe("ensembles", () => {
    const both = (a: number[], b: number[]) => ({ a: ln(...a), b: ln(...b) });
    it.each<[string, number[], number[], number[], number[]]>([
      [
        "opposite",
        [0.7, 0.2, 0.1],
        [0.1, 0.2, 0.7],
        [0.4, 0.2, 0.4],
        [0.3628540574, 0.2742918852, 0.3628540574],
      ],
      [
        "veto",
        [0.6, 0.399, 0.001],
        [0.001, 0.2, 0.799],
        [0.3005, 0.2995, 0.4],
        [0.0730644787, 0.8426206746, 0.0843148467],
      ],
      ["zeros", [0.55, 0.45, 0], [0, 0.45, 0.55], [0.275, 0.45, 0.275], [0, 1, 0]],
    ])("%s", async (_, p, q, mixed, multiplied) => {
      expectClose(await lawOf(fusePreset("mixture"), both(p, q)), mixed, EXACT);
      expectClose(await lawOf(fusePreset("product"), both(p, q)), multiplied);
    });

    it("with a memory", async () => {
      const rows = { base: ln(0.7, 0.2, 0.1), memory: ln(0.1, 0.2, 0.7) };
      expectClose(await lawOf(fusePreset("memory-decoder"), rows), [0.52, 0.2, 0.28], EXACT);
    });

    it("sampled: one model per token, the mixture's law over all", async () => {
      const rows = both([0.7, 0.2, 0.1], [0.1, 0.2, 0.7]);
      const plan = fusePreset("sampled-mixture", { weights: [0.25, 0.75] });
      const mean = [0, 0, 0];
      let ofB = 0;
      for (let position = 0; position < positions; position++) {
        const context = { seed: 11, position };
        const needed = neededSources(plan, {}, context);
        expect(needed.length).toBe(1);
        if (needed[0] === "b") ofB++;
        (await lawOf(plan, rows, context)).forEach((p, id) => {
          mean[id] += p / positions;
        });
      }
      // Four standard deviations of a mean.
      expectClose(mean, [0.25, 0.2, 0.55], (4 * 0.26) / Math.sqrt(positions));
      // χ² of one degree of freedom passes this once in a thousand times.
      const expected = 0.75 * positions;
      const squared = (ofB - expected) ** 2;
      expect(squared / expected + squared / (positions - expected)).toBeLessThan(10.83);
    });

    it("of rows on one scale", async () => {
      const { row } = await evaluatePlan(fusePreset("standardized", { sources: ["a"] }), { a: [1, 2, 6] });
      expectClose(row, [-0.7559289174, -0.3779644587, 1.1338933762]);
      const biased: Plan = { sources: ["a"], source: "a", norm: { zscore: { ddof: 0 } } };
      expectClose(
        (await evaluatePlan(biased, { a: [1, 2, 6] })).row,
        [-0.9258200998, -0.4629100499, 1.3887301497],
      );
      const constant = { sources: ["a"], lin: [{ source: "a" }, { source: "a", norm: "zscore" }] } as const;
      expectClose((await evaluatePlan(constant, { a: [3, 3, 3] })).row, [3, 3, 3], 0);
    });
  });

  describe("supports", () => {
    const rows = { base: ln(0.6, 0.3, 0.08, 0.015, 0.005) };
    it("of Lp-Reg and min-p", async () => {
      expectClose(await lawOf(fusePreset("lp-reg"), rows), share(0.6, 0.3, 0.08, 0.015, 0), EXACT);
      expectClose(await lawOf(fusePreset("min-p"), rows), share(0.6, 0.3, 0.08, 0, 0), EXACT);
    });
  });

  describe("several vocabularies", () => {
    it("X-Token's projection", async () => {
      const projection = projectionTable(["a", "bc", "d"], ["a", "b", "c", "d"], "other", (text) =>
        [...text].map((letter) => "abcd".indexOf(letter)),
      );
      expectClose(projection.values, [1, 0.9090909091, 0.0909090909, 1]);
      expectClose(spellingWeights(3), [0.9009009009, 0.0900900901, 0.009009009]);
      const plan = fusePreset("x-token", { weight: 1 });
      expectClose(
        await lawOf(plan, { other: ln(0.5, 0.3, 0.2) }, { tables: { other: projection } }),
        [0.5, 3 / 11, 0.3 / 11, 0.2],
        EXACT,
      );
    });

    it("UniTE's union", async () => {
      // Union a, b, c, d. A has a, b, c and would spell d with its c, −1; B has a, d, c and spells b with its a.
      const gather = (vocabulary: string, ids: number[]) => ({ kind: "gather" as const, vocabulary, ids });
      const tables = {
        a: gather("a", [0, 1, 2, 2]),
        "a-own": gather("a", [0, 1, 2, -1]),
        b: gather("b", [0, 0, 2, 1]),
        "b-own": gather("b", [0, -1, 2, 1]),
      };
      const plan = fusePreset("unite", { k: 2 });
      const law = await lawOf(plan, { a: [3, 2, -1], b: [1, 3, -9] }, { tables });
      expectClose(law, [0.4139530816, 0.1859474538, 0, 0.4000994646]);
    });

    it("EVA's dissenter is dropped", async () => {
      const sources = ["a", "b", "c"];
      const table = (vocabulary: string) => ({
        kind: "projection" as const,
        vocabulary,
        vocab: 5,
        offsets: [0, 1, 2, 3, 4, 5],
        ids: [0, 1, 2, 3, 4],
        values: [1, 1, 1, 1, 1],
      });
      const tables = Object.fromEntries(sources.map((source) => [source, table(source)]));
      const rows = {
        a: ln(0.5, 0.3, 0.1, 0.05, 0.05),
        b: ln(0.4, 0.3, 0.2, 0.05, 0.05),
        c: ln(0.02, 0.03, 0.05, 0.05, 0.85),
      };
      const kept = await lawOf(fusePreset("eva", { sources, k: 3 }), rows, { tables });
      expectClose(kept, [0.45, 0.3, 0.15, 0.05, 0.05], EXACT);
      const all = await lawOf(fusePreset("eva", { sources, k: 3, drop: false }), rows, { tables });
      expectClose(all, [0.92 / 3, 0.63 / 3, 0.35 / 3, 0.05, 0.95 / 3], EXACT);
      expect([argmaxOf(kept), argmaxOf(all)]).toEqual([0, 4]);
      // Should each stand alone, all stay.
      const alone = { a: ln(8, 1, 1, 1, 1), b: ln(1, 8, 1, 1, 1), c: ln(1, 1, 8, 1, 1) };
      expectClose(
        await lawOf(fusePreset("eva", { sources, k: 1 }), alone, { tables }),
        share(10, 10, 10, 3, 3),
        EXACT,
      );
      // Of each model, only its candidates are mapped.
      const few = await lawOf(fusePreset("eva", { sources, drop: false, candidates: 2 }), rows, { tables });
      const halves = [
        [5 / 8, 3 / 8, 0, 0, 0],
        [4 / 7, 3 / 7, 0, 0, 0],
        [0, 0, 5 / 90, 0, 85 / 90],
      ];
      expectClose(
        few,
        halves[0].map((_, id) => halves.reduce((sum, law) => sum + law[id] / 3, 0)),
        EXACT,
      );
      const unsure = fusePreset("gac", { sources, threshold: 0.5 });
      expect(neededSources(unsure, { a: ln(4, 3, 3, 1, 1) }, { tables })).toEqual(["b", "c"]);
      expect(neededSources(unsure, { a: ln(9, 3, 3, 1, 1) }, { tables })).toEqual([]);
    });
  });

  describe("classifiers", () => {
    it("FUDGE", async () => {
      const rows = { base: ln(0.5, 0.3, 0.2), attribute: ln(0.1, 0.6, 0.9) };
      expectClose(await lawOf(fusePreset("fudge"), rows), share(0.05, 0.18, 0.18), EXACT);
    });

    it("GeDi", async () => {
      const rows = { base: ln(0.5, 0.3, 0.2), wanted: ln(5, 3, 2), unwanted: ln(2, 3, 5) };
      const law = await lawOf(fusePreset("gedi", { omega: 2, topP: 1 }), rows);
      expectClose(law, [0.736377025, 0.2164948454, 0.0471281296]);
      expectClose(law, share(0.5 * (5 / 7) ** 2, 0.3 / 4, 0.2 * (2 / 7) ** 2), EXACT);
    });
  });

  describe("rules of all plans", () => {
    it("−∞ of a weight above 0 forbids, of one below it adds nothing", async () => {
      const rows = {
        base: [1, 2, -Infinity, 0],
        expert: [1, -Infinity, 3, 2],
        anti: [-Infinity, -Infinity, 0, 1],
      };
      expect(Array.from((await evaluatePlan(fusePreset("proxy-tuning"), rows)).row)).toEqual([
        2,
        -Infinity,
        -Infinity,
        1,
      ]);
    });

    it("a truncated row is spread over the tokens it leaves out", async () => {
      const plan = fusePreset("product", { weights: [1, 1] });
      const b = ln(0.2, 0.3, 0.3, 0.1, 0.1);
      const truncated = {
        ids: [0, 1],
        logProbabilities: [Math.log(0.5), Math.log(0.3)],
        tailMass: 0.2,
        vocab: 5,
      };
      const law = await lawOf(plan, { a: truncated, b });
      expectClose(law, [0.447761194, 0.4029850746, 0.0895522388, 0.0298507463, 0.0298507463]);
      const full = await lawOf(plan, { a: ln(0.5, 0.3, 0.15, 0.04, 0.01), b });
      expectClose(full, [0.4166666667, 0.375, 0.1875, 0.0166666667, 0.0041666667]);
    });

    it("every preset is a plan that knows its own name", () => {
      const counts = { counts: [3, 2, 1] };
      const needed: Partial<Record<FusePresetName, object>> = { "logit-adjustment": counts, margin: counts };
      expect(() => fusePreset("no" as "dlf")).toThrow('"preset" must be one of align-distil, amu');
      expect(() => fusePreset("dlf", { alhpa: 1 } as object)).toThrow(
        '"options" must be of base, expert, anti, solver, limit, got "alhpa"',
      );
      expect(() => fusePreset("cfg", { gamma: "2" } as object)).toThrow(
        '"options.gamma" must be of kind number, got string',
      );
      expect(() => fusePreset("cfg", { gamma: 5000 })).toThrow(
        '"plan.lin[0].weight" must be a number from -1000 to 1000, got 5000',
      );
      expect(fusePreset("margin", needed.margin as { counts: number[] }).sources).toEqual(["base"]);
    });
  });
}
