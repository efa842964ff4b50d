/**
 * RowKernels: what a fusion does with whole rows, behind an interface: reference/fuse.ts is the definition, in f64;
 * wasm/fuse.ts holds f32 rows in linear memory, webgpu/fuse.ts on a device, whose answers are late.
 *
 * Rows are (vocab), hold no NaN and no +∞, and −∞ for what is impossible. Sums are f64, in one published order.
 */
import type { Backend, Floats } from "./backend.ts";

/** What one pass computes together: no exp, one exp per token, or a pass of its own over the probabilities. */
export type SummaryGroup = "extremes" | "moments" | "partition" | "probabilities";

/** Numbers read off one row, z / temperature; those whose group was not asked for are missing. */
export interface Summary {
  readonly vocab: number;
  /** Not divided by the temperature. */
  readonly top: number;
  /** The lowest id that has it. */
  readonly argmax: number;
  /** Tokens above −∞. */
  readonly count?: number;
  readonly mean?: number;
  readonly deviation?: number;
  readonly logPartition?: number;
  readonly entropy?: number;
  readonly squareEntropy?: number;
  readonly maxProbability?: number;
  readonly minProbability?: number;
  /** Largest less second largest probability. */
  readonly margin?: number;
  readonly probabilityDeviation?: number;
  readonly probabilityKurtosis?: number;
  readonly probabilityEnergy?: number;
}

/** scale · z + offset. In `lin`, of a scale that is not above 0 and z = −∞ nothing. */
export interface Scaled<R> {
  readonly row: R;
  readonly scale: number;
  readonly offset: number;
}

/** A token is in if its value is above the floor, or at it and its id is at most `last`. */
export interface Floor {
  readonly value: number;
  readonly last: number;
}

/** A bound of a program with its numbers filled in; `words` have bit id mod 32 of word ⌊id / 32⌋ for those that are in. */
export type ResolvedBound<R> =
  | { readonly kind: "floor"; readonly row: R; readonly floor: Floor }
  | { readonly kind: "mask"; readonly words: Uint32Array };

/** Sums for matching, of token weights wᵢ ∝ Pᵢ·exp(α·dᵢ), at each α: first w, then w·d, then w·d². */
export interface Tilt {
  /** ln Σ w, where P sums to 1. */
  readonly logMass: number;
  /** Mean and variance of d under the tilted law. */
  readonly mean: number;
  readonly variance: number;
}

/** Divergences of a pair of small rows. */
export interface MatchTargets {
  /** KL(expert ‖ anti). */
  readonly forward: number;
  /** KL(anti ‖ expert). */
  readonly backward: number;
}

/**
 * Rows that `take`, `lin`, `mix`, `scatter`, `project`, `gather` and `multiply` make belong to the caller, who gives them back with
 * `free`. Nothing else changes or frees one.
 */
export interface RowKernels<R> {
  /**
   * Takes the first `vocab` of `row`. It may be viewed where it is: it must not change before `free`.
   *
   * NaN, +∞, what is beyond f32 or no number, and a row without a logit above −∞ are refused, here or by the first call
   * that reads the row; the message begins with `name`.
   *
   * @throws {RangeError} If it is refused.
   */
  take(row: ArrayLike<number>, vocab: number, name: string): R;
  /** Nothing, if it was given back before. */
  free(row: R): void;
  /** Σ (scale·z + offset), −∞ outside of the bounds. */
  lin(vocab: number, terms: readonly Scaled<R>[], bounds: readonly (readonly ResolvedBound<R>[])[]): R;
  /** ln Σ exp(scale·z + offset). */
  mix(vocab: number, terms: readonly Scaled<R>[]): R;
  /** z + scale · values at `ids`, which may repeat. */
  scatter(row: R, ids: ArrayLike<number>, values: ArrayLike<number>, scale: number): R;
  /** ln Σᵢ W[i, j]·exp(scale·zᵢ + offset), W by rows. */
  project(
    term: Scaled<R>,
    vocab: number,
    offsets: ArrayLike<number>,
    ids: ArrayLike<number>,
    values: ArrayLike<number>,
  ): R;
  /** z[ids[j]], −∞ where that is −1. */
  gather(row: R, ids: ArrayLike<number>): R;
  /** z · factor, none negative; −∞ where z is. */
  multiply(row: R, factors: ArrayLike<number>): R;
  /** The largest logit; −∞ if none is above. */
  top(row: R): number;
  summary(row: R, temperature: number, groups: ReadonlySet<SummaryGroup>): Summary;
  /** The floor of the k largest. */
  topK(row: R, k: number): Floor;
  /** The floor of the most likely whose probabilities, those of z / temperature, reach p. */
  topP(row: R, temperature: number, p: number): Floor;
  /** Tokens with a larger logit, or the same and a lower id. */
  rank(row: R, token: number): number;
  at(row: R, token: number): number;
  distance(a: R, b: R): { readonly kl: number; readonly l1: number };
  /** Divergences over the tokens that all rows have. */
  matchTargets(base: R, expert: R, anti: R): MatchTargets;
  /** `count` tilted laws at α = start, start + step, …; d = expert − anti, over the same tokens. */
  tilt(base: R, expert: R, anti: R, start: number, step: number, count: number): readonly Tilt[];
  /** (vocab) the row as numbers. A view where that is possible: valid until the next call, or `free`. */
  read(row: R): Float64Array | Float32Array;
}

/** In place of an answer: it was asked for, and is there after `settle`; ask again then. */
export const PENDING = null;
export type Pending = typeof PENDING;

type Late<F> = F extends (...given: infer Given) => infer Answer ? (...given: Given) => Answer | Pending : F;

/**
 * Kernels whose answers may have to be waited for: what they give at first is PENDING. The same question gives the answer once
 * it is there, as long as its rows are. Rows that are made are there at once, but for those of `project`.
 */
export type StepKernels<R> = Pick<RowKernels<R>, "free"> & {
  /** Kernels of this process are given no PlacedRow. */
  take(row: ArrayLike<number> | PlacedRow, vocab: number, name: string): R;
} & {
  readonly [Name in Exclude<keyof RowKernels<R>, "take" | "free">]: Late<RowKernels<R>[Name]>;
};

/** Kernels where rows lie on a device. What is wrong with a PlacedRow is found by what is asked of it. */
export interface LateRowKernels<R> extends StepKernels<R> {
  /**
   * Waits for all answers so far.
   *
   * @throws {UnsupportedError} If the device is gone.
   */
  settle(): Promise<void>;
  /** Copies a row to where it stays when it is given back: (vocab), in the memory of the backend that these are of. */
  copy(row: R, to: Floats): void;
  /**
   * Asks whether a row is one, and has a token, and whether all are rows that it was made of: 16 bytes come back.
   *
   * @returns To be called after `settle`: throws a RangeError that says what is wrong with which row.
   */
  judge(row: R): () => void;
  /**
   * Compiles what these need, in parallel, instead of when each is first used.
   *
   * @throws {UnsupportedError} If the device does not take a kernel.
   */
  prepare(names: Iterable<RowKernelName>, onProgress?: (ready: number, total: number) => void): Promise<void>;
}

/** What kernels do with rows, by name. */
export type RowKernelName = Exclude<keyof RowKernels<unknown>, "take" | "free">;

/** A row where it was made: in the memory of a device's backend. It must not change before it is given back. */
export class PlacedRow {
  readonly backend: Backend;
  readonly values: Floats;

  constructor(backend: Backend, values: Floats) {
    this.backend = backend;
    this.values = values;
  }

  get length(): number {
    return this.values.length;
  }
}

/** The largest f32. */
const MOST = 3.4028234663852886e38;

/** @throws {RangeError} If one of the first `vocab` is none of what a row may hold, or none of them is above −∞. */
export function expectLogits(name: string, row: ArrayLike<number>, vocab: number): void {
  let possible = false;
  for (let id = 0; id < vocab; id++) {
    const z = row[id];
    // What is no number at all, as may come in an array from JSON, compares as if it were one.
    if (typeof z === "number" && z >= -MOST && z <= MOST) possible = true;
    else if (z !== -Infinity) {
      throw new RangeError(`"${name}" must have logits that are f32 below ∞, got ${z} at token ${id}`);
    }
  }
  if (!possible) throw new RangeError(`"${name}" must have a logit above −∞, got none`);
}
