/**
 * Edgewise for Node, Deno and Bun: models from files and URLs, kernels from beside this file.
 *
 * @example
 * ```ts
 * import { loadModel } from "edgewise";
 *
 * const model = await loadModel("models/edgewise-stories-q8_0.gguf");
 * for await (const { text } of model.generate("Once upon a time", { maxTokens: 60, temperature: 0 })) {
 *   process.stdout.write(text);
 * }
 * model.close();
 * ```
 */
import { type FileHandle, open, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import type { GpuProvider } from "./backend/webgpu/index.ts";
import {
  compileKernels,
  type KernelModules,
  type LoadOptions,
  loadModel as load,
  type OpenGpu,
} from "./engine/load-model.ts";
import type { Model } from "./engine/model.ts";
import { UnsupportedError } from "./errors.ts";
import type { ByteInput } from "./format/bytes.ts";

export * from "./index.ts";

const FILE_CHUNK = 1 << 20;

let modules: Promise<KernelModules> | undefined;

/** Kernels for WebGPU, loaded when they are first asked for. */
const openGpu: OpenGpu = async (gpu, options) => {
  const { createWebGpuBackend, openSharedDevice } = await import("./backend/webgpu/index.ts");
  const device = await openSharedDevice(gpu ?? (await installedGpu()));
  return createWebGpuBackend(device, { ...options, ownsDevice: true });
};

/** Dawn, where the npm package `webgpu` is installed: one for the process, as its devices end with it. */
let installed: Promise<GpuProvider> | undefined;

/** @throws {UnsupportedError} If there is no such package, or it does not run here. */
function installedGpu(): Promise<GpuProvider> {
  // Not a name that bundlers would look for: who has no such package has no need of it.
  const name = "webgpu";
  installed ??= import(name).then(
    ({ create }) => create([]) as GpuProvider,
    (cause) => {
      const why =
        cause?.code === "ERR_MODULE_NOT_FOUND"
          ? "this host has none, and the package webgpu is not installed"
          : `the package webgpu does not load (${cause?.message ?? cause})`;
      throw new UnsupportedError(`Cannot use WebGPU: ${why}`, { cause });
    },
  );
  return installed;
}

/** The kernels of this installation, compiled once. */
export function kernelModules(): Promise<KernelModules> {
  modules ??= compileModules();
  return modules;
}

/**
 * Loads a model; see `loadModel` of engine/load-model.ts for the options and errors.
 *
 * @param input A path, a file: or http(s): URL, or anything that holds the bytes (Uint8Array, stream, Blob, Response).
 */
export async function loadModel(input: string | URL | ByteInput, options: LoadOptions = {}): Promise<Model> {
  const withModules = { openGpu, ...options, modules: options.modules ?? (await kernelModules()) };
  if (!(typeof input === "string" || input instanceof URL)) return load(input, withModules);
  const url = input instanceof URL ? input : /^(https?|file):\/\//.test(input) ? new URL(input) : undefined;
  if (url && url.protocol !== "file:") return load((signal) => fetch(url, { signal }), withModules);
  const path = url ? fileURLToPath(url) : (input as string);
  return load(() => openFile(path), { name: basename(path).replace(/\.gguf$/i, ""), ...withModules });
}

/** A file as a Response: a stream whose length is known. */
export async function openFile(path: string): Promise<Response> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    return new Response(fileStream(file), { headers: { "content-length": String(size) } });
  } catch (error) {
    await file.close();
    throw error;
  }
}

function fileStream(file: FileHandle): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { bytesRead, buffer } = await file.read(new Uint8Array(FILE_CHUNK), 0, FILE_CHUNK);
          if (bytesRead > 0) return controller.enqueue(buffer.subarray(0, bytesRead));
        } catch (error) {
          await file.close();
          throw error;
        }
        await file.close();
        controller.close();
      },
      cancel: () => file.close(),
    },
    { highWaterMark: 0 },
  );
}

async function compileModules(): Promise<KernelModules> {
  const read = (name: string) => readFile(new URL(`../build/${name}.wasm`, import.meta.url));
  return compileKernels(await read("simd"), await read("relaxed"));
}
