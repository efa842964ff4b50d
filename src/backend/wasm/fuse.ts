/**
 * RowKernels in linear memory: f32 rows, f64 sums. A row that lies there is read where it is; others are copied in.
 *
 * Rows from outside are checked by the first kernel that reads them, which costs no pass of its own; the reason for an
 * error is looked for afterwards.
 */
import { exp, log } from "../../math.ts";
import {
  expectLogits,
  type Floor,
  type MatchTargets,
  type ResolvedBound,
  type RowKernels,
  type Scaled,
  type Summary,
  type SummaryGroup,
  type Tilt,
} from "../fuse-kernels.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";
import { Combiner } from "./fuse-combine.ts";
import { Matcher } from "./fuse-match.ts";
import { addressOf, type FuseRow, FuseRows } from "./fuse-rows.ts";
import { Scratch } from "./scratch.ts";

/** Of 1 / temperature: what lies below the best logit is out of reach long before. */
const MOST_INVERSE = 1e30;

const SELECT_BYTES = 16 * 1024;

export class WasmFuseKernels implements RowKernels<FuseRow> {
  readonly #kernels: Exports;
  readonly #rows: FuseRows;
  readonly #scratch: Scratch;
  readonly #combiner: Combiner;
  readonly #matcher: Matcher;

  /** @param arena Where rows are allocated: that of the kernels' memory. */
  constructor(kernels: Exports, arena: Arena) {
    this.#kernels = kernels;
    this.#rows = new FuseRows(kernels.memory, arena);
    this.#scratch = new Scratch(kernels.memory, arena);
    this.#combiner = new Combiner(kernels, this.#rows, this.#scratch);
    this.#matcher = new Matcher(kernels, this.#rows, this.#scratch);
  }

  take(row: ArrayLike<number>, vocab: number, name: string): FuseRow {
    const seen = this.#rows.view(row, vocab, name);
    if (seen !== null) return seen;
    const isFloat = row instanceof Float32Array;
    if (!isFloat) expectLogits(name, row, vocab);
    const taken = this.#rows.make(vocab);
    const values = this.#rows.values(taken);
    if (isFloat) values.set(row.subarray(0, vocab));
    else for (let id = 0; id < vocab; id++) values[id] = row[id];
    taken.unread = isFloat ? name : null;
    return taken;
  }

  free(row: FuseRow): void {
    this.#rows.free(row);
  }

  lin(
    vocab: number,
    terms: readonly Scaled<FuseRow>[],
    bounds: readonly (readonly ResolvedBound<FuseRow>[])[],
  ): FuseRow {
    return this.#combiner.lin(vocab, terms, bounds);
  }

  mix(vocab: number, terms: readonly Scaled<FuseRow>[]): FuseRow {
    return this.#combiner.mix(vocab, terms);
  }

  scatter(row: FuseRow, ids: ArrayLike<number>, values: ArrayLike<number>, scale: number): FuseRow {
    this.top(row);
    return this.#make(row.length, (out) => {
      out.set(this.#rows.values(row));
      for (let i = 0; i < ids.length; i++) out[ids[i]] += scale * values[i];
    });
  }

  project(
    { row, scale, offset }: Scaled<FuseRow>,
    vocab: number,
    offsets: ArrayLike<number>,
    ids: ArrayLike<number>,
    values: ArrayLike<number>,
  ): FuseRow {
    const top = this.top(row);
    const sums = new Float64Array(vocab);
    const weights = this.#weigh(row, scale);
    const probabilities = this.#rows.values(weights);
    for (let i = 0; i + 1 < offsets.length; i++) {
      for (let at = offsets[i]; at < offsets[i + 1]; at++) sums[ids[at]] += values[at] * probabilities[i];
    }
    this.#rows.free(weights);
    const factor = exp(scale * top + offset);
    const out = this.#make(vocab, (row) => row.set(sums.map((sum) => factor * sum)));
    this.#kernels.logarithms(out.address, vocab);
    return out;
  }

  gather(row: FuseRow, ids: ArrayLike<number>): FuseRow {
    this.top(row);
    return this.#make(ids.length, (out) => {
      const values = this.#rows.values(row);
      for (let j = 0; j < out.length; j++) out[j] = ids[j] < 0 ? -Infinity : values[ids[j]];
    });
  }

  multiply(row: FuseRow, factors: ArrayLike<number>): FuseRow {
    this.top(row);
    return this.#make(row.length, (out) => {
      const values = this.#rows.values(row);
      for (let id = 0; id < out.length; id++) {
        out[id] = values[id] === -Infinity ? -Infinity : values[id] * factors[id];
      }
    });
  }

  top(row: FuseRow): number {
    const address = addressOf(row);
    if (row.top !== undefined && row.unread === null) return row.top;
    const top = this.#kernels.highest(address, row.length);
    const isWrong = Number.isNaN(top) || top === Infinity || (top === -Infinity && row.unread !== null);
    if (isWrong) this.#rows.refuse([row]);
    row.unread = null;
    row.top = top;
    return top;
  }

  summary(row: FuseRow, temperature: number, groups: ReadonlySet<SummaryGroup>): Summary {
    const top = this.top(row);
    const argmax = this.#kernels.argmax(row.address, row.length) >>> 0;
    const extremes = { vocab: row.length, top, argmax };
    if (top === -Infinity) return extremes;
    return {
      ...extremes,
      ...(groups.has("moments") && this.#moments(row, temperature)),
      ...((groups.has("partition") || groups.has("probabilities")) &&
        this.#partition(row, temperature, groups.has("probabilities"))),
    };
  }

  topK(row: FuseRow, k: number): Floor {
    this.top(row);
    return this.#select(row, 0, k);
  }

  topP(row: FuseRow, temperature: number, p: number): Floor {
    this.top(row);
    const weights = this.#weigh(row, 1 / temperature);
    try {
      const goal = p * this.#kernels.mass(weights.address, weights.length);
      return this.#select(row, weights.address, goal);
    } finally {
      this.#rows.free(weights);
    }
  }

  rank(row: FuseRow, token: number): number {
    this.top(row);
    return this.#kernels.rank(row.address, row.length, token) >>> 0;
  }

  at(row: FuseRow, token: number): number {
    this.top(row);
    return this.#rows.values(row)[token];
  }

  distance(a: FuseRow, b: FuseRow): { readonly kl: number; readonly l1: number } {
    const [aTop, bTop] = [this.top(a), this.top(b)];
    const [aSum, bSum] = [this.#sum(a), this.#sum(b)];
    const out = this.#scratch.of(16);
    this.#kernels.distance(a.address, b.address, a.length, aTop, bTop, 1 / aSum, 1 / bSum, out);
    const [weighted, l1] = this.#numbers(2);
    return { kl: weighted / aSum - log(aSum) + log(bSum), l1 };
  }

  matchTargets(base: FuseRow, expert: FuseRow, anti: FuseRow): MatchTargets {
    return this.#matcher.targets(base, expert, anti);
  }

  tilt(
    base: FuseRow,
    expert: FuseRow,
    anti: FuseRow,
    start: number,
    step: number,
    count: number,
  ): readonly Tilt[] {
    return this.#matcher.tilt(base, expert, anti, start, step, count);
  }

  read(row: FuseRow): Float32Array {
    return this.#rows.values(row);
  }

  #make(length: number, fill: (values: Float32Array) => void): FuseRow {
    const row = this.#rows.make(length);
    fill(this.#rows.values(row));
    return row;
  }

  /** exp((z − top)·scale), to be freed. */
  #weigh(row: FuseRow, scale: number): FuseRow {
    const weights = this.#rows.make(row.length);
    const inverse = Math.min(scale, MOST_INVERSE);
    this.#kernels.weigh(row.address, weights.address, row.length, row.top!, inverse);
    return weights;
  }

  #select(row: FuseRow, weights: number, goal: number): Floor {
    const scratch = this.#scratch.of(SELECT_BYTES);
    const last = this.#kernels.select(row.address, weights, row.length, goal, scratch);
    return { value: last < 0 ? Infinity : this.#scratch.view().getFloat32(0, true), last };
  }

  #moments(row: FuseRow, temperature: number): Partial<Summary> {
    this.#kernels.moments(row.address, row.length, this.#scratch.of(16));
    const [count, sum] = this.#numbers(2);
    const mean = sum / count;
    const squares = this.#kernels.deviations(row.address, row.length, mean);
    const deviation = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
    return { count, mean: mean / temperature, deviation: deviation / temperature };
  }

  #partition(row: FuseRow, temperature: number, withMoments: boolean): Partial<Summary> {
    const { address, length } = row;
    const top = row.top!;
    const inverse = Math.min(1 / temperature, MOST_INVERSE);
    this.#kernels.partition(address, length, top, inverse, this.#scratch.of(48));
    const [sum, weighted, squareSum, squareWeighted, second, least] = this.#numbers(6);
    if (temperature === 1) row.sum = sum;
    return {
      logPartition: top / temperature + log(sum),
      entropy: log(sum) - weighted / sum,
      // −Σ r ln r for r = e² / Σe²: ln r = 2x − ln Σe².
      squareEntropy: log(squareSum) - (2 * squareWeighted) / squareSum,
      maxProbability: 1 / sum,
      minProbability: least / sum,
      margin: (1 - second) / sum,
      ...(withMoments && this.#probabilityMoments(row, inverse, sum)),
    };
  }

  #probabilityMoments({ address, length, top }: FuseRow, inverse: number, sum: number): Partial<Summary> {
    this.#kernels.probabilities(address, length, top!, inverse, sum, this.#scratch.of(24));
    const [squares, fourths, excess] = this.#numbers(3);
    const variance = length > 1 ? Math.max(0, squares / (length - 1)) : 0;
    // Of equal probabilities rounding leaves something, which says nothing.
    const flat = variance <= 1e-30 / (length * length);
    return {
      probabilityDeviation: Math.sqrt(variance),
      probabilityKurtosis: flat ? 1 : fourths / length / (variance * variance),
      probabilityEnergy: 2 * log(length + excess),
    };
  }

  /** Σ exp(z − top) */
  #sum(row: FuseRow): number {
    if (row.sum === undefined) this.#partition(row, 1, false);
    return row.sum!;
  }

  /** What a kernel left. */
  #numbers(count: number): number[] {
    const view = this.#scratch.view();
    return Array.from({ length: count }, (_, i) => view.getFloat64(i * 8, true));
  }
}
