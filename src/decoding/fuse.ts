/**
 * fuse: several rows become one, by a plan.
 *
 *     plan (JSON)  →  readPlan  →  compilePlan  →  Step: needs → rows → … → row
 *
 * A plan says which models' rows a token is chosen from, and how they are combined (fuse/plan.ts has its words). It is
 * data, not code: checked, bounded and the same in TypeScript, over HTTP and on the command line. It compiles to
 * instructions over whole rows, with numbers between them; kernels execute the former (backend/fuse-kernels.ts), the
 * latter are computed here. A row is a function of the plan, the sources' rows, and the context: the place in the text,
 * the seed, and the memory that the step before left.
 */

import type { RowKernels } from "../backend/fuse-kernels.ts";
import { referenceKernels } from "../backend/reference/fuse.ts";
import { compilePlan } from "./fuse/compile/compile.ts";
import type { FuseContext } from "./fuse/context.ts";
import type { Plan } from "./fuse/plan.ts";
import type { Program } from "./fuse/program.ts";
import { type Fused, type RowsByName, Step } from "./fuse/step.ts";

export type { RowKernels } from "../backend/fuse-kernels.ts";
export { referenceKernels } from "../backend/reference/fuse.ts";
export { buildPlan, op, type PlanBuilder } from "./fuse/builder.ts";
export { compilePlan } from "./fuse/compile/compile.ts";
export type { FuseAudit, FuseContext, FuseState } from "./fuse/context.ts";
export { explainPlan } from "./fuse/explain.ts";
export type { Node, Plan, SourceSpec, Support, Table, Term, Value } from "./fuse/plan.ts";
export {
  FUSE_PRESETS,
  type FusePresetName,
  type FusePresetOptions,
  fusePreset,
} from "./fuse/preset/presets.ts";
export type { Program } from "./fuse/program.ts";
export { planFingerprint, readPlan } from "./fuse/read/read-plan.ts";
export type { SourceRow, TruncatedRow } from "./fuse/rows.ts";
export { type Fused, type RowsByName, Step } from "./fuse/step.ts";

/**
 * One row: by the definition, in f64, or by the kernels of a backend.
 *
 * @param plan A plan, or one that was compiled: to fuse many rows, compile once.
 * @param rows (vocab) logits by name of source. Those that nothing needs may be missing.
 * @throws {TypeError | RangeError} If a row is missing or wrong, or no token is left.
 *
 * @example
 * ```ts
 * const plan = fusePreset("proxy-tuning", { base: "large", expert: "tuned", anti: "small" });
 * evaluatePlan(plan, { large: [2, 1, 0], tuned: [0, 1, 0], small: [0, 0, 0] }).row; // 2, 2, 0
 * ```
 */
export function evaluatePlan(
  plan: Plan | Program,
  rows: RowsByName,
  context: FuseContext = {},
  kernels: RowKernels<object> = referenceKernels,
): Fused {
  const step = new Step(programOf(plan), kernels, context);
  try {
    step.provide(rows);
    return step.finish();
  } finally {
    step.close();
  }
}

/** Names of the sources whose rows are wanted next, given those that are there; none: `evaluatePlan` has all it needs. */
export function neededSources(
  plan: Plan | Program,
  rows: RowsByName = {},
  context: FuseContext = {},
): readonly string[] {
  const step = new Step(programOf(plan), referenceKernels, context);
  step.provide(rows);
  return step.needs;
}

function programOf(plan: Plan | Program): Program {
  return "instructions" in plan ? plan : compilePlan(plan);
}
