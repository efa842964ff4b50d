/** CodebookKernels on the device: exact, so the same bits as everywhere. */
import type { Backend, Floats } from "../backend.ts";
import type { CodebookKernels, CodeMap } from "../head-kernels.ts";
import { type GpuFloats, wordOf } from "./floats.ts";
import type { Params } from "./recorder.ts";

interface GpuCodeMap extends CodeMap {
  /** (V) codes as integers, then (V) biases. */
  readonly held: Floats;
}

export function gpuCodebookKernels(
  backend: Pick<Backend, "floats" | "free">,
  run: (name: string, count: number, params: Params) => void,
  write: (offset: number, words: Uint32Array<ArrayBuffer>) => void,
): CodebookKernels {
  return {
    mapBytes: (vocab) => vocab * 8,

    map(codes, bias): GpuCodeMap {
      const vocab = codes.length;
      const held = backend.floats(2 * vocab);
      const words = new Uint32Array(2 * vocab);
      words.set(codes);
      new Float32Array(words.buffer).set(bias.subarray(0, vocab), vocab);
      write((held as GpuFloats).offset, words);
      return { vocab, held };
    },

    snap: (scores, count) => run("codebookSnap", count, { x: wordOf(scores) }),

    row(out, scores, map) {
      const { vocab, held } = map as GpuCodeMap;
      run("codebookRow", vocab, { out: wordOf(out), scores: wordOf(scores), map: wordOf(held) });
    },

    free: (map) => backend.free((map as GpuCodeMap).held),
  };
}
