/** A model that has to leave its WebGPU device, with all that goes on meanwhile. */
import { describe, expect, it } from "vitest";
import { createWebGpuBackend, openSharedDevice } from "../../src/backend/webgpu/index.ts";
import type { OpenGpu } from "../../src/engine/load-model.ts";
import {
  backends,
  bytesOf,
  device,
  expectedOf,
  gpu,
  load,
  skip,
  TEXT,
  TIMEOUT_MS,
  tokensOf,
} from "./faulty-models.ts";

// GPUBufferUsage.
const [MAP_READ, STORAGE] = [1, 0x80];

/** As a host says it that knows by then that the device is lost, and one that does not yet. */
const LOST = /^Cannot go on with WebGPU: (device lost|nothing can be read back) \(/;

describe.skipIf(skip !== undefined)("a model that has to leave its device", { timeout: TIMEOUT_MS }, () => {
  const bytes = bytesOf(1);
  const leave = () => backends.at(-1)!.abandon();
  /** Ends as it should in the end, after what a test does meanwhile. */
  const later = <T>() => {
    let end: (value: T | Promise<T>) => void = () => {};
    const promise = new Promise<T>((resolve) => {
      end = resolve;
    });
    return { promise, end };
  };

  /** A model whose bytes come again when `again` ends; `asked` ends when they are asked for. */
  const loadSlowly = async () => {
    const again = later<Uint8Array>();
    const asked = later<void>();
    let loads = 0;
    const model = await load(() => {
      if (loads++ === 0) return bytes;
      asked.end();
      return again.promise;
    });
    return { model, again, asked, loads: () => loads };
  };

  it("is loaded once for all texts that are being made", async () => {
    let loads = 0;
    const model = await load(() => {
      loads++;
      return bytes;
    });
    const prompts = [TEXT, TEXT.slice(0, 7)];
    const found = prompts.map((prompt, i) =>
      tokensOf(model, {}, (count) => i === 0 && count === 4 && leave(), prompt),
    );
    const expected = prompts.map((prompt) => expectedOf(bytes, prompt));
    expect(await Promise.all(found)).toEqual(await Promise.all(expected));
    expect([loads, model.backend]).toEqual([2, "wasm"]);
  });

  it("can be loaded after the signal of its first load has fired", async () => {
    const signals: (AbortSignal | undefined)[] = [];
    const loading = new AbortController();
    const read = (signal?: AbortSignal) => {
      signals.push(signal);
      return bytes;
    };
    const model = await load(read, { signal: loading.signal });
    const found = tokensOf(model, {}, (count) => {
      if (count !== 2) return;
      loading.abort();
      leave();
    });
    expect(await found).toEqual(await expectedOf(bytes));
    expect(signals).toEqual([loading.signal, undefined]);
  });

  it("says why it cannot be loaded again, and tries again", async () => {
    let isGone = false;
    const model = await load(() => {
      if (isGone) throw new RangeError("the file is gone");
      return bytes;
    });
    const session = model.open({ capacity: 16 });
    await session.forward([3, 4]);
    isGone = true;
    leave();
    for (let i = 0; i < 2; i++) await expect(session.forward([5])).rejects.toThrow("the file is gone");
    expect(session.length).toBe(2);
    isGone = false;
    const rows = await session.forward([5]);
    const plain = (await load(bytes, { backend: "wasm" })).open({ capacity: 16 });
    expect(rows.row(0)).toEqual((await plain.forward([3, 4, 5])).row(0));
  });

  it("opens sessions and forks, and takes tokens back, before it is there again", async () => {
    const model = await load(bytes);
    const session = model.open({ capacity: 16 });
    await session.forward([3, 4, 5]);
    await session.forward([9, 8, 7], 3, [-1, -1, 1]);
    leave();
    session.truncate(3, [1, 2]);
    const fork = session.fork({ capacity: 12 });
    fork.truncate(4);
    expect(() => fork.truncate(5)).toThrow(RangeError);
    expect(() => session.fork({ capacity: 4 })).toThrow(
      /^"capacity" must be an integer from 5 to 128, got 4$/,
    );
    expect(() => model.open({ capacity: 129 })).toThrow(/^"capacity" must be an integer from 1 to 128/);
    const fresh = model.open();
    expect([fork.length, fork.capacity, fresh.length, fresh.capacity]).toEqual([4, 12, 0, 128]);
    const found = await Promise.all([session, fork, fresh].map((one) => one.forward([6])));
    const plain = await load(bytes, { backend: "wasm" });
    for (const [i, tokens] of [[3, 4, 5, 8, 7, 6], [3, 4, 5, 8, 6], [6]].entries()) {
      const rows = await plain.open({ capacity: 16 }).forward(tokens);
      expect(found[i].row(0)).toEqual(rows.row(0));
    }
  });

  it("is not waited for by a text that is aborted", async () => {
    const { model, again, asked, loads } = await loadSlowly();
    const stopping = new AbortController();
    const stopped = tokensOf(model, { signal: stopping.signal }, (count) => count === 2 && leave());
    const refused = expect(stopped).rejects.toThrow(/abort/i);
    await asked.promise;
    stopping.abort();
    await refused;
    expect(model.backend).toBe("webgpu");
    again.end(bytes);
    expect(await tokensOf(model)).toEqual(await expectedOf(bytes));
    expect([loads(), model.backend]).toEqual([2, "wasm"]);
  });

  it("stays closed when it is closed meanwhile", async () => {
    const { model, again, asked, loads } = await loadSlowly();
    const session = model.open({ capacity: 16 });
    leave();
    const refused = expect(session.forward([5])).rejects.toThrow("Cannot go on: model is closed");
    await asked.promise;
    model.close();
    again.end(bytes);
    await refused;
    await expect(session.forward([5])).rejects.toThrow("Cannot go on: model is closed");
    expect(loads()).toBe(2);
  });

  it.each([
    ["while it is opened", 0],
    ["while weights are written", 4],
  ])("is loaded elsewhere, where its device is lost %s", async (_, buffers) => {
    const provider = gpu;
    if (typeof provider === "string") return;
    const doomed = {
      requestAdapter: async () => {
        const adapter = (await provider.requestAdapter())!;
        const { info, limits, features } = adapter;
        const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
          const own = await adapter.requestDevice(descriptor);
          const create = own.createBuffer.bind(own);
          let created = 0;
          own.createBuffer = (one) => {
            if (created++ === buffers) own.destroy();
            return create(one);
          };
          return own;
        };
        return { info, limits, features, requestDevice } as unknown as GPUAdapter;
      },
    };
    const model = await load(bytes, { gpu: doomed });
    expect([model.backend, model.fallback]).toEqual(["wasm", expect.stringMatching(LOST)]);
    await expect(load(bytes, { gpu: doomed, backend: "webgpu" })).rejects.toThrow(LOST);
    expect(await tokensOf(model)).toEqual(await expectedOf(bytes));
  });

  it("does not come back once it was closed", async () => {
    let loads = 0;
    const model = await load(() => {
      loads++;
      return bytes;
    });
    const session = model.open({ capacity: 16 });
    const refused = expect(session.forward([5])).rejects.toThrow(/closed/);
    model.close();
    await refused;
    await expect(session.forward([5])).rejects.toThrow("Cannot go on: model is closed");
    expect(loads).toBe(1);
  });

  it("is not loaded there, where the device binds too little for its context", async () => {
    const small: OpenGpu = async (provider, options) => {
      const shared = await openSharedDevice(provider);
      const { device, name, subgroupSize, products, variant, hasTimestamps, failure } = shared;
      const parts = { device, name, subgroupSize, products, variant, hasTimestamps, failure };
      // Of a layer, a page of this model takes 33,792 bytes.
      const own = { ...parts, maxBindingBytes: 4 * 33_792, close: () => shared.close() };
      return createWebGpuBackend(own, { ...options, ownsDevice: true });
    };
    const message =
      "Cannot allocate keys and values: 168,976 bytes are needed in one buffer, this device binds 135,168";
    const model = await load(bytes, { openGpu: small, contextLength: 4 * 64 });
    expect([model.backend, model.fallback]).toEqual(["wasm", message]);
    await expect(load(bytes, { openGpu: small, contextLength: 4 * 64, backend: "webgpu" })).rejects.toThrow(
      message,
    );
  });

  it("has to with all others, where nobody knows whose an error is", async () => {
    const models = [await load(bytes), await load(bytes)];
    const found = await tokensOf(models[0], {}, (count) => {
      if (count === 3) device!.device.createBuffer({ size: 16, usage: MAP_READ | STORAGE });
    });
    expect(found).toEqual(await expectedOf(bytes));
    expect(await tokensOf(models[1])).toEqual(found);
    expect(models.map(({ backend }) => backend)).toEqual(["wasm", "wasm"]);
    // Who comes later has a device of its own.
    expect((await load(bytes)).backend).toBe("webgpu");
  });
});
