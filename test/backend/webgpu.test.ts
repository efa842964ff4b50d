import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWebGpuBackend, type WebGpuBackendOptions } from "../../src/backend/webgpu/index.ts";
import { bytesPerRow, WEIGHT_TYPES, type WeightType } from "../../src/format/blocks.ts";
import { describeBackend } from "../backend.case.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { toleranceOf } from "./case/gpu-tolerance.ts";
import { copyOf, expectClose, fillMatrix, load, rowOf, usualWeights } from "./case/harness.ts";

/** A device that is emulated takes a second to compile a kernel. All types share the code around their decoders. */
const types: readonly WeightType[] = process.env.EDGEWISE_GPU ? WEIGHT_TYPES : ["F16", "Q4_0"];

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`WebGPU backend: skipped, ${skip}`);

const create = (options?: WebGpuBackendOptions) => {
  if (typeof gpu === "string") throw new Error(gpu);
  return createWebGpuBackend(gpu, options);
};

const tolerance = toleranceOf(gpu);

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
});
