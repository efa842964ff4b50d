/** Heads on a WebGPU device: product codes with the best tokens made exactly, and what is not to be had there. */
import { afterAll, describe, expect, test } from "vitest";
import { type Backend, stride } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { UnsupportedError } from "../../src/errors.ts";
import { bytesPerRow, WEIGHT_TYPES, type WeightType } from "../../src/format/blocks.ts";
import { certifiedFormat } from "../../src/model/head/certified-format.ts";
import { ProductHead } from "../../src/model/head/product-head.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";
import { copyOf, fillMatrix, load, rowOf, usualWeights } from "./case/harness.ts";
import { randomTables } from "./case/screen.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`WebGPU heads: skipped, ${skip}`);

/** An emulated device takes a second to compile a kernel. */
const types: readonly WeightType[] = process.env.EDGEWISE_GPU ? WEIGHT_TYPES : ["F16", "Q8_0", "Q4_0"];

describe.skipIf(skip !== undefined)("on WebGPU", { timeout: 60_000 }, () => {
  if (typeof gpu === "string") return;
  const backends: Backend[] = [];
  const open = (maxBindingBytes?: number) => {
    backends.push(createWebGpuBackend(gpu, { maxBindingBytes }));
    return backends.at(-1)!;
  };
  afterAll(() => {
    for (const backend of backends) backend.close();
  });

  const [VOCAB, HIDDEN, SHORTLIST] = [1037, 256, 20];

  test.each([
    ...types.map((type) => [type, VOCAB, HIDDEN] as const),
    // Of no whole blocks, of one pair of sub-vectors, of less than a tile.
    ["F16", 1037, 200],
    ["F16", 333, 8],
    ["F16", 5, 40],
  ] as const)(
    "a product head's row is that of its codes, and exact where it is best, over %s, %d x %d",
    async (type, vocab, hidden) => {
      const random = createRandom(9);
      const { tables } = randomTables(vocab, hidden, random);
      const bytes = usualWeights(type, vocab, hidden, random);
      const x = Float32Array.from({ length: hidden }, random.normal);
      // In chunks, of the codes too.
      const backend = open(Math.max(300 * bytesPerRow(type, hidden), 4096));
      const dense = fillMatrix(backend, type, vocab, hidden, bytes);
      const head = new ProductHead(backend, tables, dense, SHORTLIST);
      const out = backend.floats(stride(vocab));
      head.rows(load(backend, x), 1, out);
      const row = (await copyOf(backend, out)).subarray(0, vocab);
      const definition = createReferenceBackend();
      const room = definition.floats(Math.ceil(vocab / 16) * 16);
      const kernels = definition.screenKernels();
      kernels.productLogits(load(definition, x), kernels.productCodes(tables), room);
      const coded = Array.from(await copyOf(definition, room)).slice(0, vocab);
      const best = [...coded.keys()].sort((a, b) => coded[b] - coded[a]).slice(0, SHORTLIST);
      const tiles = new Set(best.map((token) => token >> 2));
      for (let token = 0; token < vocab; token++) {
        const isExact = tiles.has(token >> 2);
        const weights = rowOf(type, hidden, bytes, token);
        const exact = weights.reduce((sum, w, k) => sum + w * x[k], 0);
        const size = isExact ? weights.reduce((sum, w, k) => sum + Math.abs(w * x[k]), 0) : 400;
        expect(Math.abs(row[token] - (isExact ? exact : coded[token])), `token ${token}`).toBeLessThan(
          1e-6 * size,
        );
      }
      const used = backend.usedBytes;
      head.close();
      expect(used - backend.usedBytes).toBeGreaterThanOrEqual(ProductHead.heldBytes(backend, vocab, hidden));
    },
  );

  test("it tells the best tokens, draws, and sums up, as the definition does", async () => {
    const random = createRandom(10);
    const { tables } = randomTables(VOCAB, HIDDEN, random);
    // Logits as models have them.
    const small = { ...tables, codebook: tables.codebook.map((word) => word / 16) };
    const bytes = usualWeights("F16", VOCAB, HIDDEN, random);
    const states = Array.from({ length: 3 }, () => Float32Array.from({ length: HIDDEN }, random.normal));
    const [ours, theirs] = await Promise.all(
      [open(), createReferenceBackend()].map(async (backend) => {
        const dense = fillMatrix(backend, "F16", VOCAB, HIDDEN, bytes);
        const head = new ProductHead(backend, small, dense, SHORTLIST);
        const answers: (readonly [number[], number, number, number])[] = [];
        for (const values of states) {
          const state = load(backend, values);
          const { ids } = await head.top(state, 5);
          const drawn = await head.sample(state, { temperature: 0.8, seed: 3, position: 7 });
          const partition = await head.logPartition(state, 0.7);
          answers.push([[...ids], await head.argmax(state), drawn, partition]);
        }
        return answers;
      }),
    );
    for (const [i, [ids, best, drawn, partition]] of ours.entries()) {
      expect([ids, best, drawn]).toEqual(theirs[i].slice(0, 3));
      expect(partition).toBeCloseTo(theirs[i][3], 4);
    }
  });

  test("a screen that lists tokens is not to be had", () => {
    const backend = open();
    expect(certifiedFormat.isOutdone!(backend)).toBe(true);
    expect(() => backend.screenKernels().listAbove(backend.floats(4), 4, 0, 4)).toThrow(UnsupportedError);
  });
});
