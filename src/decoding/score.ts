/**
 * score: numbers about rows of logits, for judging heads, plans and drafters, and for the log.
 *
 *     score("kl", { row, reference })                    one number of one position
 *     new Aggregate().add(value, bytes).summary()        their mean, error, bits per byte over a text
 *     blockNll(head, token)                              a likelihood without the row in memory
 *
 * In nats, all of them. `row` is what is judged, `reference` what it is compared with; logits, raw or normalised, f32 or
 * f64. Everything is f64 with our own exp and log and sums by ascending token, so it is the same number in every engine.
 *
 * Rows   A token at −∞ has no chance, and 0 · ln 0 = 0. What needs a token that is not there is infinite: the likelihood of
 *        such a token, a divergence from a reference whose support is not covered. NaN and +∞ are errors, also a row without
 *        a token.
 * Cost   a few passes over the vocabulary, with one exp per token in each; a sort in "pld", "uskd" and "h-kl".
 */
import { expectArray, Fields } from "./pipeline/fields.ts";
import { isListOfRows, numbersOf, readInput, type ScoreInput } from "./score/inputs.ts";
import type { Composite } from "./score/kind.ts";
import { findScore, SCORE_NAMES, type ScoreName, type ScoreOptions } from "./score/registry.ts";

export { Aggregate, type AggregateJson, type AggregateSummary, type Estimate } from "./score/aggregate.ts";
export type { RowInput, ScoreInput } from "./score/inputs.ts";
export type { Projection } from "./score/kind.ts";
export { type BlockHead, blockNll, OnlineLogSumExp } from "./score/log-sum-exp.ts";
export { SCORE_NAMES, type ScoreName, type ScoreOptions, type ScoreSpec } from "./score/registry.ts";

export interface ScoreResult {
  readonly score: ScoreName;
  /** In nats where it is a logarithm. May be infinite, never NaN. */
  readonly value: number;
  /** The summands, where the score is a sum that is logged in parts. */
  readonly parts?: Readonly<Record<string, number>>;
}

/** What there is to know about a score before it is computed. */
export interface ScoreInfo {
  readonly score: ScoreName;
  /** Fields of `ScoreInput`. */
  readonly needs: readonly (keyof ScoreInput)[];
  /** Which values are better; null where that depends on what it is used for. */
  readonly better: "lower" | "higher" | null;
  readonly formula: string;
  readonly source: string;
  /** All options with their defaults; null where all must be given, as they come from training. */
  readonly options: Readonly<Record<string, number | string>> | null;
}

/** @throws {RangeError} If there is no score of that name. */
export function scoreInfo(name: ScoreName): ScoreInfo {
  const { needs, better, formula, source, trained, read } = findScore(name);
  const fields = (FIELDS[needs] ?? needs.split(", ")) as ScoreInfo["needs"];
  const options = trained ? null : (read(new Fields("options", {})) as ScoreInfo["options"]);
  return { score: name, needs: fields, better, formula, source, options };
}

/** Needs whose name is not the list of fields. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  vector: ["row"],
  positions: ["row", "reference"],
};

/**
 * One score of one position.
 *
 * @param options As the kind has them; those left out have its source's values.
 * @throws {TypeError | RangeError} If the score is unknown, an option wrong, or a row missing, of the wrong size or not
 *   logits; the message names it.
 *
 * @example
 * ```ts
 * const row = Float32Array.of(1, 3, 2, 0, -1);
 * score("nll", { row, token: 2 }).value; // 1.4519…
 * score("energy", { row }, { temperature: 2 }).value;
 * ```
 */
export function score<Name extends ScoreName>(
  name: Name,
  input: ScoreInput,
  options: ScoreOptions<Name> = {} as ScoreOptions<Name>,
): ScoreResult {
  const kind = findScore(name);
  const fields = new Fields("options", options);
  const read = kind.read(fields);
  fields.done();
  return resultOf(name, kind.compute(readInput(kind.needs, input), read));
}

/** A number in JSON, which has none that is infinite. */
export type JsonNumber = number | "Infinity" | "-Infinity";

export interface ScoreJson {
  readonly score: ScoreName;
  readonly value: JsonNumber;
  readonly parts?: Readonly<Record<string, JsonNumber>>;
}

/** More than there are. */
const MAX_SCORES = 64;

/**
 * Several scores of one position, JSON to JSON: what the command line and the service offer.
 *
 * @param json `{ "scores": ["nll", { "score": "energy", "temperature": 2 }], "row": [...], "token": 3, ... }`
 * @throws {TypeError | RangeError} As `score`; the message has the path of the field.
 */
export function scoreJson(json: unknown): readonly ScoreJson[] {
  // Fields checks that it is an object; rows are too long to be read as its fields.
  new Fields("request", json);
  const { scores, ...input } = json as { scores?: unknown } & Record<string, unknown>;
  const unknown = Object.keys(input).find((name) => !INPUTS.includes(name));
  if (unknown !== undefined) {
    const known = ["scores", ...INPUTS].map((name) => `"${name}"`).join(", ");
    throw new TypeError(`"request" may have ${known}, got "${unknown.slice(0, 40)}"`);
  }
  const specs = expectArray("scores", scores, MAX_SCORES).map((spec, index) => {
    return readSpec(`scores[${index}]`, spec);
  });
  // Once, not for each score.
  for (const name of ["row", "reference"]) {
    if (input[name] !== undefined && !isListOfRows(input[name])) input[name] = numbersOf(name, input[name]);
  }
  return specs.map(({ name, options }) => {
    const kind = findScore(name);
    return toJson(
      resultOf(name, kind.compute(readInput(kind.needs, input as unknown as ScoreInput), options)),
    );
  });
}

const INPUTS: readonly string[] = ["row", "reference", "token", "projection", "common"];

/** A name alone means its defaults. */
function readSpec(path: string, spec: unknown): { name: ScoreName; options: object } {
  const fields = new Fields(path, typeof spec === "string" ? { score: spec } : spec);
  const name = fields.choice("score", SCORE_NAMES);
  const options = findScore(name).read(fields);
  fields.done();
  return { name, options };
}

function resultOf(name: ScoreName, computed: number | Composite): ScoreResult {
  if (typeof computed === "number") return { score: name, value: computed };
  return { score: name, value: computed.value, parts: computed.parts };
}

function toJson({ score: name, value, parts }: ScoreResult): ScoreJson {
  const encoded = { score: name, value: jsonNumber(value) };
  if (parts === undefined) return encoded;
  const entries = Object.entries(parts).map(([part, number]) => [part, jsonNumber(number)]);
  return { ...encoded, parts: Object.fromEntries(entries) };
}

function jsonNumber(value: number): JsonNumber {
  if (Number.isFinite(value)) return value;
  return value > 0 ? "Infinity" : "-Infinity";
}
