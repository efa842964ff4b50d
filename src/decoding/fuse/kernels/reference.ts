import { gather, lin, mix, project, scatter } from "./combine.ts";
import type { RowKernels } from "./kernels.ts";
import { distance, rank, summary, topK, topP } from "./measure.ts";
import { matchTargets, tilt } from "./tilt.ts";

/** What `RowKernels` means: f64, and exp and log that are the same in every engine. */
export const referenceKernels: RowKernels<Float64Array> = {
  take(row, vocab) {
    const taken = new Float64Array(vocab);
    for (let id = 0; id < vocab; id++) taken[id] = row[id];
    return taken;
  },
  lin,
  mix,
  scatter,
  project,
  gather,
  summary,
  topK,
  topP,
  rank,
  at: (row, token) => row[token],
  distance,
  matchTargets,
  tilt,
  read: (row) => row,
};
