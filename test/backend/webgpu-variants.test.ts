/** Kernels that a device, a shape or a number of columns chooses: each one forced, where it can be had, against the formulas. */
import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import {
  createWebGpuBackend,
  type GpuDevice,
  type GpuOptions,
  openDevice,
  type WebGpuBackend,
} from "../../src/backend/webgpu/index.ts";
import { UnsupportedError } from "../../src/errors.ts";
import type { WeightType } from "../../src/format/blocks.ts";
import { testGpu } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { toleranceOf } from "./case/gpu-tolerance.ts";
import {
  expectClose,
  expectSame,
  fillMatrix,
  guarded,
  load,
  usualWeights,
  vectorOf,
  vectors,
} from "./case/harness.ts";
import { matmulCases } from "./case/matmul.ts";

const provider = await testGpu();

/** Or why it cannot be had. */
async function deviceWith(options: GpuOptions): Promise<GpuDevice | string> {
  if (typeof provider === "string") return provider;
  try {
    return await openDevice(provider, options);
  } catch (error) {
    if (error instanceof UnsupportedError) return error.message;
    throw error;
  }
}

const packed = await deviceWith({ packed: true });
const plain = await deviceWith({ packed: false, subgroups: false });

const backendOf = (gpu: GpuDevice | string): WebGpuBackend => createWebGpuBackend(gpu as GpuDevice);
const describeOn = (title: string, gpu: GpuDevice | string, cases: () => void) =>
  typeof gpu === "string" ? describe.skip(`${title}: skipped, ${gpu}`, cases) : describe(title, cases);

describeOn("dots of bytes", packed, () => {
  // Of 8 bits with a zero, of 14 with two scales to a unit; the others, whose code is the same but for decoding, below.
  matmulCases(() => backendOf(packed), toleranceOf(packed), ["Q4_0", "Q6_K"]);

  test("names itself", () => {
    expect(backendOf(packed)).toMatchObject({ build: "packed", variant: expect.stringMatching(/^packed/) });
  });
});

describeOn("without any of that", plain, () => {
  test("names itself", () => {
    expect(backendOf(plain)).toMatchObject({ build: "plain", variant: "plain" });
  });
});

/** What a matrix makes of each column. */
async function products(backend: WebGpuBackend, type: WeightType, cols: number, columns: number[]) {
  const [rows, count] = [70, Math.max(...columns)];
  const random = createRandom(cols);
  const matrix = fillMatrix(backend, type, rows, cols, usualWeights(type, rows, cols, random));
  const x = load(
    backend,
    vectors(count, cols, () => random.normal()),
  );
  const results: Float32Array[] = [];
  for (const some of columns) {
    const out = guarded(backend, some * 72);
    backend.matmul(x, some, [{ weights: matrix, out: out.floats }]);
    const found = await out.read();
    results.push(...Array.from({ length: some }, (_, c) => vectorOf(found, c, rows)));
  }
  return results;
}

describeOn("a tile", plain, () => {
  test.each([
    // Teams of 8 and of 32 threads, units that do not go round, rows that end within a unit and a tile.
    ["F16", 1001, plain],
    ["Q4_0", 896, plain],
    ["Q4_0", 2080, plain],
    ["Q8_0", 1568, packed],
    ["Q4_K", 768, packed],
    ["Q5_K", 1792, packed],
  ] as const)("over %s, %d wide, has the bits of eight columns", async (type, cols, gpu) => {
    if (typeof gpu === "string") return;
    const [most, few] = [300, 8];
    const found = await products(backendOf(gpu), type, cols, [few, 40, most]);
    for (let c = 0; c < few; c++) {
      expectSame(found[few + c], found[c], `column ${c} of 40`);
      expectSame(found[few + 40 + c], found[c], `column ${c} of ${most}`);
    }
    for (let c = 0; c < 40; c++) expectSame(found[few + 40 + c], found[few + c], `column ${c} of ${most}`);
    // The last one is of a second round of columns.
    const expected = await products(createReferenceBackend() as never, type, cols, [most]);
    // Rounding the inputs: six times what it is off in the mean, of 2,080 products.
    const error = gpu === plain ? 2e-4 : type === "Q4_K" ? 0.3 : 5e-3;
    for (const c of [0, 255, 256, most - 1]) {
      expectClose(found[few + 40 + c], expected[c], () => error, `column ${c}`);
    }
  });
});

describe.each([
  ["with subgroups", packed],
  ["without subgroups", plain],
] as const)("attention %s", (_, gpu) => {
  const seen = async (
    backend: Pick<
      WebGpuBackend,
      "kvCache" | "claimKv" | "storeKv" | "attention" | "floats" | "read" | "write" | "slice"
    >,
    { heads, kvHeads, headDim, length }: { heads: number; kvHeads: number; headDim: number; length: number },
    calls: readonly [position: number, columns: number][],
    window?: number,
  ) => {
    const random = createRandom(headDim);
    const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    const cache = backend.kvCache({ layers: 1, kvHeads, headDim }, length);
    backend.claimKv(cache, 0, length);
    const [key, value] = [normal(length * kvHeads * headDim), normal(length * kvHeads * headDim)];
    const all = { layer: 0, position: 0, columns: length };
    backend.storeKv(cache, load(backend as never, key), load(backend as never, value), all);
    const q = load(backend as never, normal(length * heads * headDim));
    const results: Float32Array[] = [];
    for (const [position, columns] of calls) {
      const size = heads * headDim;
      const out = guarded(backend as never, columns * size);
      const from = backend.slice(q, position * size, columns * size);
      backend.attention(out.floats, from, cache, {
        ...{ layer: 0, position, columns, heads, window },
        scale: 1 / Math.sqrt(headDim),
      });
      const found = await out.read();
      results.push(...Array.from({ length: columns }, (_, c) => found.subarray(c * size, (c + 1) * size)));
    }
    return results;
  };

  test.each([
    { heads: 2, kvHeads: 1, headDim: 256, length: 530 },
    { heads: 6, kvHeads: 2, headDim: 40, length: 1100 },
    { heads: 5, kvHeads: 1, headDim: 512, length: 270 },
  ])("$heads heads of $headDim over $length positions, in parts, alone and together", async (shape) => {
    if (typeof gpu === "string") return;
    const last = shape.length - 1;
    for (const window of [undefined, 300]) {
      const calls: [number, number][] = [
        [last - 20, 21],
        [last - 20, 1],
        [last, 1],
        [250, 10],
        [254, 1],
        [257, 1],
      ];
      const found = await seen(backendOf(gpu), shape, calls, window);
      expectSame(found[21], found[0], "one alone");
      expectSame(found[22], found[20], "the last alone");
      expectSame(found[33], found[23 + 4], "before the second part");
      expectSame(found[34], found[23 + 7], "in the second part");
      const expected = await seen(createReferenceBackend() as never, shape, calls, window);
      for (const [i, row] of found.entries()) {
        expectClose(row, expected[i], () => 2e-5, `call ${i}, window ${window}`);
      }
    }
  });
});

describe.skipIf(typeof provider === "string")("a device", () => {
  test("that should multiply bytes in a language that cannot is refused", async () => {
    const gpu = { requestAdapter: () => (provider as GPU).requestAdapter() };
    await expect(openDevice(gpu, { packed: true })).rejects.toThrow(
      'Cannot use WebGPU: "packed" needs packed_4x8_integer_dot_product, which this host does not have',
    );
    const device = await openDevice(gpu);
    expect(device.packed).toBe(false);
    device.close();
  });
});
