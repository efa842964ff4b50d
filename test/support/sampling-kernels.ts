import { readFileSync } from "node:fs";
import { referenceLawKernels } from "../../src/backend/reference/law.ts";
import { top } from "../../src/backend/reference/row.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import type { SamplingKernels } from "../../src/decoding/pipeline.ts";

/** What kernels tell of a row, by their definition. */
export function referenceKernels(row: Float32Array): SamplingKernels {
  return { best: (count) => top(row, count), law: referenceLawKernels(() => row) };
}

const wasm = new WebAssembly.Module(readFileSync(new URL("../../build/simd.wasm", import.meta.url)));

/** The kernels, each time over a copy of another row. */
export function wasmKernels(mostTokens: number): (row: Float32Array) => SamplingKernels {
  const backend = createWasmBackend(wasm);
  const x = backend.floats(mostTokens);
  return (row) => {
    backend.write(x, row);
    return {
      best: (count) => backend.top(x, row.length, count) as ReturnType<SamplingKernels["best"]>,
      law: backend.lawKernels(x, row.length),
    };
  };
}
