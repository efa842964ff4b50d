/** CodebookKernels in plain TypeScript: the definition. */
import { type CodebookKernels, type CodeMap, snapped } from "../head-kernels.ts";
import { HeldFloats, type Memory, valuesOf } from "./memory.ts";

interface HeldCodeMap extends CodeMap {
  /** (V) codes, then (V) biases. */
  readonly held: HeldFloats;
}

export function referenceCodebookKernels(memory: Memory): CodebookKernels {
  return {
    mapBytes: (vocab) => vocab * 8,

    map(codes, bias): HeldCodeMap {
      const vocab = codes.length;
      const held = HeldFloats.allocate(memory, 2 * vocab);
      const values = valuesOf(held, "map", 2 * vocab);
      values.set(codes);
      values.set(bias.subarray(0, vocab), vocab);
      return { vocab, held };
    },

    snap(scores, count) {
      const values = valuesOf(scores, "scores", count);
      for (let j = 0; j < count; j++) values[j] = snapped(values[j]);
    },

    row(out, scores, map) {
      const { vocab, held } = map as HeldCodeMap;
      const to = valuesOf(out, "out", vocab);
      const from = valuesOf(scores, "scores");
      const values = valuesOf(held, "map");
      for (let i = 0; i < vocab; i++) to[i] = from[values[i]] + values[vocab + i];
    },

    free(map) {
      memory.free((map as HeldCodeMap).held.allocation);
    },
  };
}
