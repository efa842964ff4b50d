/** Small models that share a WebGPU device, and what goes to it and comes from it. */
import { createWebGpuBackend, openSharedDevice, type WebGpuBackend } from "../../src/backend/webgpu/index.ts";
import type { OpenGpu } from "../../src/engine/load-model.ts";
import { loadModel, type Model } from "../../src/node.ts";
import { testGpu } from "../support/gpu.ts";
import { syntheticModelBytes } from "../support/synthetic-model.ts";

export const VOCAB = 288;
/** Tokens of a text. */
export const TEXT = [17, 201, 3, 88, 140, 9, 250, 64];
/** A device that is emulated on a busy machine. */
export const TIMEOUT_MS = 180_000;

const gpu = await testGpu();

/** Why there is no device; undefined: there is one. */
export const skip = typeof gpu === "string" ? gpu : undefined;

/** Of the models that were loaded, last one last. */
export const backends: WebGpuBackend[] = [];
/** Of these; the same for all, until it is lost. */
export const devices: GPUDevice[] = [];
/** Kernels that were compiled when somebody waited for them already. */
export const compiledLate: string[] = [];

const openGpu: OpenGpu = async (provider, options) => {
  const shared = await openSharedDevice(provider);
  const { device } = shared;
  if (!devices.includes(device)) {
    devices.push(device);
    const create = device.createComputePipeline.bind(device);
    device.createComputePipeline = (descriptor) => {
      compiledLate.push(descriptor.label ?? "");
      return create(descriptor);
    };
  }
  const backend = createWebGpuBackend(shared, { ...options, ownsDevice: true });
  // The models' kernels are compiled when they are needed: few are.
  backend.prepare = async () => {};
  backends.push(backend);
  return backend;
};

/** A model on the device of those that are open. */
export async function load(seed: number): Promise<Model> {
  if (typeof gpu === "string") throw new Error(gpu);
  const bytes = syntheticModelBytes({ vocab: VOCAB, hidden: 32, layers: 1, seed });
  return await loadModel(bytes, { backend: "webgpu", gpu, openGpu, contextLength: 64 });
}

/** Bytes read back meanwhile, of all models. */
export async function bytesReadBy(work: () => Promise<unknown>): Promise<number> {
  const all = () => backends.reduce((sum, { traffic }) => sum + traffic.readBytes, 0);
  const before = all();
  await work();
  return all() - before;
}
