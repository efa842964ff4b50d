/**
 * Calls of the kernels of assembly/fuse/match.ts and sweep.ts. What matching starts from (the largest logits, the centre, both
 * divergences) is summed once for three rows, and kept with the first of them.
 */
import { log } from "../../math.ts";
import type { MatchTargets, Tilt } from "../fuse-kernels.ts";
import type { Exports } from "./exports.ts";
import { addressOf, type FuseRow, type FuseRows } from "./fuse-rows.ts";
import type { Scratch } from "./scratch.ts";

/** Largest α·d of a sweep, so that f32 holds the weights of all its α. */
const MAX_EXPONENT = 48;
/** How far below the largest α·d an exponent at the start is nothing at the end: e^−32, of a million tokens. */
const REACH = 32;

const TOPS_BYTES = 64;
const BLOCK_BYTES = 3 * 2048;
/** Three sums, each two f64. */
const SUMS_BYTES = 48;

export interface MatchSums {
  /** Largest logits of base, expert and anti; those of expert and anti at the most likely token of base. */
  readonly tops: readonly number[];
  readonly targets: MatchTargets;
  /** Largest and least of expert − anti, less its value at that token. */
  readonly most: number;
  readonly least: number;
  /** Σ exp(base − top), once known. */
  partition: number | undefined;
}

/** Of one α, without the factor exp(shift). */
interface Sums {
  readonly shift: number;
  readonly sum: number;
  readonly first: number;
  readonly second: number;
}

export class Matcher {
  readonly #kernels: Exports;
  readonly #rows: FuseRows;
  readonly #scratch: Scratch;

  constructor(kernels: Exports, rows: FuseRows, scratch: Scratch) {
    this.#kernels = kernels;
    this.#rows = rows;
    this.#scratch = scratch;
  }

  targets(base: FuseRow, expert: FuseRow, anti: FuseRow): MatchTargets {
    return this.#sums(base, expert, anti)?.targets ?? { forward: 0, backward: 0 };
  }

  tilt(base: FuseRow, expert: FuseRow, anti: FuseRow, start: number, step: number, count: number): Tilt[] {
    const known = this.#sums(base, expert, anti);
    const alphas = Array.from({ length: count }, (_, j) => start + j * step);
    if (known === null) return alphas.map(() => ({ logMass: -Infinity, mean: NaN, variance: NaN }));
    const rows = [base, expert, anti] as const;
    const ends = [alphas[0], alphas[count - 1]];
    const exponent = Math.max(...ends.map((alpha) => Math.max(alpha * known.most, alpha * known.least)));
    const sums =
      count > 1 && exponent <= MAX_EXPONENT
        ? this.#sweep(rows, [...known.tops, -exponent - REACH], start, step, count)
        : alphas.map((alpha) => this.#at(rows, known.tops, alpha));
    if (start === 0) known.partition ??= sums[0].sum;
    known.partition ??= this.#at(rows, known.tops, 0).sum;
    const { partition, tops } = known;
    const centre = tops[3] - tops[4];
    return sums.map(({ shift, sum, first, second }, j) => {
      const mean = first / sum;
      return {
        logMass: shift + log(sum) - log(partition) + alphas[j] * centre,
        mean: mean + centre,
        variance: Math.max(0, second / sum - mean * mean),
      };
    });
  }

  /** Null if no token is in all rows. */
  #sums(base: FuseRow, expert: FuseRow, anti: FuseRow): MatchSums | null {
    const known = base.matches.find((match) => match.expert === expert && match.anti === anti);
    if (known !== undefined) return known.sums;
    const sums = this.#computeSums([base, expert, anti]);
    base.matches.push({ expert, anti, sums });
    return sums;
  }

  #computeSums(rows: readonly [FuseRow, FuseRow, FuseRow]): MatchSums | null {
    const [base, expert, anti] = rows.map(addressOf);
    const vocab = rows[0].length;
    const at = this.#scratch.of(TOPS_BYTES + 48);
    const centre = this.#kernels.match_tops(base, expert, anti, vocab, at);
    const view = this.#scratch.view();
    const tops = [0, 4, 8].map((offset) => view.getFloat32(offset, true));
    if (centre === -2 || tops.includes(Infinity)) this.#rows.refuse(rows);
    if (centre < 0) {
      this.#rows.inspect(rows);
      return null;
    }
    for (const row of rows.slice(1)) tops.push(this.#rows.values(row)[centre]);
    writeTops(view, tops);
    this.#kernels.match_targets(base, expert, anti, vocab, at, at + TOPS_BYTES);
    const [e, ed, f, fd, most, least] = Array.from({ length: 6 }, (_, i) =>
      view.getFloat64(TOPS_BYTES + i * 8, true),
    );
    // ln of both sums of exponentials, less the logits at the centre.
    const gap = log(e) + tops[1] - tops[3] - (log(f) + tops[2] - tops[4]);
    const targets = { forward: ed / e - gap, backward: gap - fd / f };
    return { tops, targets, most, least, partition: undefined };
  }

  #sweep(
    rows: readonly FuseRow[],
    tops: readonly number[],
    start: number,
    step: number,
    count: number,
  ): Sums[] {
    const [base, expert, anti] = rows.map(addressOf);
    const at = this.#scratch.of(TOPS_BYTES + BLOCK_BYTES + count * SUMS_BYTES);
    const view = this.#scratch.view();
    writeTops(view, tops);
    const block = at + TOPS_BYTES;
    const out = TOPS_BYTES + BLOCK_BYTES;
    const { length } = rows[0];
    this.#kernels.match_sweep(base, expert, anti, length, at, start, step, count, block, at + out);
    return Array.from({ length: count }, (_, j) => {
      const sum = (part: number) => {
        const offset = out + j * SUMS_BYTES + part * 16;
        return view.getFloat64(offset, true) + view.getFloat64(offset + 8, true);
      };
      return { shift: 0, sum: sum(0), first: sum(1), second: sum(2) };
    });
  }

  #at(rows: readonly FuseRow[], tops: readonly number[], alpha: number): Sums {
    const [base, expert, anti] = rows.map(addressOf);
    const at = this.#scratch.of(TOPS_BYTES + 24);
    const view = this.#scratch.view();
    writeTops(view, tops);
    const shift = this.#kernels.match_at(base, expert, anti, rows[0].length, at, alpha, at + TOPS_BYTES);
    const [sum, first, second] = [0, 8, 16].map((offset) => view.getFloat64(TOPS_BYTES + offset, true));
    return { shift, sum, first, second };
  }
}

function writeTops(view: DataView, tops: readonly number[]): void {
  tops.forEach((top, index) => {
    view.setFloat32(index * 4, top, true);
  });
}
