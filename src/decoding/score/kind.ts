import type { Row } from "../draft.ts";
import type { Fields } from "../pipeline/fields.ts";

/** Sparse weights from a student's tokens to a teacher's, in compressed rows. */
export interface Projection {
  /** (student vocabulary + 1): the entries of student token i are offsets[i] … offsets[i + 1] − 1. */
  readonly offsets: ArrayLike<number>;
  /** (entries) tokens of the teacher. */
  readonly tokens: ArrayLike<number>;
  /** (entries), none negative. */
  readonly weights: ArrayLike<number>;
}

/** What a kind of score is computed from, after checks: no NaN, no +∞, and in logits something above −∞. */
export interface Inputs {
  readonly row: { readonly row: Row };
  readonly "row, token": { readonly row: Row; readonly token: number };
  readonly "row, reference": { readonly row: Row; readonly reference: Row };
  readonly "row, reference, token": { readonly row: Row; readonly reference: Row; readonly token: number };
  /** A hidden state in the place of the row. */
  readonly vector: { readonly row: Row };
  /** Several positions at once; vocabularies may differ. */
  readonly positions: { readonly row: readonly Row[]; readonly reference: readonly Row[] };
  /** Vocabularies may differ. */
  readonly "row, reference, projection": {
    readonly row: Row;
    readonly reference: Row;
    readonly projection: Projection;
  };
  /** Vocabularies may differ. `common`: pairs of a token of the row and the same token of the reference. */
  readonly "row, reference, common": {
    readonly row: Row;
    readonly reference: Row;
    readonly common: readonly (readonly [number, number])[];
  };
}

export type Needs = keyof Inputs;

/** A score that is a sum, with its summands for the log. */
export interface Composite {
  readonly value: number;
  readonly parts: Readonly<Record<string, number>>;
}

/** One kind of score: what it needs, what its options are, and the reduction itself. */
export interface ScoreKind<Need extends Needs = Needs, Options extends object = object> {
  readonly needs: Need;
  /** Which values are better; null where that depends on what it is used for. */
  readonly better: "lower" | "higher" | null;
  /** One line: the formula. */
  readonly formula: string;
  readonly source: string;
  /** Whether options have no defaults, as they come from training. */
  readonly trained?: true;
  /** @throws {TypeError | RangeError} If an option is wrong. */
  read(fields: Fields): Options;
  /** A function of its arguments alone; sums are f64, by ascending token. */
  compute(input: Inputs[Need], options: Options): number | Composite;
}

/** For inference of the types of a kind where it is written. */
export function kind<Need extends Needs, Options extends object>(
  value: ScoreKind<Need, Options>,
): ScoreKind<Need, Options> {
  return value;
}

/** The reader of a kind that has no options. */
export const noOptions = (): Record<never, never> => ({});

/** Bounds of a temperature: beyond them e^(z/T) is flat or a step. */
export const temperatureOf = (fields: Fields, missing = 1): number =>
  fields.number("temperature", 1e-3, 1e3, missing);
