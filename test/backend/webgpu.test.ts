import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { referenceRowMath } from "../../src/backend/reference/row-math.ts";
import { createWebGpuBackend, type WebGpuBackendOptions } from "../../src/backend/webgpu/index.ts";
import { seededRandom } from "../../src/decoding/verify/random.ts";
import { bytesPerRow, WEIGHT_TYPES, type WeightType } from "../../src/format/blocks.ts";
import { describeBackend, type Tolerance } from "../backend.case.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { copyOf, expectClose, fillMatrix, load, rowOf, usualWeights } from "./case/harness.ts";

/** Half an f32 ulp at 1: the most that one operation adds. WGSL lets a quotient or a root be off by some. */
const ROUNDING = 2 ** -24;

const tolerance: Tolerance = {
  inputLevels: () => Number.POSITIVE_INFINITY,
  // A thread's sum of every 32nd unit, in order of k; then 32 of these.
  quantisedMatmul: 64 * ROUNDING,
  floatMatmul: 64 * ROUNDING,
  // Sums of squares of 64 threads, a quotient, a root, two products.
  norm: 24 * ROUNDING,
  rope: 4 * ROUNDING,
  swiglu: 12 * ROUNDING,
  gelu: 8 * ROUNDING,
  // f32 sums over headDim, whose errors exp multiplies by up to the score, and over the positions.
  attention: 128 * ROUNDING,
  softmax: 32 * ROUNDING,
  // The log of a sum of up to 64 · 256 parts.
  logSumExp: 2e-6,
  flushes: true,
};

/** A device that is emulated takes a second to compile a kernel. All types share the code around their decoders. */
const types: readonly WeightType[] = process.env.EDGEWISE_GPU ? WEIGHT_TYPES : ["F16", "Q4_0"];

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`WebGPU backend: skipped, ${skip}`);

const create = (options?: WebGpuBackendOptions) => {
  if (typeof gpu === "string") throw new Error(gpu);
  return createWebGpuBackend(gpu, options);
};

describeBackend("WebGPU backend", create, { tolerance, skip, absent: ["law", "screen"], types });

describe.skipIf(skip !== undefined)("WebGPU backend alone", () => {
  test.each(WEIGHT_TYPES)("matmul over %s in chunks of rows, of a part of them too", async (type) => {
    const [rows, cols] = [22, 256];
    const random = createRandom(3);
    const bytes = usualWeights(type, rows, cols, random);
    // Room for 8 rows of the smallest type, 4 of the largest.
    const backend = create({ maxBindingBytes: Math.max(4200, 8.2 * bytesPerRow(type, cols)) });
    const weights = fillMatrix(backend, type, rows, cols, bytes);
    const x = Float32Array.from({ length: cols }, random.normal);
    const sums = Float64Array.from({ length: rows }, (_, r) =>
      rowOf(type, cols, bytes, r).reduce((sum, w, k) => sum + w * x[k], 0),
    );
    for (const [first, count] of [
      [0, rows],
      [4, 12],
    ]) {
      const out = backend.floats(count);
      backend.matmul(load(backend, x), 1, [{ weights: backend.rowsOf(weights, first, count), out }]);
      const expected = sums.subarray(first, first + count);
      expectClose(await copyOf(backend, out), expected, () => 1e-4, `${type}, from ${first}`);
    }
    backend.close();
  });

  test("codebook heads have the bits of the definition", async () => {
    const rows: Float32Array[] = [];
    for (const backend of [create(), createReferenceBackend()]) {
      const kernels = backend.codebookKernels();
      const scores = load(backend, Float32Array.of(1.23456, -0.00012207, Number.NaN, 1e9, -3000));
      kernels.snap(scores, 5);
      const bias = Float32Array.of(0, 1, 2, 3, 4, 5, 0.25);
      const map = kernels.map(Uint16Array.of(0, 1, 2, 3, 4, 1, 0), bias);
      const out = backend.floats(7);
      kernels.row(out, scores, map);
      rows.push(await copyOf(backend, out));
      kernels.free(map);
    }
    expect(rows[0]).toEqual(rows[1]);
  });

  test("draws what the race of the definition gives, with its probability", async () => {
    const backend = create();
    const random = createRandom(4);
    for (const vocab of [1, 7, 1000, 32_003]) {
      const row = Float32Array.from({ length: vocab }, () => 3 * random.normal());
      if (vocab > 7) row.set([Number.NaN, Number.NEGATIVE_INFINITY], 5);
      const x = load(backend, row);
      for (let position = 0; position < 20; position++) {
        const [temperature, seed] = [[1, 0.6, 2][position % 3], 2 ** 40 + 3];
        const law = referenceRowMath.tempered(row, temperature);
        const drawn = await backend.drawKernels().draw(x, vocab, { temperature, seed, position });
        if (vocab === 1) expect(drawn?.token).toBe(0);
        if (drawn === null) continue;
        expect(drawn.token).toBe(referenceRowMath.gumbelArgmax(law, seededRandom(seed), position));
        expect(drawn.logProbability).toBeCloseTo(Math.log(law.values[drawn.token] / law.mass), 4);
      }
      const greedy = await backend.drawKernels().draw(x, vocab, { temperature: 0, seed: 1, position: 0 });
      expect(greedy).toEqual({ token: referenceRowMath.argmax(row), logProbability: 0 });
    }
  });

  test("two that are the same to the race are left to who can tell", async () => {
    const backend = create();
    const x = load(backend, new Float32Array(8).fill(Number.NEGATIVE_INFINITY));
    expect(await backend.drawKernels().draw(x, 8, { temperature: 1, seed: 1, position: 0 })).toBeNull();
  });
});
