import type { Step } from "./steps.ts";
import { kindOf } from "./steps.ts";
import { isGreedy } from "./temperature.ts";

/** A step and where its memory is; −1: it has none. `index` is that in `Pipeline.steps`. */
export interface Planned {
  readonly step: Step;
  readonly index: number;
  readonly slot: number;
}

/**
 * The order in which steps are run: that of the pipeline, but with fewer candidates early, where that gives the same.
 *
 *     top-k     moves before temperatures and min-p: each keeps the order of the logits, so the same tokens remain
 *     greedy    (temperature 0) moves before every cut-off that keeps the best token, the lowest id of equal ones
 */
export function planOf(steps: readonly Step[], withMemory: readonly Step[]): readonly Planned[] {
  const plan: Planned[] = [];
  for (const [index, step] of steps.entries()) {
    let at = plan.length;
    while (at > 0 && maySwap(plan[at - 1].step, step)) at--;
    plan.splice(at, 0, { step, index, slot: withMemory.indexOf(step) });
  }
  return plan;
}

/** How many steps at the beginning look at no token but their own: masks, and edits of single tokens. */
export function leadOf(plan: readonly Planned[]): number {
  const end = plan.findIndex(({ step }) => !isMask(step) && kindOf(step).edit === undefined);
  return end < 0 ? plan.length : end;
}

/** The temperature of plans that do no more, behind edits of single tokens; null: they do more, or less. */
export function plainTemperature(plan: readonly Planned[]): number | null {
  const lead = leadOf(plan);
  if (plan.slice(0, lead).some(({ step }) => step.step === "allowed-ids")) return null;
  if (plan.length === lead) return 1;
  const { step } = plan[lead];
  const isLast = plan.length === lead + 1;
  return isLast && step.step === "temperature" && !isGreedy(step) ? step.temperature : null;
}

const KEEP_ORDER: ReadonlySet<string> = new Set(["temperature", "min-p"] satisfies Step["step"][]);
const KEEP_BEST: ReadonlySet<string> = new Set([
  "epsilon-cutoff",
  "eta-cutoff",
  "min-p",
  "mirostat",
  "mirostat-2",
  "p-less",
  "top-h",
  "top-k",
  "top-n-sigma",
  "top-p",
] satisfies Step["step"][]);

function maySwap(before: Step, after: Step): boolean {
  if (after.step === "top-k") return KEEP_ORDER.has(before.step) && !isGreedy(before);
  return isGreedy(after) && KEEP_BEST.has(before.step);
}

function isMask({ step }: Step): boolean {
  return step === "allowed-ids" || step === "bitmask";
}
