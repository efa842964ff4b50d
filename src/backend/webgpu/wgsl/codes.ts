/**
 * codes: weights of a unit as whole numbers, four to a word, for products that are scaled once they are added up.
 *
 *     w[k]  =  scale · (code of w[k] − zero)  +  minimum
 *
 * wgsl/packed.ts multiplies these numbers as they are, wgsl/halves.ts as half floats, which hold them exactly.
 */
import type { WeightType } from "../../../format/blocks.ts";
import { range } from "./common.ts";
import type { Rounding } from "./round.ts";

export interface CodeFormat {
  /** Of a weight: how exact it is, and so how exact its input is to be. */
  readonly bits: 4 | 5 | 6 | 8;
  /** For each four weights of a unit an expression of `u: Unit`, a word of four codes. */
  readonly words: readonly string[];
  /** Whether codes are from −128 to 127; else from 0 to 2^bits − 1. */
  readonly isSigned: boolean;
  /** Code of weight 0. */
  readonly zero: number;
  /** Members of Unit, f32: the scale of all, or one for either half. */
  readonly scales: readonly string[];
  /** Member of Unit that is added to each product of scale and code. */
  readonly minimum?: string;
}

const nibbles = range(8).map((i) => `(u.codes[${i % 4}] >> ${i < 4 ? 0 : 4}u) & 0x0f0f0f0fu`);
/** Four bits to the fifth places of four bytes: the factor puts them at 0, 7, 14 and 21, of which each byte keeps its first. */
const fifths = nibbles.map(
  (word, i) => `(${word}) | (((((u.fifth >> ${4 * i}u) & 15u) * 0x00204081u) & 0x01010101u) << 4u)`,
);
/** Two bits each to the fifth and sixth; then less 32, byte by byte: the highest bit is kept from being borrowed from. */
const sixths = nibbles.map((word, i) => {
  const high = `(u.high${i < 4 ? 0 : 1} >> ${8 * (i % 4)}u)`;
  const spread = [3, 12, 48, 192].map((mask, k) => `((${high} & ${mask}u) << ${4 + 6 * k}u)`).join(" | ");
  return `((((${word}) | ${spread}) | 0x80808080u) - 0x20202020u) ^ 0x80808080u`;
});

const unsigned = { isSigned: false, zero: 0, scales: ["scale"] };
const signed = { ...unsigned, isSigned: true };
const minimum = "minimum";

/** All types of blocks; others have no codes. */
export const CODE_FORMATS: Readonly<Partial<Record<WeightType, CodeFormat>>> = {
  Q8_0: { ...signed, bits: 8, words: range(8).map((i) => `u.${i < 4 ? "low" : "high"}[${i % 4}]`) },
  Q4_0: { ...unsigned, bits: 4, words: nibbles, zero: 8 },
  Q4_1: { ...unsigned, bits: 4, words: nibbles, minimum },
  Q5_0: { ...unsigned, bits: 5, words: fifths, zero: 16 },
  Q5_1: { ...unsigned, bits: 5, words: fifths, minimum },
  IQ4_NL: { ...signed, bits: 4, words: nibbles.map((word) => `levels_of(${word})`) },
  Q4_K: { ...unsigned, bits: 4, words: nibbles, minimum },
  Q5_K: { ...unsigned, bits: 5, words: fifths, minimum },
  Q6_K: { ...signed, bits: 6, words: sixths, scales: ["scale0", "scale1"] },
};

/** How the products of a unit with inputs that were rounded are made. */
export interface RoundedProducts {
  readonly rounding: Rounding;
  /** What the device and the language must have, as a kernel says it. */
  readonly features?: readonly string[];
  readonly requires?: readonly string[];
  /** WGSL that the expressions need. */
  readonly code: string;
  /** Expressions of `u: Unit`: what the inputs are multiplied with, and what the sums of that are, f32. */
  readonly weights: readonly string[];
  readonly factors: readonly string[];
  /** Statements that bring a block of inputs. @param vector Expression of vector i of the block. */
  inputs(vector: (i: number) => string): readonly string[];
  /**
   * Expression of a sum and the products of a unit with the inputs that were brought, added to it.
   *
   * @param weight Expression of weights[i].
   * @param factor Expression of factors[i].
   */
  sum(sum: string, weight: (i: number) => string, factor: (i: number) => string): string;
}
