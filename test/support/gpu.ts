/**
 * A WebGPU device for tests, without a GPU: Dawn in Node (npm package `webgpu`) over SwiftShader, the Vulkan of the Chromium
 * in test/runtimes. With EDGEWISE_GPU=1 it is the machine's own Vulkan instead. A host that has WebGPU, as Deno, gives its own.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type GpuDevice, type GpuProvider, openDevice } from "../../src/backend/webgpu/index.ts";
import { unpackedBrowser } from "../runtimes/chromium.ts";
import { FOLDER, installRuntimes } from "../runtimes/install.ts";

/** What a library must not do after a failed load: go. Node closes what is no add-on of its own. */
const RTLD_NODELETE = 0x1000;

/** Held for good: Dawn ends with its provider, whoever still has a device of it. */
const providers: GpuProvider[] = [];

/** The provider, or why there is none here. */
export async function testGpu(): Promise<GpuProvider | string> {
  const own = (globalThis.navigator as { gpu?: GpuProvider } | undefined)?.gpu;
  if (own !== undefined) return (await own.requestAdapter()) === null ? "the host finds no adapter" : own;
  const create = await dawn();
  if (typeof create === "string") return create;
  if (process.env.EDGEWISE_GPU === undefined) {
    const browser = await unpackedBrowser();
    loadLibrary(join(browser, "libvulkan.so.1"));
    process.env.VK_ICD_FILENAMES = join(browser, "vk_swiftshader_icd.json");
  }
  const provider = create([]);
  return (await provider.requestAdapter()) === null ? "Dawn finds no adapter" : provider;
}

/** Dawn over nothing: it has all features and compiles what it is given, but runs none of it. */
export async function compilingGpu(): Promise<GpuProvider | string> {
  const create = await dawn();
  return typeof create === "string" ? create : create(["backend=null"]);
}

async function dawn(): Promise<((flags: string[]) => GpuProvider) | string> {
  const missing = await installRuntimes();
  if (missing !== null) return missing;
  const file = join(FOLDER, "node_modules/webgpu/index.js");
  if (!existsSync(file)) return "the package webgpu is not in test/runtimes";
  const { create } = await import(pathToFileURL(file).href);
  return (flags) => {
    const provider = create(flags) as GpuProvider;
    providers.push(provider);
    return provider;
  };
}

/** The environment of a process that finds SwiftShader alone, or with EDGEWISE_GPU=1 what the machine has. */
export async function emulatedGpu(): Promise<NodeJS.ProcessEnv> {
  if (process.env.EDGEWISE_GPU !== undefined) return process.env;
  const browser = await unpackedBrowser();
  return {
    ...process.env,
    LD_LIBRARY_PATH: browser,
    VK_ICD_FILENAMES: join(browser, "vk_swiftshader_icd.json"),
  };
}

/** A device, or why there is none here. */
export async function testDevice(): Promise<GpuDevice | string> {
  const provider = await testGpu();
  return typeof provider === "string" ? provider : await openDevice(provider);
}

/** Has a library in the process, so that whoever asks for its name later finds it. */
function loadLibrary(path: string): void {
  try {
    const flags = constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE;
    process.dlopen({ exports: {} }, path, flags);
  } catch {
    // It is no module of Node's; it stays loaded.
  }
}
