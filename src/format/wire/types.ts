/** The words of the wire format: what a row can be encoded as, and an encoded row. */
import type { Codebook } from "./codebook.ts";

export const ROW_ENCODINGS = ["f32", "f16", "int8", "int4", "vq", "top-k", "lattice", "ids"] as const;

export type RowEncoding = (typeof ROW_ENCODINGS)[number];

/** One row as bytes; `decodeRow` makes logits of it. All that takes rows takes this too. */
export interface EncodedRow {
  readonly encoding: RowEncoding;
  /** Tokens of the vocabulary. */
  readonly vocab: number;
  readonly data: Uint8Array;
  /** Of "vq". */
  readonly codebook?: Codebook;
}

/**
 * An encoding with its options; a name alone means its defaults.
 *
 *     clip         a block's logits further below its largest are raised to there; nats. Default 12 (int8), 10 (int4)
 *     count        tokens that are kept. Default 64 (top-k), all (lattice), 1 (ids)
 *     precision    of a log-probability. Default "f16"
 *     resolution   probabilities are multiples of 1 / resolution. Default 1000
 */
export type EncodingSpec =
  | Exclude<RowEncoding, "vq">
  | { readonly encoding: "f32" | "f16" }
  | { readonly encoding: "int8" | "int4"; readonly clip?: number }
  | { readonly encoding: "vq"; readonly codebook: Codebook }
  | { readonly encoding: "top-k"; readonly count?: number; readonly precision?: "f16" | "f32" }
  | { readonly encoding: "lattice"; readonly resolution?: number; readonly count?: number }
  | { readonly encoding: "ids"; readonly count?: number };

/** Ceilings, checked before anything is allocated. */
export const WIRE_LIMITS = {
  vocab: 1 << 20,
  rows: 1 << 16,
  resolution: 1 << 24,
  clip: 1000,
} as const;

export function isRowEncoding(value: unknown): value is RowEncoding {
  return ROW_ENCODINGS.includes(value as RowEncoding);
}

/** Whether a value that stands for a row is an encoded one; which `decodeRow` may still find wrong. */
export function isEncodedRow(value: unknown): value is EncodedRow {
  return typeof value === "object" && value !== null && "encoding" in value && "data" in value;
}

export function expectEncoding(path: string, value: unknown): RowEncoding {
  if (isRowEncoding(value)) return value;
  const got = typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : typeof value;
  throw new RangeError(`"${path}" must be one of ${ROW_ENCODINGS.join(", ")}, got ${got}`);
}
