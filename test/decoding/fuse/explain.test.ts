import { describe, expect, it } from "vitest";
import { passesOf } from "../../../src/decoding/fuse/explain.ts";
import {
  compilePlan,
  evaluatePlan,
  explainPlan,
  FUSE_PRESETS,
  type FusePresetName,
  fusePreset,
  type Plan,
} from "../../../src/decoding/fuse.ts";
import { createRandom, neededOptions, randomRow } from "./support.ts";

const passes = (plan: Plan) => passesOf(compilePlan(plan));
const operations = (plan: Plan) => passes(plan).map((pass) => pass.operations.map(({ op }) => op));

describe("explainPlan", () => {
  it("prints passes, what they read, and what is between them", () => {
    expect(explainPlan(fusePreset("dlf", { base: "large" }))).toMatchInlineSnapshot(`
      "plan ede1fc1feb2e2c08 of large, expert, anti
      pass 1: 12 B read per token of the vocabulary
        match     plan.let.alpha           12 B in, 4 exp, log-sum-exp
      pass 2: 12 B read per token of the vocabulary
        lin       plan                     12 B in, 4 B out
      between them: 2 numbers, 0 remembered"
    `);
    expect(explainPlan(fusePreset("contrastive"))).toMatchInlineSnapshot(`
      "plan 16b3ff134cabc979 of expert, amateur
      pass 1: 8 B read per token of the vocabulary
        summary   plan.support[0]          4 B in, 1 exp, log-sum-exp
        summary   plan.lin[1]              4 B in, 1 exp, log-sum-exp
      pass 2: 8 B read per token of the vocabulary
        lin       plan                     8 B in, 4 B out
      between them: 3 numbers, 0 remembered"
    `);
  });

  it("counts one pass for sums, two or three for the rest, more only between vocabularies and for GeDi", () => {
    expect(operations(fusePreset("proxy-tuning"))).toEqual([["lin"]]);
    expect(operations(fusePreset("contrastive-logits"))).toEqual([["summary"], ["lin"]]);
    expect(operations(fusePreset("mixture"))).toEqual([["summary", "summary"], ["mix"]]);
    expect(operations(fusePreset("dlf"))).toEqual([["match"], ["lin"]]);
    for (const name of Object.keys(FUSE_PRESETS) as FusePresetName[]) {
      const plan = fusePreset(name, neededOptions(name));
      const most = { unite: 5, eva: 7, gac: 5, "x-token": 4, gedi: 5 }[name as string] ?? 3;
      expect(passes(plan).length, name).toBeLessThanOrEqual(most);
    }
  });

  it("reads a row once per pass, 4 bytes per token, and knows what needs a log-sum-exp", () => {
    const [sum] = passes(fusePreset("proxy-tuning"));
    expect(sum.bytesRead).toBe(12);
    expect(sum.operations[0]).toMatchObject({ needsLse: false, exps: 0, bytesRead: 12, bytesWritten: 4 });
    const [partitions, mix] = passes(fusePreset("mixture"));
    expect(partitions.operations.every(({ needsLse, exps }) => needsLse && exps === 1)).toBe(true);
    expect(mix.operations[0]).toMatchObject({ needsLse: true, exps: 2, bytesRead: 8 });
    // One source twice in a sum is read once.
    expect(passes({ sources: ["a"], lin: [{ source: "a" }, { source: "a", weight: 2 }] })[0].bytesRead).toBe(
      4,
    );
  });

  it("claims that the argmax is kept only where it is", () => {
    const random = createRandom(1);
    const kept: Plan[] = [
      { sources: ["a"], source: "a", temperature: 0.5, norm: "logsoftmax" },
      { sources: ["a"], source: "a", support: [{ minP: 0.1 }, { topK: 3 }, { topP: 0.5 }] },
    ];
    const claims = (plan: Plan) =>
      passes(plan)
        .flat()
        .flatMap((pass) => pass.operations.filter(({ op }) => op === "lin"))
        .every(({ keepsArgmax }) => keepsArgmax);
    const argmaxOf = (row: ArrayLike<number>) => Array.from(row).indexOf(Math.max(...Array.from(row)));
    for (const plan of kept) {
      expect(claims(plan)).toBe(true);
      for (let round = 0; round < 30; round++) {
        const a = randomRow(random, 12);
        expect(argmaxOf(evaluatePlan(plan, { a }).row)).toBe(argmaxOf(a));
      }
    }
    const others: Plan[] = [
      { sources: ["a"], lin: [{ source: "a", weight: -1 }] },
      { sources: ["a"], source: "a", norm: "maxnorm", support: [{ forbid: [0] }] },
      { sources: ["a", "b"], source: "a", support: [{ topK: 1, of: "b" }] },
      { sources: ["a", "b"], lin: [{ source: "a" }, { source: "b" }] },
    ];
    for (const plan of others) expect(claims(plan)).toBe(false);
  });
});
