/** Models with compressed heads on WebGPU: their rows there, and where they are loaded when there is no use in a device. */
import { afterAll, describe, expect, it } from "vitest";
import { createWebGpuBackend, type GpuDevice, openDevice } from "../../src/backend/webgpu/index.ts";
import { createPipeline } from "../../src/decoding/pipeline.ts";
import type { OpenGpu } from "../../src/engine/load-model.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { stories, withHead } from "../support/compressed-model.ts";
import { testGpu } from "../support/gpu.ts";

const gpu = await testGpu();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`heads on WebGPU: skipped, ${skip}`);

/** A device that is emulated on a busy machine. */
const TIMEOUT_MS = 180_000;

const HEADS = {
  dense: Promise.resolve(stories),
  vq: withHead({ method: "vq", codes: 256, residual: 0, replace: true }),
  "vq with residual codes": withHead({ method: "vq", codes: 256, residual: 16, replace: true }),
  pq: withHead({ method: "pq" }),
  certified: withHead({ method: "certified" }),
};
type HeadName = keyof typeof HEADS;
const NAMES = (Object.keys(HEADS) as HeadName[]).filter((name) => name !== "dense");

type Change = (device: GpuDevice, options: { maxBytes?: number }) => ReturnType<typeof createWebGpuBackend>;

/** @param change What is wrong with the device. */
const opener =
  (change: Change): OpenGpu =>
  async (provider, options) =>
    change(await openDevice(provider), options);

function usual(device: GpuDevice, options: { maxBytes?: number }) {
  const backend = createWebGpuBackend(device, { ...options, ownsDevice: true });
  // Kernels are compiled when they are needed: few are.
  backend.prepare = async () => {};
  return backend;
}

/** What a device says of itself, but for what one can bind. */
function limited(device: GpuDevice, maxBindingBytes: number): GpuDevice {
  return {
    device: device.device,
    name: device.name,
    subgroupSize: device.subgroupSize,
    products: device.products,
    variant: device.variant,
    hasTimestamps: device.hasTimestamps,
    maxBindingBytes,
    get failure() {
      return device.failure;
    },
    close: () => device.close(),
  };
}

/** What may be wrong, and what is said of it. */
const TROUBLES: Record<string, readonly [Change, RegExp]> = {
  "too little memory": [
    (device, options) => usual(device, { ...options, maxBytes: 1 << 20 }),
    /^Cannot allocate/,
  ],
  "a limit too small": [
    (device, options) => usual(limited(device, 1 << 16), options),
    /^Cannot allocate: [\d,]+ bytes are needed in one buffer, this device binds 65,536/,
  ],
  "a device lost while bytes arrive": [
    (device, options) => {
      const backend = usual(device, options);
      backend.prepare = async () => device.device.destroy();
      return backend;
    },
    /^Cannot go on with WebGPU: device lost/,
  ],
};

async function tokensOf(model: Model, maxTokens = 3): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of model.generate("Once upon a time", { maxTokens, temperature: 0 })) {
    tokens.push(token);
  }
  return tokens;
}

async function load(head: HeadName, backend: "auto" | "wasm", openGpu?: OpenGpu): Promise<Model> {
  const provider = typeof gpu === "string" ? undefined : gpu;
  return await loadModel(await HEADS[head], { backend, gpu: provider, openGpu, contextLength: 64 });
}

describe("without an adapter", { timeout: TIMEOUT_MS }, () => {
  it.each(NAMES)("a model with a head is loaded for Wasm, and says why: %s", async (head) => {
    const none = { requestAdapter: async () => null };
    const model = await loadModel(await HEADS[head], { backend: "auto", gpu: none, contextLength: 64 });
    expect([model.backend, model.fallback]).toEqual(["wasm", "Cannot use WebGPU: there is no adapter"]);
    const wasm = await load(head, "wasm");
    expect(await tokensOf(model)).toEqual(await tokensOf(wasm));
    for (const each of [model, wasm]) each.close();
  });
});

describe.skipIf(skip !== undefined)("on a device", { timeout: TIMEOUT_MS }, () => {
  const plain = new Map<HeadName, { row: Float32Array; tokens: number[] }>();
  const text = [3, 100, 261, 300];
  const wasmOf = async (head: HeadName) => {
    const known = plain.get(head);
    if (known !== undefined) return known;
    const model = await load(head, "wasm");
    const row = (await model.open().forward(text)).row(0).slice();
    const found = { row, tokens: await tokensOf(model) };
    model.close();
    plain.set(head, found);
    return found;
  };
  const models: Model[] = [];
  let device: GpuDevice | undefined;
  afterAll(() => {
    for (const model of models) model.close();
  });

  /** One device for all: kernels are compiled once. */
  const onDevice = async (head: HeadName) => {
    device ??= await openDevice(typeof gpu === "string" ? undefined : gpu);
    const backend = createWebGpuBackend(device);
    backend.prepare = async () => {};
    const model = await load(head, "auto", async () => backend);
    models.push(model);
    return { model, backend };
  };

  it.each(NAMES)("a model has the rows of its head there: %s", async (head) => {
    const { model } = await onDevice(head);
    expect([model.backend, model.fallback]).toEqual(["webgpu", undefined]);
    const expected = await wasmOf(head);
    const row = (await model.open().forward(text)).row(0);
    const apart = row.filter((z, id) => Math.abs(z - expected.row[id]) > 0.05).length;
    // Wasm rounds the inputs of its products; a snapped score of a codebook may be the next one, and another code opened.
    expect(apart).toBeLessThanOrEqual(head === "vq with residual codes" ? 2 * 16 : 0);
    expect(await tokensOf(model)).toEqual(expected.tokens);
  });

  it.each(NAMES)(
    "a token is drawn from the row of its head there, in one command buffer: %s",
    async (head) => {
      const { model, backend } = await onDevice(head);
      const session = model.open();
      const pipeline = createPipeline([{ step: "temperature", temperature: 0.9 }]);
      const history = [...text];
      await session.forward(text.slice(0, -1), 0);
      let [told, token] = [0, text.at(-1)!];
      for (let i = 0; i < 8; i++) {
        const where = { history, promptLength: 1, seed: 5 };
        const task = pipeline.drawTask(model.vocab, where)!;
        const before = backend.traffic;
        const answer = await session.draw!([token], [task]);
        const after = backend.traffic;
        expect([after.submissions - before.submissions, after.readBytes - before.readBytes]).toEqual([1, 32]);
        const row = (await answer.load()).row(0);
        const choice = pipeline.sample(row, where);
        const drawn = answer.drawn[0] && pipeline.sampleDrawn(answer.drawn[0], model.vocab, where);
        if (drawn !== null) expect(drawn.token).toBe(choice.token);
        told += drawn === null ? 0 : 1;
        token = choice.token;
        history.push(token);
      }
      expect(told).toBeGreaterThan(6);
      session.close();
    },
  );

  it("over a certified head the text is the dense head's, and nothing of the certificate is there", async () => {
    const [{ model: certified }, { model: dense }] = [await onDevice("certified"), await onDevice("dense")];
    expect(await tokensOf(certified, 16)).toEqual(await tokensOf(dense, 16));
    const [one, other] = await Promise.all([certified, dense].map((model) => model.open().forward(text)));
    expect(one.row(0)).toEqual(other.row(0));
    expect(certified.weightBytes).toBe(dense.weightBytes);
  });

  const cases = NAMES.flatMap((head) => Object.keys(TROUBLES).map((trouble) => [head, trouble] as const));
  it.each(cases)("a model with a head is loaded for Wasm, and says why: %s, %s", async (head, trouble) => {
    const [change, reason] = TROUBLES[trouble];
    const model = await load(head, "auto", opener(change));
    models.push(model);
    expect(model.backend).toBe("wasm");
    expect(model.fallback).toMatch(reason);
    const expected = await wasmOf(head);
    expect((await model.open().forward(text)).row(0)).toEqual(expected.row);
    expect(await tokensOf(model)).toEqual(expected.tokens);
  });
});
