/**
 * The words of a plan: plain JSON that says how several rows become one.
 *
 *     source   the row of a model                                  { source: "base" }
 *     lin      z = Σ wᵢ·zᵢ                                         { lin: [{ source: "a" }, { source: "b", weight: -1 }] }
 *     mix      ln Σ wᵢ·pᵢ, or one of the rows, drawn by weight     { mix: [{ source: "a", weight: 0.7 }, { source: "b", weight: 0.3 }] }
 *     route    one of several rows, chosen by a number             { route: [{ source: "a" }, { source: "b" }], by: value }
 *     map      a row through a table: in another vocabulary, or token by token    { map: { source: "b" }, through: "table" }
 *     table    a constant row: bias, prior, token graph            { table: "graph" }
 *
 * Each of these may have a `temperature`, a `support` and a `norm`, applied in this order. Weights and routes are
 * values: numbers, or small expressions over statistics of rows. Rows and values may be named, in `rows` and `let`.
 *
 * −∞ in `lin`: with a weight above 0 it forbids the token, with one below it adds nothing, with 0 its source is not
 * even asked for. Masks belong after a fusion, not into the rows before it.
 */

export const NORMS = ["raw", "logsoftmax", "zscore", "maxnorm"] as const;
/**
 *     raw          z
 *     logsoftmax   z − ln Σ exp z
 *     zscore       (z − mean) / (deviation + epsilon), over the tokens above −∞; of equal logits, nothing
 *     maxnorm      z / max z; with a maximum that is not above 0, nothing
 */
export type NormName = (typeof NORMS)[number];

/** What a row is made before it is combined. By default epsilon is 0, and ddof 1: the deviation is unbiased. */
export type Norm = NormName | { readonly zscore: { readonly epsilon?: number; readonly ddof?: number } };

/** Numbers that are read off one row. Probabilities are those of softmax, logarithms natural. */
export const STATISTICS = [
  "vocab",
  "max",
  "argmax",
  "mean",
  "deviation",
  "logPartition",
  "entropy",
  "maxProbability",
  "minProbability",
  "margin",
  "squareEntropy",
  "probabilityDeviation",
  "probabilityKurtosis",
  "probabilityEnergy",
] as const;
/**
 *     vocab                   tokens of the row
 *     max, argmax             largest logit, and its token, the lowest of equal ones
 *     mean, deviation         of the logits above −∞; deviation unbiased (n − 1)
 *     logPartition            ln Σ exp z
 *     entropy                 −Σ p ln p
 *     maxProbability, minProbability, margin     p₁, the least p, p₁ − p₂
 *     squareEntropy           entropy of p² / Σ p²
 *     probabilityDeviation    of the p, unbiased
 *     probabilityKurtosis     mean(((p − mean) / deviation)⁴), deviation unbiased; 1 if all are equal
 *     probabilityEnergy       2·ln Σ exp(p / 2)
 */
export type StatisticName = (typeof STATISTICS)[number];

/** Numbers that are read off two rows: KL(of‖to), and Σ |p − q| from 0 to 2. */
export const DISTANCES = ["kl", "l1"] as const;
export type DistanceName = (typeof DISTANCES)[number];

/** Arithmetic. `less` is 1 or 0, `argmax` the index of the largest, the first of equal ones. */
export const OPERATIONS = {
  add: [1, 32],
  mul: [1, 32],
  min: [1, 32],
  max: [1, 32],
  argmax: [1, 32],
  sub: [2, 2],
  div: [2, 2],
  pow: [2, 2],
  less: [2, 2],
  exp: [1, 1],
  log: [1, 1],
  sigmoid: [1, 1],
} as const satisfies Readonly<Record<string, readonly [least: number, most: number]>>;
export type Operation = keyof typeof OPERATIONS;

/** One operation of those above, with its operands. */
export type Calculation =
  | { readonly add: readonly Value[] }
  | { readonly mul: readonly Value[] }
  | { readonly min: readonly Value[] }
  | { readonly max: readonly Value[] }
  | { readonly argmax: readonly Value[] }
  | { readonly sub: readonly Value[] }
  | { readonly div: readonly Value[] }
  | { readonly pow: readonly Value[] }
  | { readonly less: readonly Value[] }
  | { readonly exp: readonly Value[] }
  | { readonly log: readonly Value[] }
  | { readonly sigmoid: readonly Value[] };

/** A number of one step; a text is the name of one in `let`. */
export type Value =
  | number
  | string
  | Calculation
  | { readonly stat: StatisticName; readonly of: string; readonly temperature?: number }
  | { readonly stat: DistanceName; readonly of: string; readonly to: string }
  /** Of one token: its logit, its probability, or how many tokens come before it. */
  | { readonly stat: "logit" | "probability" | "rank"; readonly of: string; readonly token: Value }
  /** The n-th largest logit, from 1. */
  | { readonly stat: "nth"; readonly of: string; readonly n: number }
  /** A column of a source behind its vocabulary. */
  | { readonly stat: "extra"; readonly of: string; readonly column?: number }
  /** A number that the host gives with each step. */
  | { readonly input: string; readonly at?: number }
  /** By the tokens of output so far: that of the last pair [step, value] whose step is reached. */
  | { readonly schedule: readonly (readonly [number, number])[] }
  /**
   * m ← m + rate·(value − m), beginning with the first value; rate from 0 to 1, a computed one is clamped. Where it is 0,
   * m stays, and nothing is computed for a value. The one value with memory.
   */
  | { readonly smooth: Value; readonly rate: Value }
  /** α of expert `at`, by matching divergences; see match.ts. */
  | { readonly match: Match; readonly at?: number };

export const SOLVERS = ["grid21", "continuous"] as const;
export type Solver = (typeof SOLVERS)[number];

/** Dynamic Logits Fusion. */
export interface Match {
  /** Of the large model. */
  readonly base: string;
  /** Tuned and untuned row of each small model. */
  readonly experts: readonly { readonly expert: string; readonly anti: string }[];
  /** grid21: 21 points from 0 to `limit`; continuous: the minimum around the best of them. */
  readonly solver?: Solver;
  /** Largest α. Default 2. */
  readonly limit?: number;
}

/** Which tokens stay. Judged on the row `of`, by default the one that is cut. */
export type Support =
  /** p ≥ minP · max p; with ties "drop", only above. */
  | { readonly minP: number; readonly of?: string; readonly ties?: "keep" | "drop" }
  /** The k largest, the lowest ids of equal ones. */
  | { readonly topK: number; readonly of?: string }
  /** The most likely tokens whose probabilities reach topP. */
  | { readonly topP: number; readonly of?: string }
  /** Either p ≥ relTop · max p or among the ⌊relTop · vocab⌋ largest, ties kept. `compat`: none of them is all of them. */
  | { readonly relTop: number; readonly of?: string; readonly compat?: boolean }
  | { readonly any: readonly Support[] }
  | { readonly allow: readonly number[] }
  | { readonly forbid: readonly number[] }
  /** The mask that comes with the step, if one does. */
  | { readonly bitmask: true };

export interface Modifiers {
  /** Divides the row. */
  readonly temperature?: number;
  /** All must hold. */
  readonly support?: readonly Support[];
  readonly norm?: Norm;
}

export type Node = (
  | { readonly source: string }
  | { readonly lin: readonly Term[] }
  | { readonly mix: readonly Term[]; readonly mode?: "exact" | "sampled" }
  | { readonly route: readonly Node[]; readonly by: Value }
  | { readonly map: Node; readonly through: string }
  | { readonly table: string }
) &
  Modifiers;

/** A row in a sum. In `mix`, weights are taken relative to their sum, and the default norm is "logsoftmax". */
export type Term = Node & { readonly weight?: Value };

export interface SourceSpec {
  readonly name: string;
  /** Sources of one vocabulary have the same tokens by the same ids. Default "". */
  readonly vocabulary?: string;
  /** Ids in use, if rows are longer: what lies beyond is padding. */
  readonly vocab?: number;
  /** Columns behind the vocabulary, for `stat: "extra"`. */
  readonly extra?: number;
}

/** Rows by offsets: row i is entries offsets[i] … offsets[i + 1] of `ids` and `values`. */
export interface SparseRows {
  readonly offsets: ArrayLike<number>;
  readonly ids: ArrayLike<number>;
  readonly values: ArrayLike<number>;
}

/** Constant data. Ones that are `given` come with each step, for data that is too large for JSON. */
export type Table = (
  | { readonly kind: "dense"; readonly values: ArrayLike<number> }
  | { readonly kind: "sparse"; readonly ids: ArrayLike<number>; readonly values: ArrayLike<number> }
  /** The row of the last token: what was seen to follow it. */
  | ({ readonly kind: "graph" } & SparseRows)
  /** p'[j] = Σᵢ p[i]·W[i, j], as rows of W; `vocab` counts j. */
  | ({ readonly kind: "projection"; readonly vocab: number; readonly to?: string } & SparseRows)
  /** z'[j] = z[ids[j]], −∞ where that is −1. */
  | { readonly kind: "gather"; readonly ids: ArrayLike<number>; readonly to?: string }
  /** z'[j] = values[j]·z[j], −∞ where z is; none negative. Of one vocabulary, hence without `to`. */
  | { readonly kind: "factors"; readonly values: ArrayLike<number> }
  | { readonly kind: "given"; readonly like: TableKind; readonly to?: string }
) & {
  /** Vocabulary of the row it makes, or that it maps from. Default "". */
  readonly vocabulary?: string;
};

export const TABLE_KINDS = ["dense", "sparse", "graph", "projection", "gather", "factors"] as const;
export type TableKind = (typeof TABLE_KINDS)[number];

export interface Declarations {
  readonly sources: readonly (string | SourceSpec)[];
  /** Numbers that the host gives with each step: how many by each name. */
  readonly inputs?: Readonly<Record<string, number>>;
  readonly tables?: Readonly<Record<string, Table>>;
  readonly let?: Readonly<Record<string, Value>>;
  readonly rows?: Readonly<Record<string, Node>>;
}

/**
 * What a plan must be as JSON. `readPlan` checks it.
 *
 * @example
 * ```ts
 * const proxyTuning: Plan = {
 *   sources: ["base", "expert", "anti"],
 *   lin: [{ source: "base" }, { source: "expert" }, { source: "anti", weight: -1 }],
 * };
 * ```
 */
export type Plan = Declarations & Node;

/** Ceilings of what a plan may hold. */
export const LIMITS = {
  sources: 16,
  /** Rows in one sum, and of one route. */
  terms: 8,
  depth: 12,
  /** Rows and values together, named or not. */
  nodes: 1024,
  names: 128,
  tables: 32,
  /** Numbers in all tables together. */
  tableNumbers: 1 << 22,
  vocab: 1 << 20,
  inputs: 4096,
  /** Of a weight, constant or computed; what is computed is clamped to it. */
  weight: 1000,
} as const;
