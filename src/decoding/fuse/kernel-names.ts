/** kernel-names: what a program asks of the kernels that execute it, so that they can be made ready before. */
import type { RowKernelName } from "../../backend/fuse-kernels.ts";
import type { Instruction, Program } from "./program.ts";

/** What the result is told by, and what an audit reads off rows. */
const ALWAYS: readonly RowKernelName[] = ["top", "read", "summary"];

/** Whatever the rows will be: of a route, all ways. */
export function kernelNamesOf({ instructions }: Program): ReadonlySet<RowKernelName> {
  return new Set([...ALWAYS, ...instructions.flatMap(namesOf)]);
}

function namesOf(instruction: Instruction): readonly RowKernelName[] {
  switch (instruction.op) {
    case "lin":
    case "mix":
    case "scatter":
    case "project":
    case "gather":
    case "multiply":
    case "topK":
    case "topP":
    case "summary":
    case "distance":
      return [instruction.op];
    case "relTop":
    case "nth":
      return ["topK"];
    case "token":
      return [instruction.what === "rank" ? "rank" : "at"];
    case "match":
      return ["matchTargets", "tilt"];
    case "source":
    case "dense":
    case "route":
    case "minP":
    case "number":
    case "calculate":
    case "statistic":
    case "extra":
    case "input":
    case "schedule":
    case "smooth":
    case "alpha":
    case "norm":
    case "draw":
      return [];
  }
}
