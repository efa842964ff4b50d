/** Worked examples of Dynamic Logits Fusion: logits are logarithms of small integers, so each can be checked by hand. */
import { describe, expect, it } from "vitest";
import type { RowKernels } from "../../../src/backend/fuse-kernels.ts";
import { referenceKernels } from "../../../src/backend/reference/fuse.ts";
import { type FuseContext, fusePreset, type Plan, type RowsByName } from "../../../src/decoding/fuse.ts";
import {
  type AnyKernels,
  answered,
  createRandom,
  EXACT,
  evaluateBy,
  expectClose as expectWithin,
  ln,
  ROUNDED,
  randomRow,
  share,
  softmax,
} from "./support.ts";

const BASE = ln(4, 2, 2);
const TUNED = ln(2, 1, 1);
const ANTI = ln(1, 1, 2);
const SMALL = { base: BASE, expert: TUNED, anti: ANTI };

/** @param slack What f32 adds to the tolerances. */
export function testDynamic(kernels: AnyKernels, slack: number): void {
  const evaluatePlan = (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    evaluateBy(kernels, plan, rows, context);
  const lawOf = async (plan: Plan, rows: RowsByName, context?: FuseContext) =>
    softmax((await evaluatePlan(plan, rows, context)).row);
  const expectClose = (actual: ArrayLike<number>, expected: readonly number[], tolerance = ROUNDED) =>
    expectWithin(actual, expected, Math.max(tolerance, slack));

  async function matchOf(plan: Plan, rows: Record<string, Float64Array>) {
    return (await evaluatePlan(plan, rows, { audit: true })).audit!.matches[0];
  }

  describe("dynamic logits fusion", () => {
    it("one expert, grid", async () => {
      const plan = fusePreset("dlf");
      const { alpha, objective, targets } = await matchOf(plan, SMALL);
      expect(alpha).toBe(1.1);
      expectClose([objective], [0.0009316929]);
      expectClose([targets[0].forward, targets[0].backward], [Math.LN2 / 4, Math.LN2 / 4], EXACT);
      expectClose(await lawOf(plan, SMALL), [0.7451136925, 0.1738039144, 0.0810823931]);
      // By hand: weights P·(2, 1, 1/2)^α.
      expectClose(await lawOf(plan, SMALL), share(2 * 2 ** 1.1, 1, 2 ** -1.1), EXACT);
    });

    it("one expert, continuous", async () => {
      const plan = fusePreset("dlf", { solver: "continuous" });
      const { alpha, objective } = await matchOf(plan, SMALL);
      // The vector's own α comes from a search that stops near 1e-8; the objective there is flat.
      expectClose([alpha], [1.1497023008], 2e-8);
      expectClose([objective], [0.0006137782]);
      expectClose(await lawOf(plan, SMALL), [0.7536177948, 0.1698346382, 0.076547567], 1e-8);
    });

    const tilt = (...asked: Parameters<RowKernels<object>["tilt"]>) =>
      answered(kernels, () => kernels.tilt(...asked));

    it("one expert: both divergences on the way, and where each meets its target", async () => {
      const [base, expert, anti] = [BASE, TUNED, ANTI].map((row) => kernels.take(row, 3, "row"));
      const start = (await tilt(base, expert, anti, 0, 0, 1))[0].mean;
      const at = async (alpha: number) => {
        const [{ logMass, mean }] = await tilt(base, expert, anti, alpha, 0, 1);
        return [alpha * mean - logMass, logMass - alpha * start];
      };
      expectClose(await at(0), [0, 0], EXACT);
      expectClose(await at(1), [0.1226399292, 0.145166936]);
      const target = Math.LN2 / 4;
      expectClose([(await at(1.2482776841))[0], (await at(1.1012855531))[1]], [target, target]);
      const objective = async (alpha: number) =>
        (await at(alpha)).reduce((sum, k) => sum + (k - target) ** 2, 0);
      expectClose([await objective(0), await objective(1)], [0.0600566267, 0.0033558315]);
      for (const row of [base, expert, anti]) kernels.free(row);
    });

    it("several experts: what each could do alone", async () => {
      const rows = [BASE, ANTI, TUNED, ln(1, 4, 1)].map((row) => kernels.take(row, 3, "row"));
      const [base, anti, ...experts] = rows;
      const targets = await Promise.all(
        experts.map((expert) => answered(kernels, () => kernels.matchTargets(base, expert, anti))),
      );
      const sweeps = await Promise.all(experts.map((expert) => tilt(base, expert, anti, 0, 0.1, 21)));
      const best = sweeps.map((laws) => {
        const objectives = laws.map(({ logMass, mean }, j) => {
          const alpha = j / 10;
          const [k1, k2] = [alpha * mean - logMass, logMass - alpha * laws[0].mean];
          return targets.reduce((sum, c) => sum + (k1 - c.forward) ** 2 + (k2 - c.backward) ** 2, 0);
        });
        const least = Math.min(...objectives);
        return [least, objectives.indexOf(least) / 10];
      });
      expectClose(best.flat(), [0.0615073438, 1.6, 0.0557839318, 1]);
      const mean = (side: "forward" | "backward") => (targets[0][side] + targets[1][side]) / 2;
      expectClose([mean("forward"), mean("backward")], [0.2882466988, 0.2893759516]);
      for (const row of rows) kernels.free(row);
    });

    it("as exactly as one exp per token in f32 can, over 131,072 tokens", async () => {
      const random = createRandom(131);
      const vocab = 131_072;
      const values = { base: randomRow(random, vocab, 2), anti: randomRow(random, vocab, 2) };
      const expert = values.anti.map((z) => z + 0.5 * random.normal());
      const rows = [values.base, expert, values.anti].map((row) => Float32Array.from(row));
      const divergences = async (by: AnyKernels) => {
        const [base, tuned, anti] = rows.map((row) => by.take(row, vocab, "row"));
        const laws = await answered(by, () => by.tilt(base, tuned, anti, 0, 0.1, 21));
        for (const row of [base, tuned, anti]) by.free(row);
        return laws.flatMap(({ logMass, mean }, j) => [
          (j / 10) * mean - logMass,
          logMass - (j / 10) * laws[0].mean,
        ]);
      };
      expectWithin(await divergences(kernels), await divergences(referenceKernels), slack);
    });

    it("at its bound", async () => {
      const rows = { base: ln(96, 2, 2), expert: ln(8, 1, 1), anti: ln(1, 1, 1) };
      const { alpha, objective, targets } = await matchOf(fusePreset("dlf"), rows);
      expect(alpha).toBe(2);
      expectClose(
        [objective, targets[0].forward, targets[0].backward],
        [0.3261302218, 0.459580429, 0.5108256238],
      );
      expectClose(await lawOf(fusePreset("dlf"), rows), share(96 * 64, 2, 2), EXACT);
      expect((await matchOf(fusePreset("dlf", { solver: "continuous" }), rows)).alpha).toBe(2);
    });

    it("several experts: the one that comes nearest to the targets of all", async () => {
      const rows = { base: BASE, expert1: TUNED, expert2: ln(1, 4, 1), anti: ANTI };
      const { expert, alpha, objective, targets } = await matchOf(fusePreset("dlf-multi"), rows);
      expect([expert, alpha]).toEqual([1, 1]);
      expectClose([objective], [0.0557839318]);
      expectClose([targets[1].forward, targets[1].backward], [0.4032066025, 0.4054651081]);
      expectClose(await lawOf(fusePreset("dlf-multi"), rows), share(4, 8, 1), EXACT);
      const first = fusePreset("dlf-multi", {
        experts: [
          ["expert1", "anti"],
          ["expert1", "anti"],
        ],
      });
      expect((await matchOf(first, { base: BASE, expert1: TUNED, anti: ANTI })).expert).toBe(0);
    });

    it("an expert that learned nothing changes nothing", async () => {
      const rows = { base: BASE, expert: ANTI, anti: ANTI };
      for (const solver of ["grid21", "continuous"] as const) {
        expect((await matchOf(fusePreset("dlf", { solver }), rows)).alpha).toBe(0);
        expectClose(await lawOf(fusePreset("dlf", { solver }), rows), [0.5, 0.25, 0.25], EXACT);
      }
    });
  });
}
