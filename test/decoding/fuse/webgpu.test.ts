/** The kernels of a WebGPU device: what is asked of the definition, within what f32 sums leave. */
import { describe, expect, it } from "vitest";
import { createWebGpuBackend } from "../../../src/backend/webgpu/index.ts";
import {
  compilePlan,
  evaluatePlan,
  FUSE_PRESETS,
  type FusePresetName,
  fusePreset,
} from "../../../src/decoding/fuse.ts";
import { testDevice } from "../../support/gpu.ts";
import { testDecisions } from "./decisions.case.ts";
import { testDynamic } from "./dynamic.case.ts";
import { testKernels } from "./kernels.case.ts";
import { createRandom, evaluateBy, neededOptions, randomRow, softmax } from "./support.ts";
import { testVectors } from "./vectors.case.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`WebGPU fuse kernels: skipped, ${skip}`);

/** Around vectors, groups of threads and of tokens; an emulated device takes its time. */
const SIZES = process.env.EDGEWISE_GPU ? [1, 2, 5, 63, 257, 1027, 8193, 262_139] : [1, 5, 63, 1027, 8193];

/** How far golden numbers of a few tokens may be off. */
const SLACK = 2e-6;

/** KL of a fused row from the definition's: logits are off by 1e-5 or so, and KL by the square of that. */
const MOST_KL = 1e-8;

function divergence(p: readonly number[], q: readonly number[]): number {
  return p.reduce((sum, share, id) => sum + (share > 0 ? share * Math.log(share / q[id]) : 0), 0);
}

describe.skipIf(skip !== undefined)("WebGPU", { timeout: 120_000 }, () => {
  if (typeof gpu === "string") return;
  const backend = createWebGpuBackend(gpu);
  const kernels = backend.lateFuseKernels();
  testVectors(kernels, SLACK, 200);
  testDynamic(kernels, SLACK);
  testDecisions(kernels, SLACK);
  testKernels(backend, { late: kernels, sizes: SIZES, slack: 4 });

  const names = Object.keys(FUSE_PRESETS) as FusePresetName[];
  const plans = names.flatMap((name) => {
    const plan = fusePreset(name, neededOptions(name));
    // Between vocabularies, by tables of the models' tokenizers.
    const isWhole = Object.values(compilePlan(plan).tables).every(({ kind }) => kind !== "given");
    return isWhole ? [[name, plan] as const] : [];
  });

  it.each(plans)("preset %s", async (name, plan) => {
    const program = compilePlan(plan);
    const random = createRandom(name.length);
    // What must be given is given for two tokens.
    const vocab = Object.keys(neededOptions(name)).length > 0 ? 2 : 503;
    for (let round = 0; round < 3; round++) {
      const shared = randomRow(random, vocab);
      const rows = Object.fromEntries(
        program.sources.map((source) => {
          const own = randomRow(random, vocab + source.extra, 1);
          return [source.name, Float32Array.from(own, (z, id) => z + (shared[id] ?? 0))];
        }),
      );
      const inputs = Object.fromEntries(
        Object.entries(program.inputs).map(([input, count]) => [input, new Array<number>(count).fill(0.5)]),
      );
      const context = { inputs, position: round, seed: 4, last: 1, audit: true };
      const expected = evaluatePlan(program, rows, context);
      const found = await evaluateBy(kernels, program, rows, context);
      expect(divergence(softmax(expected.row), softmax(found.row)), name).toBeLessThan(MOST_KL);
      expect(found.audit!.routes).toEqual(expected.audit!.routes);
      expect(found.audit!.sources).toEqual(expected.audit!.sources);
      expect(found.audit!.entropy).toBeCloseTo(expected.audit!.entropy, 4);
    }
  });

  it("gives all memory back", async () => {
    const program = compilePlan(fusePreset("dlf"));
    const random = createRandom(3);
    const rows = Object.fromEntries(
      program.sources.map(({ name }) => [name, Float32Array.from(randomRow(random, 999))]),
    );
    await evaluateBy(kernels, program, rows, {});
    const used = backend.usedBytes;
    for (let i = 0; i < 5; i++) await evaluateBy(kernels, program, rows, {});
    const wrong = { ...rows, anti: rows.anti.map((z, id) => (id === 7 ? Number.NaN : z)) };
    await expect(evaluateBy(kernels, program, wrong, {})).rejects.toThrow('"rows.anti" must have logits');
    expect(backend.usedBytes).toBe(used);
  });
});
