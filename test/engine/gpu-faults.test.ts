/** Models that share a WebGPU device, of which one has to leave it: the others stay, and no text notices. */
import { describe, expect, it } from "vitest";
import { PlacedRow } from "../../src/backend/fuse-kernels.ts";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { placedRows } from "../../src/engine/placed-rows.ts";
import { fuseModels, fusePreset, type Model } from "../../src/node.ts";
import { countBytes, starve } from "../support/faulty-device.ts";
import {
  backends,
  bytesOf,
  device,
  expectedOf,
  load,
  skip,
  TEXT,
  TIMEOUT_MS,
  tokensOf,
} from "./faulty-models.ts";

/** Less than a region takes for two pages of a model with heads of 128, more than one with heads of 64 does. */
const TWO_PAGES = 200_000;
/** GPUBufferUsage. */
const COPY_SOURCE = 4;

describe.skipIf(skip !== undefined)("models that share a device", { timeout: TIMEOUT_MS }, () => {
  it("go on while one is loaded that does not fit", async () => {
    const bytes = bytesOf(1);
    const model = await load(bytes);
    const starving = starve(device!.device, (size, usage) => size > 100_000 && (usage & COPY_SOURCE) === 0);
    const larger = bytesOf(2, { vocab: 2048 });
    const found = await tokensOf(model, {}, async (count) => {
      if (count !== 3) return;
      const other = await load(larger);
      expect(other.backend).toBe("wasm");
      expect(other.fallback).toMatch(/^Cannot go on with WebGPU: (out of memory|.*usage)[^\n]*$/i);
      await expect(load(larger, { backend: "webgpu" })).rejects.toThrow(/^Cannot go on with WebGPU: /);
    }).finally(starving.end);
    expect(starving.refused).toBeGreaterThan(1);
    expect(found).toEqual(await expectedOf(bytes));
    expect([model.backend, model.fallback]).toEqual(["webgpu", undefined]);
  });

  it("go on while keys and values of one find no room, and so does that one, elsewhere", async () => {
    const files = [bytesOf(1), bytesOf(2, { headDim: 128 })];
    const [small, large] = [await load(files[0]), await load(files[1])];
    const starving = starve(device!.device, (size, usage) => size > TWO_PAGES && (usage & COPY_SOURCE) !== 0);
    const found = await Promise.all([tokensOf(small), tokensOf(large)]).finally(starving.end);
    expect(starving.refused).toBe(1);
    expect(found).toEqual([await expectedOf(files[0]), await expectedOf(files[1])]);
    expect([small.backend, large.backend]).toEqual(["webgpu", "wasm"]);
    expect(large.fallback).toMatch(/^Cannot go on with WebGPU: (out of memory|.*usage)/i);
    // All is given back at once.
    expect(() => backends.at(-1)!.matrix("F32", 4, 32)).toThrow(/^Cannot go on with WebGPU/);
  });

  it("fuse their rows there, with those of one that left", async () => {
    const files = [bytesOf(1), bytesOf(2, { headDim: 128 }), bytesOf(3)];
    const fusedOf = ([base, expert, anti]: readonly Model[]) =>
      fuseModels(fusePreset("proxy-tuning"), { base, expert, anti });
    const plain = await Promise.all(files.map((bytes) => load(bytes, { backend: "wasm" })));
    const expected = await tokensOf(fusedOf(plain));
    const models = [await load(files[0]), await load(files[1]), await load(files[2])];
    const [base, , anti] = backends.slice(-3);
    const starving = starve(device!.device, (size, usage) => size > TWO_PAGES && (usage & COPY_SOURCE) !== 0);
    const reads: number[] = [];
    const found = await tokensOf(fusedOf(models), {}, (count) => {
      reads.push(base.traffic.readBytes, anti.traffic.readBytes);
      // The expert has left by then; rows have been fused in memory of the base, which now leaves too.
      if (count === 7) base.abandon();
    }).finally(starving.end);
    expect(starving.refused).toBe(1);
    expect(found).toEqual(expected);
    expect(models.map(({ backend }) => backend)).toEqual(["wasm", "wasm", "webgpu"]);
    const [before, after] = [reads.slice(12, 14), reads.slice(-2)];
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBeGreaterThan(before[1]);
  });

  it("are not disturbed by a call of one that is wrong", async () => {
    const [one, other] = [1, 2].map(() => createWebGpuBackend(device!));
    const values = Float32Array.of(3, 1, 2);
    const [x, y] = [one, other].map((backend) => {
      const floats = backend.floats(3);
      backend.write(floats, values);
      return floats;
    });
    one.write(one.slice(x, 1 << 20, 3), values);
    await expect(one.read(x) as Promise<unknown>).rejects.toThrow(/^Cannot go on with WebGPU: \S/);
    expect(one.failure).not.toBeNull();
    expect(await other.read(y)).toEqual(values);
    expect([other.failure, device!.failure]).toEqual([null, null]);
    for (const backend of [one, other]) backend.close();
  });

  it.each(["abandon", "close"] as const)("give all memory back: %s", async (end) => {
    const held = countBytes(device!.device);
    const model = await load(bytesOf(1), { backend: "webgpu" });
    const session = model.open();
    await session.forward(TEXT);
    expect(held.bytes).toBeGreaterThan(100_000);
    // Somebody waits for this one.
    const last = session.forward([1]).then(
      () => "read",
      () => "refused",
    );
    if (end === "close") model.close();
    else backends.at(-1)!.abandon();
    const told = await last;
    // Once it failed, the model goes on elsewhere.
    expect(told).toBe(end === "close" ? "refused" : "read");
    held.end();
    expect(held.bytes).toBe(0);
  });

  it("hand out no rows before it is known that their memory is there", async () => {
    const backend = createWebGpuBackend(device!);
    const starving = starve(device!.device, (size) => size > TWO_PAGES);
    const floats = backend.floats(TWO_PAGES);
    starving.end();
    const place = { backend, vocab: 3, count: 1, floats: () => floats, expectCurrent: () => {} };
    await expect(placedRows(place)).rejects.toThrow(/^Cannot go on with WebGPU: \S/);
    backend.close();
  });

  it("rely on rows of another one for as long as it is well", async () => {
    const [one, other] = [1, 2].map(() => createWebGpuBackend(device!));
    const values = Float32Array.of(3, 1, 2);
    const x = one.floats(3);
    one.write(x, values);
    const kernels = other.lateFuseKernels();
    const readOf = async () => {
      const row = kernels.take(new PlacedRow(one, x), 3, "one");
      kernels.read(row);
      await kernels.settle();
      return kernels.read(row);
    };
    expect(await readOf()).toEqual(values);
    // What was to be the row was refused, and nobody has been told yet.
    one.write(one.slice(x, 1 << 20, 3), values);
    await expect(readOf()).rejects.toThrow(/^Cannot go on with WebGPU: \S/);
    expect([other.failure, device!.failure]).toEqual([null, null]);
    const own = other.floats(3);
    other.write(own, values);
    // Its memory may go before copies from it are made.
    const last = kernels.take(new PlacedRow(one, x), 3, "one");
    one.abandon();
    expect(await other.read(own)).toEqual(values);
    kernels.free(last);
    other.close();
    one.close();
  });
});
