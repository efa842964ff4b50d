/** Small models on one WebGPU device, which tells late of errors, for tests of what goes wrong there. */
import { afterEach } from "vitest";
import { createWebGpuBackend, openSharedDevice, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import { type LoadOptions, loadModel, type ModelInput, type OpenGpu } from "../../src/engine/load-model.ts";
import { type GenerateOptions, kernelModules, type Model } from "../../src/node.ts";
import { delayErrors } from "../support/faulty-device.ts";
import { testGpu } from "../support/gpu.ts";
import { type SyntheticModelOptions, syntheticModelBytes } from "../support/synthetic-model.ts";

export const gpu = await testGpu();
export const skip = typeof gpu === "string" ? gpu : undefined;
if (skip !== undefined) console.info(`faults of models on WebGPU: skipped, ${skip}`);

/** A device that is emulated on a busy machine. */
export const TIMEOUT_MS = 180_000;
/** Tokens up to the end of a page of keys and values, but for a few. */
export const TEXT = Array.from({ length: 60 }, (_, i) => 1 + ((i * 37) % 280));
/** Past that page. */
const GREEDY: GenerateOptions = { maxTokens: 9, temperature: 0, ignoreEos: true };
export const device = typeof gpu === "string" ? undefined : await openSharedDevice(gpu);
if (device !== undefined) delayErrors(device.device);
/** Of the models, last one last. */
export const backends: WebGpuBackend[] = [];
const open: Model[] = [];

const openGpu: OpenGpu = async (provider, options) => {
  const backend = createWebGpuBackend(await openSharedDevice(provider), { ...options, ownsDevice: true });
  backends.push(backend);
  // Kernels are compiled when they are needed: few are.
  backend.prepare = async () => {};
  return backend;
};

export const bytesOf = (seed: number, more: SyntheticModelOptions = {}) =>
  syntheticModelBytes({ vocab: 288, hidden: 32, layers: 1, headDim: 64, seed, ...more });

export async function load(input: ModelInput, options: LoadOptions = {}): Promise<Model> {
  if (typeof gpu === "string") throw new Error(gpu);
  const place = { backend: "auto", gpu, openGpu, modules: await kernelModules() } as const;
  const model = await loadModel(input, { ...place, contextLength: 128, ...options });
  open.push(model);
  return model;
}

/** What a model of this process makes of it. */
export async function expectedOf(bytes: Uint8Array, prompt: readonly number[] = TEXT): Promise<number[]> {
  const model = await load(bytes, { backend: "wasm" });
  return await tokensOf(model, {}, () => {}, prompt);
}

export async function tokensOf(
  model: Model,
  options: GenerateOptions = {},
  afterToken: (count: number) => unknown = () => {},
  prompt: readonly number[] = TEXT,
): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of model.generate(prompt, { ...GREEDY, ...options })) {
    tokens.push(token);
    await afterToken(tokens.length);
  }
  return tokens;
}

afterEach(() => {
  for (const model of open.splice(0)) model.close();
});
