/** What `edgewise score` says: as JSON, and as a table. */
import type { Aggregate, AggregateSummary, JsonNumber } from "../decoding/score.ts";
import { grouped } from "../errors.ts";
import type { ScoreRequest } from "./score-arguments.ts";

export interface ScoreReport {
  model: string;
  /** Of the model, or of the plan and its models. */
  fingerprint: string;
  against?: string;
  /** Scored tokens, the bytes that they stand for, and in how many chunks they were read. */
  tokens: number;
  bytes: number;
  chunks: number;
  scores: Record<string, ScoreEntry>;
}

interface ScoreEntry {
  mean: JsonNumber;
  /** Of the mean; null where it has none, of one token or an infinite mean. */
  standard_error: number | null;
  /** Of a likelihood. */
  perplexity?: JsonNumber;
  bits_per_byte?: JsonNumber;
  bits_per_byte_error?: number | null;
}

export interface ScoreResult extends ScoreRequest {
  readonly aggregate: Aggregate;
}

export function scoreReport(
  facts: Omit<ScoreReport, "scores" | "bytes">,
  bytes: number,
  results: readonly ScoreResult[],
): ScoreReport {
  const entries = results.map(({ name, aggregate }) => [name, entryOf(name, aggregate.summary())]);
  return { ...facts, bytes, scores: Object.fromEntries(entries) };
}

function entryOf(name: string, { mean, standardError, perByte }: AggregateSummary): ScoreEntry {
  const entry = { mean: jsonNumber(mean), standard_error: standardError };
  if (name !== "nll") return entry;
  return {
    ...entry,
    perplexity: jsonNumber(Math.exp(mean)),
    ...(perByte && {
      bits_per_byte: jsonNumber(perByte.bits.mean),
      bits_per_byte_error: perByte.bits.standardError,
    }),
  };
}

/** JSON has no infinity. */
function jsonNumber(value: number): JsonNumber {
  if (Number.isFinite(value)) return value;
  return value > 0 ? "Infinity" : "-Infinity";
}

/** One line of facts, then one for each score, in nats per token unless it says otherwise. */
export function scoreText({ model, against, tokens, bytes, chunks, scores }: ScoreReport): string {
  const who = against === undefined ? model : `${model} against ${against}`;
  const read = `${count(tokens, "token")}, ${count(bytes, "byte")}, in ${count(chunks, "chunk")}`;
  const names = Object.keys(scores);
  const width = Math.max(...names.map((name) => name.length));
  const lines = names.map((name) => `  ${name.padEnd(width)}  ${describe(scores[name])}`);
  return `${[`${who}: ${read}`, ...lines].join("\n")}\n`;
}

function describe(entry: ScoreEntry): string {
  const { mean, standard_error, perplexity, bits_per_byte, bits_per_byte_error } = entry;
  return [
    withError(mean, standard_error),
    ...(perplexity === undefined ? [] : [`perplexity ${digits(perplexity)}`]),
    ...(bits_per_byte === undefined
      ? []
      : [`${withError(bits_per_byte, bits_per_byte_error ?? null)} bits per byte`]),
  ].join("; ");
}

function withError(value: JsonNumber, error: number | null): string {
  return error === null ? digits(value) : `${digits(value)} ± ${error.toPrecision(2)}`;
}

function digits(value: JsonNumber): string {
  return typeof value === "string" ? value : value.toPrecision(6);
}

function count(number: number, what: string): string {
  return `${grouped(number)} ${what}${number === 1 ? "" : "s"}`;
}
