/** Kernels that a device, a shape or a number of columns chooses: each one forced, where it can be had, against the formulas. */
import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import {
  createWebGpuBackend,
  type GpuDevice,
  type GpuOptions,
  type GpuProvider,
  openDevice,
  type WebGpuBackend,
} from "../../src/backend/webgpu/index.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { blockSize, WEIGHT_TYPES, type WeightType } from "../../src/format/blocks.ts";
import { compilingGpu, testGpu } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { toleranceOf } from "./case/gpu-tolerance.ts";
import {
  expectClose,
  expectSame,
  fillMatrix,
  guarded,
  load,
  rowOf,
  usualWeights,
  vectorOf,
  vectors,
} from "./case/harness.ts";
import { matmulCases } from "./case/matmul.ts";

const QUANTISED = WEIGHT_TYPES.filter((type) => blockSize(type).weights > 1);

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
const plain = await deviceWith({ packed: false, f16: false, subgroups: false });
const halves = await deviceWith({ f16: true });

const backendOf = (gpu: GpuDevice | string): WebGpuBackend => createWebGpuBackend(gpu as GpuDevice);
const describeOn = (title: string, gpu: object | string, cases: () => void) =>
  typeof gpu === "string" ? describe.skip(`${title}: skipped, ${gpu}`, cases) : describe(title, cases);

describeOn("dots of bytes", packed, () => {
  // Of 8 bits with a zero, of 14 with two scales to a unit; the others, whose code is the same but for decoding, below.
  matmulCases(() => backendOf(packed), toleranceOf(packed), ["Q4_0", "Q6_K"]);

  test("names itself", () => {
    expect(backendOf(packed)).toMatchObject({ build: "packed", variant: expect.stringMatching(/^packed/) });
  });
});

describeOn("half floats", halves, () => {
  // With a zero, with a minimum, with a byte to a code, with two scales to a unit.
  matmulCases(() => backendOf(halves), toleranceOf(halves), ["Q4_0", "Q5_1", "Q8_0", "Q6_K"]);

  test("names itself", () => {
    expect(backendOf(halves)).toMatchObject({ build: "f16", variant: expect.stringMatching(/^f16/) });
  });
});

describeOn("without any of that", plain, () => {
  test("names itself", () => {
    expect(backendOf(plain)).toMatchObject({ build: "plain", variant: "plain" });
  });
});

/** How far a row is from the formulas, in the mean and of its deviation; and in nats of KL, of logits that deviate by 2.5. */
interface Loss {
  readonly error: number;
  readonly nats: number;
}

const LOSSES: readonly [string, GpuDevice | string, readonly WeightType[], Loss][] = [
  ["f32", plain, ["Q4_0"], { error: 4e-7, nats: 1e-12 }],
  ["dots of bytes, 8 bits", packed, ["Q4_1", "IQ4_NL"], { error: 6e-3, nats: 1e-4 }],
  ["dots of bytes, 14 bits", packed, ["Q5_0", "Q5_1"], { error: 1e-4, nats: 5e-8 }],
  ["half floats", halves, QUANTISED, { error: 7e-4, nats: 3e-6 }],
];
for (const [name, gpu, types, most] of LOSSES) {
  describeOn(`a row by ${name}`, gpu, () => {
    test.each(types)("over %s loses no more than is said of it", async (type) => {
      const { error, nats } = await lossOf(backendOf(gpu), type);
      expect(error).toBeLessThan(most.error);
      expect(nats).toBeLessThan(most.nats);
    });
  });
}

async function lossOf(backend: WebGpuBackend, type: WeightType): Promise<Loss> {
  const [rows, cols] = [512, 768];
  const random = createRandom(5);
  const bytes = usualWeights(type, rows, cols, random);
  const x = Float32Array.from({ length: cols }, random.normal);
  const exact = Array.from({ length: rows }, (_, r) =>
    rowOf(type, cols, bytes, r).reduce((sum, w, k) => sum + w * x[k], 0),
  );
  const out = backend.floats(rows);
  backend.matmul(load(backend, x), 1, [{ weights: fillMatrix(backend, type, rows, cols, bytes), out }]);
  const found = Array.from(await backend.read(out));
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  const mean = total(exact) / rows;
  const deviation = Math.sqrt(total(exact.map((value) => (value - mean) ** 2)) / rows);
  const error = Math.sqrt(total(found.map((value, r) => (value - exact[r]) ** 2)) / rows) / deviation;
  const logLaw = (row: readonly number[]) => {
    const logits = row.map((value) => (value * 2.5) / deviation);
    const norm = Math.log(total(logits.map(Math.exp)));
    return logits.map((logit) => logit - norm);
  };
  const [p, q] = [logLaw(exact), logLaw(found)];
  return { error, nats: total(p.map((log, r) => Math.exp(log) * (log - q[r]))) };
}

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
  test.for([
    // Teams of 8 and of 32 threads, units that do not go round, rows that end within a unit and a tile.
    ["F16", 1001, plain],
    ["Q4_0", 896, plain],
    ["Q4_0", 2080, plain],
    ["Q8_0", 1568, packed],
    ["Q4_K", 768, packed],
    ["Q5_K", 1792, packed],
    ["Q5_1", 992, halves],
    ["Q8_0", 1568, halves],
    ["Q6_K", 768, halves],
  ] as const)("over %s, %d wide, has the bits of eight columns", async ([type, cols, gpu], { skip }) => {
    if (typeof gpu === "string") skip(gpu);
    const [most, few] = [300, 8];
    const found = await products(backendOf(gpu), type, cols, [few, 40, most]);
    for (let c = 0; c < few; c++) {
      expectSame(found[few + c], found[c], `column ${c} of 40`);
      expectSame(found[few + 40 + c], found[c], `column ${c} of ${most}`);
    }
    for (let c = 0; c < 40; c++) expectSame(found[few + 40 + c], found[few + c], `column ${c} of ${most}`);
    // The last one is of a second round of columns.
    const expected = await products(createReferenceBackend() as never, type, cols, [most]);
    // Rounding: six times what it is off in the mean, of 2,080 products.
    const error = gpu === plain ? 2e-4 : type === "Q4_K" ? 0.3 : gpu === packed ? 5e-3 : 4e-2;
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

describeOn("a device", provider, () => {
  test("that should multiply bytes in a language that cannot is refused", async () => {
    const gpu = { requestAdapter: () => (provider as GPU).requestAdapter() };
    await expect(openDevice(gpu, { packed: true })).rejects.toThrow(
      'Cannot use WebGPU: "packed" needs packed_4x8_integer_dot_product, which this host does not have',
    );
    const device = await openDevice(gpu);
    expect(device.products).not.toBe("packed");
    device.close();
  });
});

const compiling = await compilingGpu();

describeOn("a device that only compiles", compiling, () => {
  /** The same, as another maker's. */
  const gpuOf = (vendor: string, without?: string): GpuProvider => ({
    wgslLanguageFeatures: (compiling as GpuProvider).wgslLanguageFeatures,
    async requestAdapter() {
      const adapter = (await (compiling as GpuProvider).requestAdapter())!;
      const features = new Set([...adapter.features].filter((feature) => feature !== without));
      return {
        ...{ features, limits: adapter.limits, info: { vendor } as GPUAdapterInfo },
        requestDevice: (descriptor) => adapter.requestDevice(descriptor),
      } as GPUAdapter;
    },
  });

  test.each([
    ["nvidia", {}, "packed"],
    ["apple", {}, "f16"],
    ["arm", {}, "f16"],
    ["google", {}, "plain"],
    ["nvidia", { packed: false }, "plain"],
    ["nvidia", { f16: true }, "f16"],
    ["apple", { packed: true }, "packed"],
    ["apple", { f16: false }, "plain"],
    ["google", { f16: true }, "f16"],
  ] as const)("of %s, asked for %o, makes products %s", async (vendor, options, products) => {
    const device = await openDevice(gpuOf(vendor), options);
    expect(device.products).toBe(products);
    device.close();
  });

  test("that should have half floats and has none is refused", async () => {
    await expect(openDevice(gpuOf("apple", "shader-f16"), { f16: true })).rejects.toThrow(
      new UnsupportedError('Cannot use WebGPU: "f16" needs shader-f16, which this adapter does not have'),
    );
    const device = await openDevice(gpuOf("apple", "shader-f16"));
    expect(device.products).toBe("plain");
    device.close();
  });

  test("that should do both is refused", async () => {
    await expect(openDevice(gpuOf("apple"), { packed: true, f16: true })).rejects.toThrow(
      new RangeError('"f16" must be false where "packed" is true, got true'),
    );
  });

  test.each(["f16", "packed"] as const)("takes all kernels of %s", async (products) => {
    const backend = createWebGpuBackend(await openDevice(gpuOf("google"), { [products]: true }), {
      ownsDevice: true,
    });
    let compiled = 0;
    await backend.prepare(WEIGHT_TYPES, (ready) => {
      compiled = ready;
    });
    expect(compiled).toBeGreaterThan(5 * WEIGHT_TYPES.length);
    expect(backend.failure).toBeNull();
    backend.close();
  });
});
