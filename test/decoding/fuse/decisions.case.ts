/** Worked examples of numbers that are read off rows, and of what plans do with them: gates, uncertainty, calibration. */
import { describe, expect, it } from "vitest";
import type { StatisticName } from "../../../src/decoding/fuse/plan.ts";
import {
  type FuseContext,
  fusePreset,
  neededSources,
  type Plan,
  type RowsByName,
} from "../../../src/decoding/fuse.ts";
import {
  type AnyKernels,
  createRandom,
  EXACT,
  evaluateBy,
  expectClose as expectWithin,
  ln,
  ROUNDED,
  share,
  softmax,
} from "./support.ts";

/** @param slack What f32 adds to the tolerances. */
export function testDecisions(kernels: AnyKernels, slack: number): void {
  const evaluatePlan = (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    evaluateBy(kernels, plan, rows, context);
  const lawOf = async (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    softmax((await evaluatePlan(plan, rows, context)).row);
  const expectClose = (actual: ArrayLike<number>, expected: readonly number[], tolerance = ROUNDED) =>
    expectWithin(actual, expected, Math.max(tolerance, slack));
  const argmaxOf = (row: ArrayLike<number>) => Array.from(row).indexOf(Math.max(...Array.from(row)));
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const entropy = (p: readonly number[]) => -sum(p.map((x) => (x > 0 ? x * Math.log(x) : 0)));

  describe("routes", () => {
    it("FusionRoute", async () => {
      const plan = fusePreset("fusion-route", { experts: ["a", "b", "c"] });
      const context = { inputs: { routing: [0.2, 1.3, -0.4] } };
      expect(neededSources(plan, {}, context)).toEqual(["b", "router"]);
      expectClose(
        await lawOf(plan, { b: ln(1, 6, 1), router: ln(1, 2, 5) }, context),
        share(1, 12, 5),
        EXACT,
      );
      const tied = { inputs: { routing: [0.2, 1.3, 1.3] } };
      expect(neededSources(plan, {}, tied)).toEqual(["b", "router"]);
    });

    it("Co-LLM", async () => {
      const rows = { base: [1, 2, 0, 0.5] };
      expect(neededSources(fusePreset("co-llm"), rows)).toEqual(["large"]);
      const plan = fusePreset("co-llm", { threshold: 0.7 });
      expect(neededSources(plan, rows)).toEqual([]);
      expectClose(await lawOf(plan, rows), [0.2447284711, 0.6652409558, 0.0900305732]);
      expect(neededSources(fusePreset("co-llm", { threshold: 0.6224593313 }), rows)).toEqual([]);
      expect(neededSources(fusePreset("co-llm", { threshold: 0.6224593311 }), rows)).toEqual(["large"]);
    });

    it("nudging", () => {
      expect(neededSources(fusePreset("nudging"), { base: [1, 1, 1, 1] })).toEqual(["tuned"]);
      expect(neededSources(fusePreset("nudging"), { base: ln(4, 3, 2, 1) })).toEqual([]);
      expect(neededSources(fusePreset("nudging", { threshold: 0.25 }), { base: [1, 1, 1, 1] })).toEqual([]);
    });

    it("JEI-DNN gate", () => {
      const rows = { exit1: ln(8, 1, 1) };
      const exits = (bias: number) =>
        neededSources(fusePreset("early-exit", { gates: [{ weights: [3, -1, 2, -1], bias }] }), rows);
      // logit 1.0041697216, σ 0.7318776054 with bias −2; half of it is reached at −3.0041697216.
      expect(exits(-2)).toEqual([]);
      expect(exits(-3.004169721)).toEqual([]);
      expect(exits(-3.004169722)).toEqual(["final"]);
    });

    it("mode switch", async () => {
      const rows = { base: [2, 1.2, 0.3] };
      expectClose(await lawOf(fusePreset("mode-switch"), rows), [1, 0, 0], 0);
      expectClose(await lawOf(fusePreset("mode-switch", { bias: -1 }), rows), [0, 1, 0], 0);
      // σ(0.8) = 0.6899744811, and 0.4501660027 with the bias.
      const margin = 1e-9 + slack;
      for (const [bias, probability] of [
        [0, 0.6899744811],
        [-1, 0.4501660027],
      ]) {
        const choice = async (threshold: number) =>
          argmaxOf(await lawOf(fusePreset("mode-switch", { bias, threshold }), rows));
        expect([await choice(probability - margin), await choice(probability + margin)]).toEqual([0, 1]);
      }
      expectClose(
        await lawOf(fusePreset("mode-switch"), rows, { step: 1 }),
        await lawOf(fusePreset("logit-mask"), rows),
        EXACT,
      );
    });
  });

  describe("statistics", () => {
    /** Of ln(8, 1, 1). */
    it.each([
      ["max", 2.0794415417],
      ["maxProbability", 0.8],
      ["logPartition", Math.LN10],
      ["entropy", 0.6390318597],
      ["margin", 0.7],
      ["squareEntropy", 0.1567984188],
      ["probabilityKurtosis", 2 / 3],
      ["probabilityEnergy", 2 * Math.log(Math.exp(0.4) + 2 * Math.exp(0.05))],
    ] as const)("%s is %f", async (stat, expected) => {
      // A weight is read off the audit.
      const plan: Plan = {
        sources: ["a"],
        lin: [{ source: "a", weight: { stat, of: "a" } }, { source: "a" }],
      };
      const { weights } = (await evaluatePlan(plan, { a: ln(8, 1, 1) }, { audit: true })).audit!;
      expectClose([weights[0].weights[0]], [expected], ROUNDED);
    });

    it("energy is −temperature times the log-partition at it", async () => {
      const stat = { stat: "logPartition", of: "a", temperature: 2 } as const;
      const plan: Plan = { sources: ["a"], lin: [{ source: "a", weight: stat }, { source: "a" }] };
      const { weights } = (await evaluatePlan(plan, { a: ln(8, 1, 1) }, { audit: true })).audit!;
      expectClose([-2 * weights[0].weights[0]], [-3.1490415352]);
    });
  });

  describe("AMU", () => {
    const rows = { base: ln(8, 1, 1), helper: [1, 2, 6] };
    it.each([
      ["entropy", [0.6367170006, 0.1010254442, 0.2622575552]],
      ["max", [0.6644866132, 0.1021251683, 0.2333882185]],
      ["moment", [0.0003232568, 0.0003055706, 0.9993711726]],
    ] as const)("%s", async (uncertainty, expected) => {
      expectClose(await lawOf(fusePreset("amu", { uncertainty }), rows), [...expected]);
    });
  });

  describe("confidence gate", () => {
    const small = [8, 1, 1];
    /** Of ln(8, 1, 1), by hand. */
    const values: Partial<Record<StatisticName, number>> = {
      max: Math.log(8),
      mean: Math.log(8) / 3,
      deviation: Math.log(8) / Math.sqrt(3),
      logPartition: Math.log(10),
      entropy: Math.log(10) - 0.8 * Math.log(8),
      maxProbability: 0.8,
      minProbability: 0.1,
      margin: 0.7,
      squareEntropy: Math.log(66) - (64 / 66) * Math.log(64),
      probabilityDeviation: 0.7 / Math.sqrt(3),
      probabilityKurtosis: 2 / 3,
      probabilityEnergy: 2 * Math.log(Math.exp(0.4) + 2 * Math.exp(0.05)),
    };
    const rows = { small: ln(...small), large: ln(1, 2, 3) };
    it.each(Object.entries(values) as [StatisticName, number][])("by %s at %f", async (statistic, value) => {
      const step = Math.max(1e-9, slack) * 4;
      for (const below of [false, true]) {
        const taken = async (threshold: number) => {
          const plan = fusePreset("confidence-gate", { statistic, threshold, below });
          return argmaxOf((await evaluatePlan(plan, rows)).row) === 2 ? "large" : "small";
        };
        const under = await taken(value - step);
        const over = await taken(value + step);
        expect([under, over]).toEqual(below ? ["small", "large"] : ["large", "small"]);
      }
    });

    it("asks for the large model only where it opens", () => {
      const given = { small: ln(...small) };
      const needs = (options: object) => neededSources(fusePreset("confidence-gate", options), given);
      expect(needs({ threshold: 0.6 })).toEqual(["large"]);
      expect(needs({ threshold: 0.7 })).toEqual([]);
      expect(needs({ statistic: "margin", threshold: 0.71, below: true })).toEqual(["large"]);
    });
  });

  describe("early exits", () => {
    const WEIGHTS: [number, number, number, number] = [3, -1, 2, -1];
    /** Regol et al.: the gate of exit l opens with min(1, g / Π (1 − earlier)). */
    const exitOf = (rows: readonly number[][], biases: readonly number[]) => {
      let left = 1;
      for (const [l, bias] of biases.entries()) {
        const p = softmax(rows[l]);
        const [first, second] = [...p].sort((a, b) => b - a);
        const squares = share(...p.map((x) => x * x));
        const features = [first, entropy(p), first - second, entropy(squares)];
        const gate = 1 / (1 + Math.exp(-sum(features.map((x, i) => x * WEIGHTS[i])) - bias));
        const chance = Math.min(1, gate / left);
        if (Math.abs(chance - 0.5) < 1e-5) return -1;
        if (chance >= 0.5) return l;
        left *= 1 - chance;
      }
      return biases.length;
    };

    it("are taken where the definition leaves", async () => {
      const random = createRandom(31);
      const seen = new Set<number>();
      for (let round = 0; round < 200; round++) {
        const rows = Array.from({ length: 4 }, () => Array.from({ length: 5 }, () => 2 * random.normal()));
        const biases = Array.from({ length: 3 }, () => -2 + 1.5 * random.normal());
        const expected = exitOf(rows, biases);
        if (expected < 0) continue;
        seen.add(expected);
        const exits = ["a", "b", "c", "d"];
        const plan = fusePreset("early-exit", {
          exits,
          gates: biases.map((bias) => ({ weights: WEIGHTS, bias })),
        });
        const given = Object.fromEntries(exits.map((exit, at) => [exit, Float64Array.from(rows[at])]));
        const { row, audit } = await evaluatePlan(plan, given, { audit: true });
        expectClose(row, rows[expected]);
        expect(audit!.sources).toEqual(exits.slice(0, expected + 1));
      }
      expect([...seen].sort()).toEqual([0, 1, 2, 3]);
    });

    it("leave no chance below nothing: a gate that is certain ends it", () => {
      const certain = { weights: [0, 0, 0, 0] as const, bias: 100 };
      const closed = { weights: [0, 0, 0, 0] as const, bias: -100 };
      const exits = ["a", "b", "c"];
      const plan = (gates: (typeof certain | typeof closed)[]) => fusePreset("early-exit", { exits, gates });
      expect(neededSources(plan([certain, certain]), { a: [1, 2] })).toEqual([]);
      expect(neededSources(plan([closed, certain]), { a: [1, 2] })).toEqual(["b"]);
      expect(neededSources(plan([closed, closed]), { a: [1, 2], b: [1, 2] })).toEqual(["c"]);
    });
  });

  describe("AMU, by its formulas", () => {
    const weights = [16, 8, 4, 2, 1, 1];
    const p = share(...weights);
    const helper = [1, 2, 6, -3, 0.5, 4];
    const mean = sum(helper) / helper.length;
    const deviation = Math.sqrt(sum(helper.map((a) => (a - mean) ** 2)) / (helper.length - 1));
    const spread = Math.sqrt(sum(p.map((x) => (x - 1 / 6) ** 2)) / 5);
    const kurtosis = sum(p.map((x) => ((x - 1 / 6) / spread) ** 4)) / 6;
    it.each([
      ["none", 1],
      ["entropy", Math.exp((0.4 * entropy(p)) / Math.log(6))],
      ["max", 0.5 ** -0.4],
      ["max-min", (0.5 - 1 / 32) ** -0.4],
      ["top5", (0.5 - 1 / 32) ** -0.4],
      ["energy", (2 * Math.log(sum(p.map((x) => Math.exp(x / 2))))) ** -0.4],
      ["deviation", spread],
      ["moment", (kurtosis / 250) ** -0.4],
      ["relative-moment", (kurtosis / 1.5) ** -0.4],
    ] as const)("%s", async (uncertainty, kappa) => {
      const plan = fusePreset("amu", { uncertainty });
      const rows = { base: ln(...weights), helper };
      const { row, audit } = await evaluatePlan(plan, rows, { audit: true });
      expectClose([audit!.weights[0].weights[1] / kappa], [0.5]);
      const fused = weights.map((w, i) => Math.log(w) + (0.5 * kappa * (helper[i] - mean)) / deviation);
      expectWithin(row, fused, EXACT + slack * 8);
    });

    it("the fifth is told from the last", async () => {
      const plan = fusePreset("amu", { uncertainty: "top5", power: 1, alpha: 1 });
      const rows = { base: ln(8, 4, 2, 1, 0.5, 0.25, 0.25), helper: [1, 2, 3, 4, 5, 6, 7] };
      const { weights } = (await evaluatePlan(plan, rows, { audit: true })).audit!;
      expectClose([weights[0].weights[1]], [1 / (0.5 - 0.5 / 16)], EXACT);
    });

    it("of a base that is not unsure at all, or has nothing to say", async () => {
      for (const uncertainty of ["entropy", "max", "energy", "deviation", "moment"] as const) {
        const plan = fusePreset("amu", { uncertainty });
        const sure = await evaluatePlan(plan, { base: [0, -Infinity, -Infinity], helper: [1, 2, 6] });
        expectClose(softmax(sure.row), [1, 0, 0], 0);
        const same = await evaluatePlan(plan, { base: [1, 2, 3], helper: [4, 4, 4] });
        expectClose(same.row, [1, 2, 3]);
      }
      // Nothing between the largest and the least: the weight is the largest there is, and finite.
      const flat = fusePreset("amu", { uncertainty: "max-min" });
      const { audit } = await evaluatePlan(flat, { base: [2, 2], helper: [0, 1] }, { audit: true });
      expect(audit!.weights[0].weights[1]).toBe(1000);
    });

    it("refuses what it does not know", () => {
      expect(() => fusePreset("amu", { uncertainty: "guess" as "max" })).toThrow(
        '"options.uncertainty" must be one of none, entropy, max, max-min, top5, energy, deviation, moment, ' +
          'relative-moment, got "guess"',
      );
    });
  });

  describe("calibration", () => {
    const counts = [16, 4, 1];
    it("logit adjustment divides by the prior", async () => {
      expectClose(
        await lawOf(fusePreset("logit-adjustment", { counts }), { base: ln(16, 4, 1) }),
        share(1, 1, 1),
        EXACT,
      );
    });

    it("margins grow with rarity", async () => {
      const { row } = await evaluatePlan(fusePreset("margin", { counts }), { base: [0, 0, 0] });
      expectClose(row, [0.25, 0.5 / Math.SQRT2, 0.5], EXACT);
      expect(() => fusePreset("margin", { counts: [1, 0] })).toThrow(
        '"options.counts[1]" must be above 0, got 0',
      );
    });

    it("scales and shifts of each class (MARC)", async () => {
      const plan = fusePreset("margin-calibration", { scales: [1, 0.5, 2, 0], shifts: [0, 1, -1, 3] });
      const { row } = await evaluatePlan(plan, { base: [4, -2, 1.5, -7] });
      expect(Array.from(row)).toEqual([4, 0, 2, 3]);
      // What is impossible stays so, also times 0.
      const masked = await evaluatePlan(plan, { base: [1, -Infinity, 1, -Infinity] });
      expect(Array.from(masked.row)).toEqual([1, -Infinity, 1, -Infinity]);
      const one = fusePreset("margin-calibration", { scales: [1, 1, 1], shifts: [0, 0, 0] });
      expect(Array.from((await evaluatePlan(one, { base: [1, 2, 3] })).row)).toEqual([1, 2, 3]);
      await expect(evaluatePlan(plan, { base: [1, 2, 3] })).rejects.toThrow(
        /must have . tokens, as "plan.tables/,
      );
      await expect(evaluatePlan(plan, { base: [NaN, 2, 3, 4] })).rejects.toThrow(
        '"rows.base" must have logits',
      );
      expect(() => fusePreset("margin-calibration", { scales: [1, 2], shifts: [1] })).toThrow(
        '"options.shifts" must have 2 numbers, one per scale, got 1',
      );
      expect(() => fusePreset("margin-calibration", { scales: [-1], shifts: [0] })).toThrow(
        '"plan.tables.scales.values[0]" must be a number from 0 to 1000000, got -1',
      );
    });

    it("adjusts by the strength that was asked for", async () => {
      const half = fusePreset("logit-adjustment", { counts, tau: 0.5 });
      expectClose(await lawOf(half, { base: ln(16, 4, 1) }), share(4, 2, 1), EXACT);
      const wide = fusePreset("margin", { counts, largest: 2 });
      expectClose((await evaluatePlan(wide, { base: [0, 0, 0] })).row, [1, Math.SQRT2, 2], EXACT);
    });

    it("a concept is a row that is always the same", async () => {
      const { row } = await evaluatePlan(fusePreset("steer", { strength: 2 }), {
        base: [1, 2],
        concept: [0.5, -1],
      });
      expect(Array.from(row)).toEqual([2, 0]);
    });

    it("a mask comes last", async () => {
      const plan = fusePreset("logit-mask", { bias: { 2: 5 }, forbid: [0] });
      const { row } = await evaluatePlan(plan, { base: [1, 2, 3, 4] }, { bitmask: Uint32Array.of(0b0111) });
      expect(Array.from(row)).toEqual([-Infinity, 2, 8, -Infinity]);
    });
  });
}
