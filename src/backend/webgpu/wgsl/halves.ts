/**
 * halves: products in half floats, of codes of weights and of inputs that wgsl/round.ts made halves, each block in units of its
 * own; sums over blocks are f32. For devices that have no dot products of bytes but twice as many half floats, or as many in half
 * the registers.
 *
 *     Σ w[k] x[k] over a unit  =  step · (scale · Σ (code of w[k] − middle) · half[k]  +  (minimum + middle · scale) · Σ half[k])
 *
 * Codes are made numbers about 0, so that products, and what is lost of them, are small: middle is the zero of a format, or the
 * middle of codes with a minimum.
 *
 * Decoding  a half with exponent 2^10 and a code for its lowest bits is 1024 + code: two codes at once, in three operations,
 *           where f32 takes four for each. `vec2<f16>(unpack2x16float(word))` is a cast, which compilers can see through; `bitcast` to
 *           halves is not in all of them.
 * Order     four sums of eight products each, in f16, of places 4i, 4i + 2, 4i + 1, 4i + 3; then the sum of the four in f32.
 * Range     halves of an input are below 2^5, codes at most 2^7: a sum of eight is at most 2^15 of 65,504.
 * Accuracy  an input loses 2^-11 of itself (below 2^-18 of its block's largest it is 0), a sum of eight up to 8 · 2^-11 of its
 *           products' magnitudes. Measured, a row is 5.4e-4 of its deviation off, 2.1e-3 at most of 4,096 values; KL 1e-6
 *           nats for logits that deviate by 2.5. To what Q8_0 loses, 5e-3, that adds 0.6 %, as errors add in squares.
 * Others    stay f32. F32 and BF16 have more than a half holds. F16 weights are halves but no whole numbers: products of
 *           two small ones fall below 2^-14 and are lost, large ones overflow, and widened first they are what f32 multiplies.
 */
import type { CodeFormat, RoundedProducts } from "./codes.ts";
import { range } from "./common.ts";
import { vectorsOfBlock } from "./round.ts";

/** Pieces of four weights of a unit. */
export const PIECES = 8;

/** 1024 as a half, twice. */
const BASE = "0x64006400u";

const HALVES = /* wgsl */ `
fn two_halves_of(word: u32) -> vec2<f16> { return vec2<f16>(unpack2x16float(word)); }
/** 1024 and bytes 0, 2, 1 and 3. */
fn bytes_from_1024(word: u32) -> vec4<f16> {
  return vec4<f16>(two_halves_of((word & 0x00ff00ffu) | ${BASE}), two_halves_of(((word >> 8u) & 0x00ff00ffu) | ${BASE}));
}
fn four_halves_of(words: vec2<u32>) -> vec4<f16> { return vec4<f16>(two_halves_of(words.x), two_halves_of(words.y)); }
/** Adds, to a sum, what a unit's minimum makes of a block: its step and the sum of its halves. */
fn add_least(sum: f32, least: f32, block: vec2<f32>) -> f32 { return fma(block.y, least * block.x, sum); }
fn add_dots(sum: f32, dots: vec4<f16>, scale: f32, block: vec2<f32>) -> f32 {
  let wide = vec4<f32>(dots);
  return fma((wide.x + wide.y) + (wide.z + wide.w), scale * block.x, sum);
}`;

/** What is subtracted from codes that are not negative. */
function middleOf({ bits, minimum, zero }: CodeFormat): number {
  return minimum === undefined ? zero : 1 << (bits - 1);
}

export function halfProducts(format: CodeFormat): RoundedProducts {
  const { words, isSigned, scales, minimum } = format;
  const middle = middleOf(format);
  const meta = vectorsOfBlock("f16") - 1;
  const piecesOfScale = PIECES / scales.length;
  return {
    rounding: "f16",
    features: ["f16"],
    code: HALVES,
    weights: words.map((word) =>
      isSigned
        ? `bytes_from_1024((${word}) ^ 0x80808080u) - vec4<f16>(${1024 + 128}.0h)`
        : `bytes_from_1024(${word}) - vec4<f16>(${1024 + middle}.0h)`,
    ),
    factors: [
      ...scales.map((scale) => `u.${scale}`),
      ...(minimum === undefined ? [] : [`fma(${middle}.0, u.scale, u.${minimum})`]),
    ],
    inputs: (vector) => [
      ...range(meta).map((i) => `let v${i} = ${vector(i)};`),
      ...range(PIECES).map((i) => `let h${i} = four_halves_of(v${i >> 1}.${i % 2 === 0 ? "xy" : "zw"});`),
      `let block = bitcast<vec2<f32>>(${vector(meta)}.xy);`,
    ],
    sum(sum, weight, factor) {
      let result = sum;
      if (minimum !== undefined) result = `add_least(${result}, ${factor(scales.length)}, block)`;
      for (const i of scales.keys()) {
        const dots = range(piecesOfScale)
          .map((j) => i * piecesOfScale + j)
          .reduce((some, j) => `fma(${weight(j)}, h${j}, ${some})`, "vec4<f16>()");
        result = `add_dots(${result}, ${dots}, ${factor(i)}, block)`;
      }
      return result;
    },
  };
}
