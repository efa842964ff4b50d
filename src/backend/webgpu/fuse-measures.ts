/**
 * fuse-measures: numbers that are read off rows where they lie. Kernels sum in f32, logarithms are taken here, of few numbers,
 * in f64; wgsl/measure.ts has the sums and how exact they are.
 */
import { exp, log } from "../../math.ts";
import { type Floor, PENDING, type Pending, type Summary, type SummaryGroup } from "../fuse-kernels.ts";
import { summary as definedSummary } from "../reference/fuse/measure.ts";
import type { Words } from "./fuse-answers.ts";
import type { Asker } from "./fuse-asker.ts";
import { type GpuRow, logitOf } from "./fuse-rows.ts";
import {
  fuseDistance,
  fuseFloor,
  fuseMoment,
  fuseNucleus,
  fusePartition,
  fuseRank,
  MEASURE_GROUPS,
} from "./wgsl/measure.ts";

const PARTITION_WIDTH = 4;

export class GpuMeasures {
  readonly #asker: Asker;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  top(row: GpuRow): number | Pending {
    return this.#asker.checked([row])?.[0].top ?? PENDING;
  }

  summary(row: GpuRow, temperature: number, groups: ReadonlySet<SummaryGroup>): Summary | Pending {
    const checked = this.#asker.checked([row]);
    const parts: (Partial<Summary> | Pending)[] = [];
    if (groups.has("moments")) parts.push(this.#moments(row, temperature));
    if (groups.has("partition") || groups.has("probabilities")) parts.push(this.#partition(row, temperature));
    // Sums of differences of probabilities, which f32 would leave little of: of the row itself, in f64.
    if (groups.has("probabilities")) parts.push(this.#probabilities(row, temperature));
    if (checked === PENDING || parts.includes(PENDING)) return PENDING;
    const [{ top, argmax }] = checked;
    return Object.assign({ vocab: row.vocab, top, argmax }, ...parts);
  }

  topK(row: GpuRow, k: number): Floor | Pending {
    const params = { x: row.x, count: row.vocab, k: Math.min(k, row.vocab) };
    return this.#asker.ask(
      [row],
      `topK ${k}`,
      3,
      (result) => this.#asker.run(fuseFloor, { ...params, result }),
      floorOf,
    );
  }

  topP(row: GpuRow, temperature: number, p: number): Floor | Pending {
    const params = { ...this.#asker.topsOf(row), x: row.x, inverse: 1 / temperature, share: p };
    const record = (result: number) => this.#asker.run(fuseNucleus, { ...params, result });
    return this.#asker.ask([row], `topP ${temperature} ${p}`, 3, record, floorOf);
  }

  rank(row: GpuRow, token: number): number | Pending {
    const record = (result: number) => {
      const parts = this.#asker.scratch(MEASURE_GROUPS);
      this.#asker.sum(fuseRank, row.vocab, 1, { x: row.x, token, parts }, result);
    };
    return this.#asker.ask([row], `rank ${token}`, 1, record, ({ values }) => values[0]);
  }

  at(row: GpuRow, token: number): number | Pending {
    const record = (to: number) => this.#asker.copy(to, row.x + token, 1);
    return this.#asker.ask([row], `at ${token}`, 1, record, ({ values }) => values[0]);
  }

  read(row: GpuRow): Float32Array | Pending {
    const record = (to: number) => this.#asker.copy(to, row.x, row.vocab);
    return this.#asker.ask([row], "read", row.vocab, record, ({ values }) => values);
  }

  distance(a: GpuRow, b: GpuRow): { readonly kl: number; readonly l1: number } | Pending {
    const record = (result: number) => {
      const words = (2 * PARTITION_WIDTH + 3) * MEASURE_GROUPS;
      const sumA = this.#asker.scratch(words);
      const sumB = sumA + PARTITION_WIDTH * MEASURE_GROUPS;
      const parts = sumB + PARTITION_WIDTH * MEASURE_GROUPS;
      this.#partitionSums(a, 1, sumA, result);
      this.#partitionSums(b, 1, sumB, result + PARTITION_WIDTH);
      const [topsA, topsB] = [this.#asker.topsOf(a).tops, this.#asker.topsOf(b).tops];
      const params = { a: a.x, topsA, sumA, b: b.x, topsB, sumB, parts };
      this.#asker.sum(fuseDistance, a.vocab, 3, params, result + 2 * PARTITION_WIDTH);
    };
    return this.#asker.ask([a, b], `distance ${b.id}`, 2 * PARTITION_WIDTH + 3, record, ({ values }) => {
      const [massA, massB] = [values[0], values[PARTITION_WIDTH]];
      const [l1, sum, alone] = values.subarray(2 * PARTITION_WIDTH);
      return { kl: alone > 0 ? Infinity : sum - log(massA) + log(massB), l1 };
    });
  }

  #moments(row: GpuRow, temperature: number): Partial<Summary> | Pending {
    const record = (result: number) => {
      const { tops } = this.#asker.topsOf(row);
      const before = this.#asker.scratch(2 * MEASURE_GROUPS);
      const params = { x: row.x, tops, before };
      this.#asker.sum(fuseMoment, row.vocab, 1, { ...params, isSecond: 0, parts: before }, result);
      const parts = before + MEASURE_GROUPS;
      this.#asker.sum(fuseMoment, row.vocab, 1, { ...params, isSecond: 1, parts }, result + 1);
    };
    const sums = this.#asker.ask([row], "moments", 2, record, ({ values }) => [...values]);
    const extremes = this.#asker.extremes(row);
    if (sums === PENDING || extremes === PENDING) return PENDING;
    const { count, top } = extremes;
    return {
      count,
      mean: (top + sums[0] / count) / temperature,
      deviation: count > 1 ? Math.sqrt(sums[1] / (count - 1)) / temperature : 0,
    };
  }

  #partition(row: GpuRow, temperature: number): Partial<Summary> | Pending {
    const record = (result: number) => {
      const parts = this.#asker.scratch(PARTITION_WIDTH * MEASURE_GROUPS);
      this.#partitionSums(row, temperature, parts, result);
    };
    const key = `partition ${temperature}`;
    const sums = this.#asker.ask([row], key, PARTITION_WIDTH, record, ({ values }) => [...values]);
    const extremes = this.#asker.extremes(row);
    if (sums === PENDING || extremes === PENDING) return PENDING;
    const { top, second, least } = extremes;
    const [sum, weighted, squareSum, squareWeighted] = sums;
    const below = (z: number) => exp((z - top) / temperature);
    return {
      logPartition: top / temperature + log(sum),
      entropy: log(sum) - weighted / sum,
      squareEntropy: log(squareSum) - (2 * squareWeighted) / squareSum,
      maxProbability: 1 / sum,
      minProbability: below(least) / sum,
      margin: (1 - below(second)) / sum,
    };
  }

  #probabilities(row: GpuRow, temperature: number): Partial<Summary> | Pending {
    const values = this.read(row);
    if (values === PENDING) return PENDING;
    const key = `probabilities ${temperature}`;
    let known = row.answers.get(key);
    if (known === undefined) {
      const all = definedSummary(Float64Array.from(values), temperature, new Set(["probabilities"]));
      const { probabilityDeviation, probabilityKurtosis, probabilityEnergy } = all;
      known = { value: { probabilityDeviation, probabilityKurtosis, probabilityEnergy } };
      row.answers.set(key, known);
    }
    return known.value as Partial<Summary>;
  }

  #partitionSums(row: GpuRow, temperature: number, parts: number, result: number): void {
    const { tops } = this.#asker.topsOf(row);
    const params = { x: row.x, tops, inverse: 1 / temperature, parts };
    this.#asker.sum(fusePartition, row.vocab, PARTITION_WIDTH, params, result);
  }
}

function floorOf({ bits: [order, last, count] }: Words): Floor {
  return count === 0 ? { value: Infinity, last: -1 } : { value: logitOf(order), last };
}
