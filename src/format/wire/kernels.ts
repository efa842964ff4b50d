/**
 * WireKernels: the work over whole vocabularies that encoding and decoding rows takes. definition.ts says what each call
 * means; the Wasm backend has them in linear memory. Bytes and logits are the same to the last bit.
 *
 * Rows are (vocab) f32, −∞ or finite, checked by whoever calls; bytes are laid out as in index.ts, of the right length.
 */
import type { Codebook } from "./codebook.ts";

/** Tokens that share a scale and a minimum. */
export const BLOCK = 32;

export type BlockBits = 8 | 4;

/** What of a row a few tokens are told beside. */
export interface RowMass {
  /** Tokens above −∞. */
  readonly count: number;
  /** Σ exp(z − top), in f64: of the even tokens, plus of the odd ones. */
  readonly total: number;
}

export interface WireKernels {
  /** Largest logit. NaN, or +∞, if the row has one of these. */
  highest(row: Float32Array): number;
  mass(row: Float32Array, top: number): RowMass;
  /** The `count` tokens with the largest logits, of equal ones the lowest ids, ascending; only tokens above −∞. */
  best(row: Float32Array, count: number): Uint32Array;
  toHalves(row: Float32Array): Uint8Array;
  fromHalves(data: Uint8Array, vocab: number): Float32Array;
  toBlocks(row: Float32Array, bits: BlockBits, clip: number): Uint8Array;
  fromBlocks(data: Uint8Array, vocab: number, bits: BlockBits): Float32Array;
  toCodes(row: Float32Array, shift: number, codebook: Codebook): Uint8Array;
  fromCodes(data: Uint8Array, vocab: number, shift: number, codebook: Codebook): Float32Array;
}

export function blocksOf(vocab: number): number {
  return Math.ceil(vocab / BLOCK);
}

/** Of the codes of a row, without scales and minimums. */
export function codeBytes(vocab: number, bits: BlockBits): number {
  return bits === 8 ? vocab : Math.ceil(vocab / 2);
}
