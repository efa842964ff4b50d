/** fuse-needs: which kernels each thing that a fusion does with rows takes, so that they can be compiled before. */
import type { RowKernelName } from "../fuse-kernels.ts";
import type { Kernel } from "./kernel.ts";
import { fuseBound, fuseGather, fuseLin, fuseMix, fuseMultiply, fuseScatter } from "./wgsl/fuse.ts";
import { matchCommon, matchSums, matchTops, tiltMost, tiltSums } from "./wgsl/match.ts";
import {
  fuseDistance,
  fuseExtremes,
  fuseFloor,
  fuseJoin,
  fuseMoment,
  fuseNucleus,
  fusePartition,
  fuseRank,
  fuseTops,
} from "./wgsl/measure.ts";
import { fuseWrong } from "./wgsl/wrong.ts";

const NEEDS: Readonly<Record<RowKernelName, readonly Kernel[]>> = {
  lin: [fuseLin, fuseBound],
  mix: [fuseMix],
  scatter: [fuseScatter],
  project: [],
  gather: [fuseGather],
  multiply: [fuseMultiply],
  top: [],
  summary: [fuseMoment, fusePartition, fuseJoin],
  topK: [fuseFloor],
  topP: [fuseNucleus],
  rank: [fuseRank, fuseJoin],
  at: [],
  distance: [fusePartition, fuseDistance, fuseJoin],
  matchTargets: [matchTops, matchCommon, matchSums, fuseJoin],
  tilt: [matchTops, matchCommon, tiltMost, tiltSums, fuseJoin],
  read: [],
};

/** Each once, with those that look for what is wrong with a row. */
export function fuseKernelsFor(names: Iterable<RowKernelName>): readonly Kernel[] {
  const needed = [...names].flatMap((name) => NEEDS[name]);
  return [...new Set([fuseTops, fuseExtremes, fuseWrong, ...needed])];
}
