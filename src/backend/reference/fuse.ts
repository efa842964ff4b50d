import { expectLogits, type RowKernels } from "../fuse-kernels.ts";
import { gather, lin, mix, multiply, project, scatter } from "./fuse/combine.ts";
import { distance, rank, summary, top, topK, topP } from "./fuse/measure.ts";
import { matchTargets, tilt } from "./fuse/tilt.ts";

/** What `RowKernels` means: f64, and exp and log that are the same in every engine. */
export const referenceKernels: RowKernels<Float64Array> = {
  take(row, vocab, name) {
    expectLogits(name, row, vocab);
    const taken = new Float64Array(vocab);
    for (let id = 0; id < vocab; id++) taken[id] = row[id];
    return taken;
  },
  free() {},
  lin,
  mix,
  scatter,
  project,
  gather,
  multiply,
  top,
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
