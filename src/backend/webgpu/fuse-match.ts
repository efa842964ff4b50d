/**
 * fuse-match: the sums of Dynamic Logits Fusion over rows where they lie; wgsl/match.ts has the kernels, and how exact they are.
 */
import { log } from "../../math.ts";
import type { MatchTargets, Pending, Tilt } from "../fuse-kernels.ts";
import type { Words } from "./fuse-answers.ts";
import type { Asker } from "./fuse-asker.ts";
import type { GpuRow } from "./fuse-rows.ts";
import type { Params } from "./recorder.ts";
import {
  COMMON_RESULT,
  COMMON_WIDTH,
  matchCommon,
  matchSums,
  matchTops,
  TILT_ALPHAS,
  TILT_WIDTH,
  tiltMost,
  tiltSums,
  tiltWords,
} from "./wgsl/match.ts";
import { MEASURE_GROUPS, measureGroups } from "./wgsl/measure.ts";

export class GpuMatches {
  readonly #asker: Asker;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  matchTargets(base: GpuRow, expert: GpuRow, anti: GpuRow): MatchTargets | Pending {
    const rows = [base, expert, anti] as const;
    const width = 4;
    const record = (result: number) => {
      const scratch = this.#asker.scratch(tiltWords(0) + width * MEASURE_GROUPS);
      const joint = this.#joint(rows, scratch, result);
      const params = { ...placesOf(rows), joint, parts: scratch + tiltWords(0) };
      this.#asker.sum(matchSums, base.vocab, width, params, result + COMMON_RESULT);
    };
    return this.#asker.ask(
      rows,
      `match ${expert.id} ${anti.id}`,
      COMMON_RESULT + width,
      record,
      ({ values }) => {
        if (values[4] === 0) return { forward: 0, backward: 0 };
        const [massA, massB, apartA, apartB] = values.subarray(COMMON_RESULT);
        const shift = log(massA) - log(massB);
        return { forward: apartA / massA - shift, backward: shift - apartB / massB };
      },
    );
  }

  tilt(
    base: GpuRow,
    expert: GpuRow,
    anti: GpuRow,
    start: number,
    step: number,
    count: number,
  ): readonly Tilt[] | Pending {
    const rows = [base, expert, anti] as const;
    const sets = Math.ceil(count / TILT_ALPHAS);
    const record = (result: number) => {
      const scratch = this.#asker.scratch(tiltWords(sets));
      const joint = this.#joint(rows, scratch, result);
      const most = scratch + tiltWords(0);
      const parts = most + sets * MEASURE_GROUPS * TILT_ALPHAS;
      const params = { ...placesOf(rows), joint, start, step, count: base.vocab };
      const groups = measureGroups(base.vocab);
      this.#asker.run(tiltMost, { ...params, groups, parts: most }, [groups, sets]);
      this.#asker.sum(
        tiltSums,
        base.vocab,
        TILT_WIDTH,
        { ...params, most, parts },
        result + COMMON_RESULT,
        sets,
      );
    };
    const key = `tilt ${expert.id} ${anti.id} ${start} ${step} ${count}`;
    return this.#asker.ask(rows, key, COMMON_RESULT + sets * TILT_WIDTH, record, (words) =>
      Array.from({ length: count }, (_, j) => tiltAt(words, j, start + j * step)),
    );
  }

  /** Records what all rows have in common. @returns Word of the place where kernels find it. */
  #joint(rows: readonly [GpuRow, GpuRow, GpuRow], scratch: number, result: number): number {
    const { vocab } = rows[0];
    const groups = measureGroups(vocab);
    const joint = scratch + MEASURE_GROUPS * COMMON_WIDTH;
    this.#asker.run(matchTops, { ...placesOf(rows), count: vocab, groups, parts: scratch }, [groups]);
    this.#asker.run(matchCommon, { ...placesOf(rows), groups, parts: scratch, joint, result });
    return joint;
  }
}

function placesOf([base, expert, anti]: readonly [GpuRow, GpuRow, GpuRow]): Params {
  return { base: base.x, expert: expert.x, anti: anti.x };
}

/** Of the words of a sweep: what the kernels have in common, then sums of four α each. */
function tiltAt({ values }: Words, j: number, alpha: number): Tilt {
  if (values[4] === 0) return { logMass: -Infinity, mean: NaN, variance: 0 };
  const at = COMMON_RESULT + Math.floor(j / TILT_ALPHAS) * TILT_WIDTH + (j % TILT_ALPHAS);
  const [sum, first, second, shift] = [0, 1, 2, 3].map((k) => values[at + TILT_ALPHAS * k]);
  const base = values[COMMON_RESULT + Math.floor(j / TILT_ALPHAS) * TILT_WIDTH + TILT_WIDTH - 1];
  // As the kernel has it.
  const centre = Math.fround(values[5] - values[6]);
  const mean = first / sum;
  return {
    logMass: shift + log(sum) - log(base) + alpha * centre,
    mean: mean + centre,
    variance: Math.max(0, second / sum - mean * mean),
  };
}
