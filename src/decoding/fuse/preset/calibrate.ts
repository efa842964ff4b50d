/**
 * Classes that were seen unequally often, put right with numbers per class.
 *
 *     logit-adjustment    z − τ·ln prior, prior from counts of classes     Menon et al. 2021, arXiv:2007.07314
 *     margin              z + C / n^¼, the margins of LDAM given back     Cao et al. 2019, arXiv:1906.07413
 *     margin-calibration  ω·z + β·‖W‖ by class, ω and β learned           MARC: Wang et al. 2021, arXiv:2112.07225
 */
import { log } from "../../../math.ts";
import { definePreset } from "./define.ts";

/** `counts`: how often each class was seen, one per token, all above 0. */
export const logitAdjustment = definePreset(
  { source: "base", counts: [] as readonly number[], tau: 1 },
  ({ source, counts, tau }) => {
    const total = expectCounts(counts).reduce((sum, count) => sum + count, 0);
    return {
      sources: [source],
      tables: { prior: { kind: "dense" as const, values: counts.map((count) => log(count / total)) } },
      lin: [{ source }, { table: "prior", weight: -tau }],
    };
  },
);

/** The rarest class gets `largest`, the others less: training with margins took that much from the right class. */
export const margin = definePreset(
  { source: "base", counts: [] as readonly number[], largest: 0.5 },
  ({ source, counts, largest }) => {
    const shapes = expectCounts(counts).map((count) => 1 / Math.sqrt(Math.sqrt(count)));
    const scale = shapes.reduce((most, shape) => Math.max(most, shape), 0);
    return {
      sources: [source],
      tables: { margins: { kind: "dense" as const, values: shapes.map((shape) => shape / scale) } },
      lin: [{ source }, { table: "margins", weight: largest }],
    };
  },
);

/**
 * `scales` and `shifts`: ω and β·‖W‖ of each class, one per token, the scales not below 0. Also temperatures by class, with
 * shifts of 0.
 */
export const marginCalibration = definePreset(
  { source: "base", scales: [] as readonly number[], shifts: [] as readonly number[] },
  ({ source, scales, shifts }) => {
    if (scales.length === 0) throw new RangeError('"options.scales" must have a scale per token, got none');
    if (shifts.length !== scales.length) {
      throw new RangeError(
        `"options.shifts" must have ${scales.length} numbers, one per scale, got ${shifts.length}`,
      );
    }
    return {
      sources: [source],
      tables: {
        scales: { kind: "factors" as const, values: scales },
        shifts: { kind: "dense" as const, values: shifts },
      },
      lin: [{ map: { source }, through: "scales" }, { table: "shifts" }],
    };
  },
);

function expectCounts(counts: readonly number[]): readonly number[] {
  const wrong = counts.findIndex((count) => !(count > 0 && count < Infinity));
  if (counts.length === 0) throw new RangeError('"options.counts" must have a count per token, got none');
  if (wrong >= 0) throw new RangeError(`"options.counts[${wrong}]" must be above 0, got ${counts[wrong]}`);
  return counts;
}
