/**
 * match: Dynamic Logits Fusion. How far to move a large model along the way that tuning moved a small one: so far that it
 * ends as far from where it was, by KL both ways, as the small one did.
 *
 *     P̃ ∝ P·exp(α·d),  d = expert − anti              A(α) = ln Σ P·exp(α·d)
 *     k₁ = KL(P̃ ‖ P) = α·A′(α) − A(α)                 c₁ = KL(expert ‖ anti)
 *     k₂ = KL(P ‖ P̃) = A(α) − α·A′(0)                 c₂ = KL(anti ‖ expert)
 *     α* = argmin Σₜ (k₁ − c₁ₜ)² + (k₂ − c₂ₜ)²
 *
 * With several experts one of them is active in each step, the one whose best α comes nearest to the targets of all.
 * A′ and A″ are mean and variance of d under the tilted law, which the sweep sums anyway.
 *
 *     grid21        the first best of α = 0, limit/20, …, limit, as in the paper with limit 2
 *     continuous    the zero of the derivative around it, to the last bits
 *
 * Source: Fan et al. 2024, arXiv:2406.15480.
 */
import {
  type MatchTargets,
  PENDING,
  type Pending,
  type StepKernels,
  type Tilt,
} from "../../backend/fuse-kernels.ts";
import type { Solver } from "./plan.ts";

export interface MatchRows<R> {
  readonly base: R;
  readonly experts: readonly { readonly expert: R; readonly anti: R }[];
}

export interface MatchResult {
  /** Index of the active expert. */
  readonly expert: number;
  readonly alpha: number;
  readonly objective: number;
  /** KL(expert ‖ anti) and KL(anti ‖ expert) of each. */
  readonly targets: readonly MatchTargets[];
}

const GRID = 20;
const MAX_REFINEMENTS = 60;
const TOLERANCE = 1e-13;

interface Point {
  readonly alpha: number;
  readonly objective: number;
  readonly slope: number;
}

/** PENDING if a kernel's answer is. */
export function solveMatch<R>(
  kernels: StepKernels<R>,
  rows: MatchRows<R>,
  solver: Solver,
  limit: number,
): MatchResult | Pending {
  const { base, experts } = rows;
  // All that is asked in any case comes first, so that it is waited for once.
  const found = experts.map(({ expert, anti }) => kernels.matchTargets(base, expert, anti));
  const grids = experts.map(({ expert, anti }) =>
    kernels.tilt(base, expert, anti, 0, limit / GRID, GRID + 1),
  );
  if (!areThere(found) || !areThere(grids)) return PENDING;
  const targets = found;
  let best: Point = { alpha: 0, objective: Infinity, slope: 0 };
  let active = 0;
  let isPending = false;
  experts.forEach(({ expert, anti }, index) => {
    const point = (alpha: number, tilt: Tilt, start: number) => pointAt(alpha, tilt, start, targets);
    const grid = grids[index];
    const start = grid[0].mean;
    const points = grid.map((tilt, j) => point((j * limit) / GRID, tilt, start));
    const at = firstLeast(points);
    let found = points[at];
    if (solver === "continuous") {
      const before = points[Math.max(0, at - 1)];
      const after = points[Math.min(GRID, at + 1)];
      const evaluate = (alpha: number) => {
        const tilts = kernels.tilt(base, expert, anti, alpha, 0, 1);
        return tilts === PENDING ? PENDING : point(alpha, tilts[0], start);
      };
      const refined = refine(found, before, after, evaluate);
      if (refined === PENDING) isPending = true;
      else found = refined;
    }
    if (found.objective < best.objective) {
      best = found;
      active = index;
    }
  });
  if (isPending) return PENDING;
  // Rows that have no token in common say nothing: the large model stays as it is.
  const { alpha, objective } = best.objective < Infinity ? best : { alpha: 0, objective: 0 };
  return { expert: active, alpha, objective, targets };
}

function areThere<T>(answers: readonly (T | Pending)[]): answers is readonly T[] {
  return !answers.includes(PENDING);
}

function pointAt(
  alpha: number,
  { logMass, mean, variance }: Tilt,
  start: number,
  targets: readonly MatchTargets[],
): Point {
  const k1 = alpha * mean - logMass;
  const k2 = logMass - alpha * start;
  let objective = 0;
  let slope = 0;
  for (const { forward, backward } of targets) {
    objective += (k1 - forward) * (k1 - forward) + (k2 - backward) * (k2 - backward);
    slope += 2 * ((k1 - forward) * alpha * variance + (k2 - backward) * (mean - start));
  }
  return { alpha, objective, slope };
}

function firstLeast(points: readonly Point[]): number {
  let best = 0;
  points.forEach(({ objective }, index) => {
    if (objective < points[best].objective) best = index;
  });
  return best;
}

/** The zero of the slope between two points, by regula falsi; an end that stays counts half (Illinois). */
function refine(
  found: Point,
  before: Point,
  after: Point,
  evaluate: (alpha: number) => Point | Pending,
): Point | Pending {
  let [low, high] = found.slope > 0 ? [before, found] : [found, after];
  if (!(low.slope < 0 && high.slope > 0)) return found;
  let [lowSlope, highSlope] = [low.slope, high.slope];
  let best = found;
  let side = 0;
  for (let round = 0; round < MAX_REFINEMENTS && high.alpha - low.alpha > TOLERANCE; round++) {
    const share = lowSlope / (lowSlope - highSlope);
    const point = evaluate(low.alpha + (high.alpha - low.alpha) * share);
    if (point === PENDING) return PENDING;
    if (Math.abs(point.slope) >= Math.abs(best.slope)) break;
    best = point;
    if (point.slope < 0) {
      [low, lowSlope] = [point, point.slope];
      if (side < 0) highSlope /= 2;
      side = -1;
    } else {
      [high, highSlope] = [point, point.slope];
      if (side > 0) lowSlope /= 2;
      side = 1;
    }
  }
  return best;
}
