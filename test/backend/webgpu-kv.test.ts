/** Keys and values on WebGPU, over devices that bind more and less at once. */
import { describe, expect, it } from "vitest";
import type { KvCache } from "../../src/backend/backend.ts";
import { createWebGpuBackend, type GpuDevice, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { MemoryError } from "../../src/errors.ts";
import { testDevice } from "../support/gpu.ts";
import { createRandom } from "../support/random.ts";

const gpu = await testDevice();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`keys and values on WebGPU: skipped, ${skip}`);

const GIB = 2 ** 30;
const SHAPE = { layers: 3, kvHeads: 2, headDim: 16 };
const SIZE = SHAPE.kvHeads * SHAPE.headDim;
/** Into a second page. */
const LENGTH = 70;
/** Of one layer: 64 positions of keys and values, 16 numbers of 16 bits and a step each, for 2 heads. */
const PAGE_BYTES = 2 * 64 * 2 * (16 * 2 + 4);

/** The same device, as if it bound no more. Nothing here takes as much as it says. */
function binding(maxBindingBytes: number): GpuDevice {
  if (typeof gpu === "string") throw new Error(gpu);
  const { device, name, subgroupSize, products, variant, hasTimestamps } = gpu;
  const parts = { device, name, subgroupSize, products, variant, hasTimestamps, failure: null };
  return { ...parts, maxBindingBytes, close: () => {} };
}

describe.skipIf(skip !== undefined)("keys and values on WebGPU", { timeout: 180_000 }, () => {
  it("are the same however many layers share a buffer", async () => {
    const found: Float32Array[][] = [];
    // All three, two and one, each alone.
    for (const most of [8 * GIB, 4 * GIB, 1 * GIB]) {
      const backend = createWebGpuBackend(binding(most));
      const cache = backend.kvCache(SHAPE, LENGTH);
      fill(backend, cache, 0, LENGTH, 1);
      const fork = backend.forkKv(cache, LENGTH - 2, LENGTH);
      // In a page that both have: it is copied, with what is before.
      fill(backend, fork, LENGTH - 2, LENGTH, 2);
      const rows: Float32Array[] = [];
      for (const one of [cache, fork]) {
        for (let layer = 0; layer < SHAPE.layers; layer++) rows.push(await look(backend, one, layer));
      }
      found.push(rows);
      backend.close();
    }
    expect(new Set(found[0].map(String)).size).toBe(6);
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).toEqual(found[0]);
  });

  it("take more than a binding together, and are refused where a layer would", () => {
    const shape = { ...SHAPE, layers: 4 };
    // Twelve pages, and room for tables.
    const backend = createWebGpuBackend(binding(12 * PAGE_BYTES + 1024));
    expect(backend.kvBytes(shape, 64)).toBe(4 * PAGE_BYTES);
    const caches = [0, 1].map(() => backend.kvCache(shape, 4 * 64));
    for (const cache of caches) backend.claimKv(cache, 0, 4 * 64);
    expect(backend.usedBytes).toBe(32 * PAGE_BYTES);
    const refused = (open: () => unknown) => {
      expect(open).toThrow(MemoryError);
      expect(open).toThrow(/^Cannot allocate keys and values: [\d,]+ bytes are needed in one buffer/);
      expect(backend.usedBytes).toBe(32 * PAGE_BYTES);
    };
    refused(() => backend.kvCache(shape, 3 * 64));
    refused(() => backend.forkKv(caches[0], 64, 4 * 64));
    const small = backend.kvCache(shape, 64);
    backend.claimKv(small, 0, 64);
    for (const cache of [small, ...caches]) backend.free(cache);
    expect(backend.usedBytes).toBe(0);
    const large = backend.kvCache(shape, 11 * 64);
    backend.claimKv(large, 0, 11 * 64);
    backend.close();
  });
});

/** Stores numbers of a seed at positions from `from` on, others in each layer. */
function fill(backend: WebGpuBackend, cache: KvCache, from: number, end: number, seed: number): void {
  const columns = end - from;
  const random = createRandom(seed);
  const [key, value] = [0, 1].map(() => backend.floats(columns * SIZE));
  backend.claimKv(cache, from, columns);
  for (let layer = 0; layer < SHAPE.layers; layer++) {
    for (const floats of [key, value]) {
      backend.write(floats, Float32Array.from({ length: columns * SIZE }, random.normal));
    }
    backend.storeKv(cache, key, value, { layer, position: from, columns });
  }
}

/** What the last position attends to. */
async function look(backend: WebGpuBackend, cache: KvCache, layer: number): Promise<Float32Array> {
  const heads = 2 * SHAPE.kvHeads;
  const [q, out] = [0, 1].map(() => backend.floats(heads * SHAPE.headDim));
  backend.write(q, Float32Array.from({ length: q.length }, createRandom(9).normal));
  backend.attention(out, q, cache, { layer, heads, position: LENGTH - 1, columns: 1, scale: 0.25 });
  return (await backend.read(out)).slice();
}
