/** What a program is said to ask of kernels is what it asks. */
import { describe, expect, it } from "vitest";
import type { RowKernels } from "../../../src/backend/fuse-kernels.ts";
import { kernelNamesOf } from "../../../src/decoding/fuse/kernel-names.ts";
import {
  compilePlan,
  evaluatePlan,
  FUSE_PRESETS,
  type FusePresetName,
  fusePreset,
  readPlan,
  referenceKernels,
} from "../../../src/decoding/fuse.ts";
import { createRandom, neededOptions, randomRow } from "./support.ts";

/** The definition, which notes what it is asked. */
function watched(asked: Set<string>): RowKernels<object> {
  return new Proxy(referenceKernels as RowKernels<object>, {
    get(kernels, name) {
      if (name !== "take" && name !== "free") asked.add(String(name));
      return kernels[name as keyof RowKernels<object>];
    },
  });
}

const names = Object.keys(FUSE_PRESETS) as FusePresetName[];

describe("names of kernels", () => {
  it.each(names)("preset %s", (name) => {
    const plan = fusePreset(name, neededOptions(name));
    const program = compilePlan(plan);
    if (Object.values(program.tables).some(({ kind }) => kind === "given")) return;
    const vocab = Object.keys(neededOptions(name)).length > 0 ? 2 : 40;
    const random = createRandom(5);
    const rows = Object.fromEntries(
      program.sources.map((source) => [source.name, randomRow(random, vocab + source.extra)]),
    );
    const inputs = Object.fromEntries(
      Object.entries(program.inputs).map(([input, count]) => [input, new Array<number>(count).fill(0.5)]),
    );
    const asked = new Set<string>();
    evaluatePlan(program, rows, { inputs, last: 1, audit: true }, watched(asked));
    expect(asked.size).toBeGreaterThan(2);
    const told = kernelNamesOf(program);
    expect([...asked].filter((one) => !told.has(one as never))).toEqual([]);
  });

  it("of numbers about tokens and pairs of rows", () => {
    const plan = readPlan({
      sources: ["a", "b"],
      lin: [
        { source: "a", weight: { stat: "kl", of: "a", to: "b" } },
        { source: "b", weight: { stat: "rank", of: "a", token: 1 } },
      ],
    });
    expect([...kernelNamesOf(compilePlan(plan))].sort()).toEqual([
      "distance",
      "lin",
      "rank",
      "read",
      "summary",
      "top",
    ]);
  });
});
