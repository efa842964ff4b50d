/**
 * Edgewise for Cloudflare Workers, where Wasm is imported, not compiled: `wrangler` bundles the kernels as modules.
 *
 * @example
 * ```ts
 * const object = await env.MODELS.get("stories.gguf");
 * const model = await loadModel(object.body, { maxMemoryBytes: 100 << 20 });
 * ```
 */
import relaxed from "../build/relaxed.wasm";
import simd from "../build/simd.wasm";
import { type KernelModules, type LoadOptions, loadModel as load } from "./engine/load-model.ts";
import type { Model } from "./engine/model.ts";
import type { ByteInput } from "./format/bytes.ts";

export * from "./index.ts";

/** The kernels of this deployment. */
export async function kernelModules(): Promise<KernelModules> {
  return { simd, relaxed };
}

/** Loads a model from a stream, bytes or a Response; see `loadModel` of engine/load-model.ts for the options and errors. */
export function loadModel(input: ByteInput, options: LoadOptions = {}): Promise<Model> {
  return load(input, { modules: { simd, relaxed }, ...options });
}
