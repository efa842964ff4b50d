/** CodebookKernels on the device: exact, so the same bits as everywhere; residual codes are in residuals.ts. */
import type { CodebookKernels, CodeMap } from "../head-kernels.ts";
import { type FloatStore, type GpuFloats, wordOf } from "./floats.ts";
import type { Params, Target } from "./recorder.ts";
import { GpuResidualKernels } from "./residuals.ts";

export interface GpuCodeMap extends CodeMap {
  /** (V) codes as integers, then (V) biases. */
  readonly held: GpuFloats;
}

export function gpuCodebookKernels(
  target: Target,
  floats: FloatStore,
  run: (name: string, count: number, params: Params) => void,
): CodebookKernels {
  return {
    mapBytes: (vocab) => vocab * 8,

    map(codes, bias): GpuCodeMap {
      const vocab = codes.length;
      const held = floats.allocate(2 * vocab);
      const words = new Uint32Array(2 * vocab);
      words.set(codes);
      new Float32Array(words.buffer).set(bias.subarray(0, vocab), vocab);
      floats.write(held, words);
      return { vocab, held };
    },

    snap: (scores, count) => run("codebookSnap", count, { x: wordOf(scores) }),

    row(out, scores, map) {
      const { vocab, held } = map as GpuCodeMap;
      run("codebookRow", vocab, { out: wordOf(out), scores: wordOf(scores), map: wordOf(held) });
    },

    free: (map) => floats.free((map as GpuCodeMap).held),

    residuals: new GpuResidualKernels(target, floats),
  };
}
