/**
 * packed: formats whose products can be made of whole numbers, four at a time (`dot4I8Packed`), of inputs rounded by wgsl/round.ts.
 *
 *     Σ w[k] x[k] over a unit  =  step · (scale · Σ (code of w[k] − zero) · code[k]  +  minimum · Σ code[k])
 *
 * Sums of codes are exact. Levels are those of assembly/matmul/activation.ts, so rounding the inputs costs what it costs there:
 * 127 for Q4_0 and Q4_K (0.5 % of the error of their weights), 8191 for what has more bits, and twice the dots.
 *
 * Codes     of Q4_1 and Q5_0, Q5_1 would do too; who has them gets f32. IQ4_NL has no codes that are numbers.
 */
import type { WeightType } from "../../../format/blocks.ts";
import { type Levels, vectorsOfBlock } from "./round.ts";

export interface PackedFormat {
  readonly levels: Levels;
  /** For each four weights of a unit an expression of `u: Unit`, a word of four codes from −128 to 127. */
  readonly words: readonly string[];
  /** Code of weight 0. */
  readonly zero: number;
  /** Members of Unit, f32: the scale of all, or one for either half. */
  readonly scales: readonly string[];
  /** Member of Unit that is added to each product of scale and code. */
  readonly minimum?: string;
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

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

export const PACKED_FORMATS: Readonly<Partial<Record<WeightType, PackedFormat>>> = {
  Q8_0: {
    levels: 8191,
    words: range(8).map((i) => `u.${i < 4 ? "low" : "high"}[${i % 4}]`),
    zero: 0,
    scales: ["scale"],
  },
  Q4_0: { levels: 127, words: nibbles, zero: 8, scales: ["scale"] },
  Q4_K: { levels: 127, words: nibbles, zero: 0, scales: ["scale"], minimum: "minimum" },
  Q5_K: { levels: 8191, words: fifths, zero: 0, scales: ["scale"], minimum: "minimum" },
  Q6_K: { levels: 8191, words: sixths, zero: 0, scales: ["scale0", "scale1"] },
};

/** What a unit's sums are multiplied with: members of Unit. */
export function factorsOf({ scales, minimum }: PackedFormat): readonly string[] {
  return minimum === undefined ? scales : [...scales, minimum];
}

/**
 * WGSL of a sum and the products of a unit of weights with a block of inputs, added to it.
 *
 * @param weight Expression of word i of the weights' codes.
 * @param input  Expression of vector i of the block.
 * @param factor Expression of a member of Unit.
 */
export function packedSum(
  { levels, zero, scales, minimum }: PackedFormat,
  sum: string,
  weight: (word: number) => string,
  input: (vector: number) => string,
  factor: (name: string) => string,
): string {
  const meta = input(vectorsOfBlock(levels) - 1);
  const step = `bitcast<f32>(${meta}.x)`;
  const sumOfCodes = `bitcast<i32>(${meta}.y)`;
  const words = 8 / scales.length;
  let result = sum;
  if (minimum !== undefined) result = `fma(f32(${sumOfCodes}), ${factor(minimum)} * ${step}, ${result})`;
  for (const [i, scale] of scales.entries()) {
    const dots = (first: number) =>
      range(words)
        .map((j) => i * words + j)
        .map((word) => `dot4I8Packed(${weight(word)}, ${input(first + (word >> 2))}[${word % 4}])`)
        .join(" + ");
    const whole = levels === 127 ? dots(0) : `${dots(0)} + 128 * (${dots(2)})`;
    const offset = zero === 0 ? "" : ` - ${zero} * ${sumOfCodes}`;
    result = `fma(f32(${whole}${offset}), ${factor(scale)} * ${step}, ${result})`;
  }
  return result;
}
