/** Every way this engine can run a model: the tests of the engine hold for all of them. */

import { instantiate } from "../../src/backend/wasm/instantiate.ts";
import type { LoadOptions } from "../../src/node.ts";
import { kernelModules, UnsupportedError } from "../../src/node.ts";

async function relaxedWorks(): Promise<boolean> {
  const { relaxed } = await kernelModules();
  if (relaxed === undefined) return false;
  try {
    instantiate(relaxed, "relaxed");
    return true;
  } catch (error) {
    if (error instanceof UnsupportedError) return false;
    throw error;
  }
}

const relaxed: LoadOptions = { backend: "wasm", build: "relaxed" };

export const ENGINES: readonly (readonly [string, LoadOptions])[] = [
  ["wasm, simd", { backend: "wasm", build: "simd" }],
  ...((await relaxedWorks()) ? [["wasm, relaxed", relaxed] as const] : []),
  ["reference", { backend: "reference" }],
];
