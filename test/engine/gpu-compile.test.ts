/** Kernels for WebGPU are compiled at load, and when models are fused: decoding waits for none. */
import { afterAll, describe, expect, it } from "vitest";
import { createWebGpuBackend, openDevice, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { fuseModels, fusePreset, type GenerateOptions, loadModel, type Model } from "../../src/node.ts";
import { stories, withHead } from "../support/compressed-model.ts";
import { testGpu } from "../support/gpu.ts";
import { textOf } from "./on-off.ts";

const gpu = await testGpu();
const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`compiling for WebGPU: skipped, ${skip}`);

/** All kernels are compiled, by a device that is emulated on a busy machine. */
const TIMEOUT_MS = 300_000;

describe.skipIf(skip !== undefined)("kernels are compiled", { timeout: TIMEOUT_MS }, async () => {
  if (typeof gpu === "string") return;
  const device = await openDevice(gpu);
  /** Kernels that somebody waited for, though others went on meanwhile; and those that held everything up. */
  const [ahead, late]: [string[], string[]] = [[], []];
  const { createComputePipelineAsync, createComputePipeline } = device.device;
  device.device.createComputePipelineAsync = (descriptor) => {
    ahead.push(descriptor.label!);
    return createComputePipelineAsync.call(device.device, descriptor);
  };
  device.device.createComputePipeline = (descriptor) => {
    late.push(descriptor.label!);
    return createComputePipeline.call(device.device, descriptor);
  };
  const progress: (readonly [ready: number, total: number])[] = [];
  const onCompile = (ready: number, total: number) => progress.push([ready, total]);
  const openGpu = async (): Promise<WebGpuBackend> => createWebGpuBackend(device);
  const load = async (bytes: Uint8Array) =>
    await loadModel(bytes, { backend: "webgpu", gpu, openGpu, onCompile, contextLength: 128 });

  const models: Model[] = [];
  const open = async (bytes: Uint8Array) => {
    const model = await load(bytes);
    models.push(model);
    return model;
  };
  afterAll(() => {
    for (const model of models) model.close();
    device.close();
  });
  const decode = async (model: Model, options: GenerateOptions) =>
    await textOf(model, "Once upon a time there was a dog. Once upon a", {
      maxTokens: 4,
      seed: 1,
      ...options,
    });

  it("at load, with word of how far it is, each once", async () => {
    await open(stories);
    const first = ahead.length;
    expect(first).toBeGreaterThan(30);
    expect(progress.at(-1)).toEqual([first, first]);
    await open(stories);
    expect([ahead.length, new Set(ahead).size]).toEqual([first, first]);
    expect(late).toEqual([]);
  });

  it("for all that a text may take", async () => {
    const [model] = models;
    const speculation = { gamma: 4, adaptive: false };
    await decode(model, { temperature: 0 });
    await decode(model, { topK: 9, topP: 0.9, presencePenalty: 0.5, draft: "prompt-lookup", speculation });
    await decode(model, { draft: "recycling-tree", speculation });
    await decode(model, { draft: models[1], verifier: "block", speculation });
    for await (const _ of model.generateMany("Once", { maxTokens: 3, n: 3, seed: 1 }));
    await textOf(
      model,
      Array.from({ length: 100 }, (_, i) => 3 + i),
      { maxTokens: 2, temperature: 0 },
    );
    expect(late).toEqual([]);
  });

  it.each<[kernel: string, head: Parameters<typeof withHead>[0]]>([
    ["productLogits", { method: "pq" }],
    ["residualRow", { method: "vq", codes: 256, residual: 16, replace: true }],
  ])("for a head: %s", async (kernel, head) => {
    expect(ahead).not.toContain(kernel);
    const model = await open(await withHead(head));
    expect(ahead).toContain(kernel);
    await decode(model, { temperature: 0.8 });
    expect(late).toEqual([]);
  });

  it("for a plan, when models are fused", async () => {
    const before = ahead.length;
    progress.length = 0;
    const [base, expert] = models;
    const fused = fuseModels(fusePreset("dlf"), { base, expert, anti: base }, { onCompile });
    await decode(fused, { temperature: 0.7 });
    expect(ahead.slice(before)).toContain("fuseLin");
    expect(progress.at(-1)).toEqual([ahead.length - before, ahead.length - before]);
    const cut = fuseModels(fusePreset("contrastive"), { expert: base, amateur: expert });
    await decode(cut, { temperature: 0 });
    expect(late).toEqual([]);
  });
});
