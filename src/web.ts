/**
 * Edgewise for browsers and bundlers that follow `new URL(..., import.meta.url)`: kernels are fetched from beside this
 * file, models from URLs, files that the user picked, or streams.
 *
 * @example
 * ```ts
 * const model = await loadModel("/models/stories.gguf", { onProgress: (loaded, total) => show(loaded / total) });
 * ```
 */
import {
  compileKernels,
  type KernelModules,
  type LoadOptions,
  loadModel as load,
  type OpenGpu,
} from "./engine/load-model.ts";
import type { Model } from "./engine/model.ts";
import type { ByteInput } from "./format/bytes.ts";

export * from "./index.ts";

let modules: Promise<KernelModules> | undefined;

/** Kernels for WebGPU, loaded when they are first asked for. */
const openGpu: OpenGpu = async (gpu, options) => {
  const { createWebGpuBackend, openSharedDevice } = await import("./backend/webgpu/index.ts");
  return createWebGpuBackend(await openSharedDevice(gpu), { ...options, ownsDevice: true });
};

/** The kernels, fetched and compiled once. */
export function kernelModules(): Promise<KernelModules> {
  modules ??= compileModules();
  return modules;
}

/**
 * Loads a model; see `loadModel` of engine/load-model.ts for the options and errors.
 *
 * @param input A URL, or anything that holds the bytes (File, Blob, Uint8Array, stream, Response).
 */
export async function loadModel(input: string | URL | ByteInput, options: LoadOptions = {}): Promise<Model> {
  const withModules = { openGpu, ...options, modules: options.modules ?? (await kernelModules()) };
  if (!(typeof input === "string" || input instanceof URL)) return load(input, withModules);
  return load((signal) => fetch(input, { signal }), withModules);
}

async function compileModules(): Promise<KernelModules> {
  // The URLs are spelled out: bundlers look for this very form.
  const simd = fetch(new URL("../build/simd.wasm", import.meta.url)).then(bytesOf);
  const relaxed = fetch(new URL("../build/relaxed.wasm", import.meta.url)).then(bytesOf);
  const [simdBytes, relaxedBytes] = await Promise.all([simd, relaxed]);
  return compileKernels(simdBytes, relaxedBytes);
}

/** @throws {RangeError} If the answer is not a Wasm module: the usual trap is an HTML page for a missing file. */
async function bytesOf(response: Response): Promise<ArrayBuffer> {
  const bytes = await response.arrayBuffer();
  const magic = Array.from(new Uint8Array(bytes, 0, Math.min(4, bytes.byteLength)));
  if (response.ok && magic.join() === "0,97,115,109") return bytes;
  const found = magic.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  throw new RangeError(
    `Cannot load kernels: ${response.url} must be a Wasm module, got status ${response.status} and bytes ${found}`,
  );
}
