/**
 * packed: products that are made of whole numbers, four at a time (`dot4I8Packed`), of inputs rounded by wgsl/round.ts.
 *
 *     Σ w[k] x[k] over a unit  =  step · (scale · Σ (code of w[k] − zero) · code[k]  +  minimum · Σ code[k])
 *
 * Accuracy  sums of codes are exact. Weights of 4 bits, themselves 3e-2 off, get inputs of 127 levels, to which these add 0.5 %;
 *           what has more bits 8191, and twice the dots. So has assembly/matmul/activation.ts, but for Q4_1 and IQ4_NL, which
 *           have 8191 there.
 * IQ4_NL    its 16 levels are numbers of a byte, and looked up as a unit is loaded: kept as bytes they would be twice as many to
 *           read, and reading is what one column waits for.
 */
import type { CodeFormat, RoundedProducts } from "./codes.ts";
import { range } from "./common.ts";
import { type Levels, PACKED_FEATURE, vectorsOfBlock } from "./round.ts";

function levelsFor({ bits }: CodeFormat): Levels {
  return bits === 4 ? 127 : 8191;
}

export function packedProducts(format: CodeFormat): RoundedProducts {
  const { words, zero, scales, minimum } = format;
  const levels = levelsFor(format);
  const last = vectorsOfBlock(levels) - 1;
  const step = `bitcast<f32>(v${last}.x)`;
  const sumOfCodes = `bitcast<i32>(v${last}.y)`;
  const perScale = words.length / scales.length;
  return {
    rounding: levels,
    requires: [PACKED_FEATURE],
    code: "",
    weights: words,
    factors: [...scales, ...(minimum === undefined ? [] : [minimum])].map((name) => `u.${name}`),
    inputs: (vector) => range(last + 1).map((i) => `let v${i} = ${vector(i)};`),
    sum(sum, weight, factor) {
      let result = sum;
      if (minimum !== undefined) {
        result = `fma(f32(${sumOfCodes}), ${factor(scales.length)} * ${step}, ${result})`;
      }
      for (const i of scales.keys()) {
        const dots = (first: number) =>
          range(perScale)
            .map((j) => i * perScale + j)
            .map((word) => `dot4I8Packed(${weight(word)}, v${first + (word >> 2)}[${word % 4}])`)
            .join(" + ");
        const whole = levels === 127 ? dots(0) : `${dots(0)} + 128 * (${dots(2)})`;
        const offset = zero === 0 ? "" : ` - ${zero} * ${sumOfCodes}`;
        result = `fma(f32(${whole}${offset}), ${factor(i)} * ${step}, ${result})`;
      }
      return result;
    },
  };
}
