/** Heads to test with: matrices of every kind, their screens, and states of a real model. */
import { readFileSync } from "node:fs";
import type { Backend, Matrix } from "../../../src/backend/backend.ts";
import { createWasmBackend } from "../../../src/backend/wasm/index.ts";
import { certifiedMethod } from "../../../src/compress/certified.ts";
import { openTensors } from "../../../src/compress/evaluate.ts";
import type { CompressMethod } from "../../../src/compress/method.ts";
import { openModel } from "../../../src/compress/opened.ts";
import { calibrationOf, gatherFromModel } from "../../../src/compress/states.ts";
import type { WeightType } from "../../../src/format/blocks.ts";
import type { CertifiedHead } from "../../../src/model/head/certified-head.ts";
import type { HeadTensor } from "../../../src/model/head/stored-head.ts";
import { rowsOf } from "../../support/head-rows.ts";
import { quantize } from "../../support/quantize.ts";

export function wasmBackend(): Backend {
  const bytes = readFileSync(new URL("../../../build/simd.wasm", import.meta.url));
  return createWasmBackend(new WebAssembly.Module(bytes), { build: "simd" });
}

export function matrixOf(backend: Backend, type: WeightType, values: Float32Array, cols: number): Matrix {
  const writer = backend.matrix(type, values.length / cols, cols);
  writer.write(quantize(type, values));
  return writer.finish();
}

/** @param states (count, D) to calibrate with. */
export async function buildTensors(
  method: CompressMethod,
  backend: Backend,
  weights: Matrix,
  states = new Float32Array(0),
): Promise<readonly HeadTensor[]> {
  return await method.build({
    head: rowsOf(backend, weights),
    states: {
      count: states.length / weights.cols,
      values: states,
      probabilities: new Float64Array(weights.rows).fill(1 / weights.rows),
      laws: async () => {},
    },
    options: { codes: 16, seed: 1 },
    backend,
    onProgress: () => {},
  });
}

export async function certify(backend: Backend, dense: Matrix): Promise<CertifiedHead> {
  const tensors = await buildTensors(certifiedMethod, backend, dense);
  const context = { backend, dense, vocab: dense.rows, hidden: dense.cols };
  return openTensors("certified", tensors, context) as CertifiedHead;
}

/** The model of this repository, and states of text that it writes. */
export async function realStates(count: number) {
  const modules = {
    simd: new WebAssembly.Module(readFileSync(new URL("../../../build/simd.wasm", import.meta.url))),
  };
  const file = readFileSync(new URL("../../../models/edgewise-stories-q8_0.gguf", import.meta.url));
  const opened = await openModel(new Uint8Array(file), modules);
  const { fitted } = await gatherFromModel(opened, count, 1, () => {});
  const calibration = await calibrationOf(opened, fitted, () => {});
  return { opened, fitted, calibration };
}
