/**
 * round: inputs of products block by block of 32, as codes (wgsl/packed.ts) or as halves (wgsl/halves.ts).
 *
 *     codes    step  =  max |x[k]| / levels                   code[k]  =  round(x[k] / step)
 *     halves   step  =  the power of 2 with max |x[k]| / step in 16 … 32       half[k]  =  x[k] / step in 11 bits
 *
 * Layout    of a block, in words: 8 of codes, four to a word in order of k (8191 levels: 8 of code & 127, 8 of code >> 7), the
 *           step as f32, Σ code as i32, two of nothing; blocks of a column side by side. Halves: 16 of two each, of k = 4i and
 *           4i + 2, then of 4i + 1 and 4i + 3, as wgsl/halves.ts takes codes from a word; the step, Σ half as f32, two of nothing.
 * Accuracy  round to nearest, ties to even; a half below 2^-14, 2^-18 of the largest, is 0. A block below 1e-30 becomes zero; NaN
 *           and infinity spoil their block only.
 */
import type { Kernel } from "../kernel.ts";

/** Levels to either side of 0: codes of a byte, or of two. */
export type Levels = 127 | 8191;

/** What inputs become. */
export type Rounding = Levels | "f16";

/** Vectors of four words that a block of rounded inputs takes. */
export function vectorsOfBlock(rounding: Rounding): number {
  return rounding === 127 ? 3 : 5;
}

/** Threads of a block: one for each word of codes. */
const LANES = 8;
/** Threads of a workgroup. */
export const ROUND_THREADS = 64;
/** Blocks that a workgroup rounds. */
export const BLOCKS_OF_GROUP = ROUND_THREADS / LANES;

/** What the language must have for all of this. */
export const PACKED_FEATURE = "packed_4x8_integer_dot_product";

/** How four inputs, `bits`, become words of their block, whose largest has the magnitude `most`. */
interface Form {
  readonly requires: readonly string[];
  /** WGSL of the numbers that are summed over a block. */
  readonly sum: "i32" | "f32";
  /** Sets `codes`, and `mine` to their sum. Only done if the block is usable; both are 0 else. */
  readonly round: string;
  /** Type of `codes`. */
  readonly codes: "vec4<i32>" | "vec4<u32>";
  readonly put: string;
  /** Bits of the step, of a usable block. */
  readonly step: string;
}

function wholeNumbers(levels: Levels): Form {
  return {
    requires: [PACKED_FEATURE],
    sum: "i32",
    codes: "vec4<i32>",
    round: `codes = vec4<i32>(round(bitcast<vec4<f32>>(bits) * (${levels}.0 / bitcast<f32>(most))));
    mine = codes.x + codes.y + codes.z + codes.w;`,
    put:
      levels === 127
        ? "floats[to + lane] = pack4xI8(codes);"
        : `floats[to + lane] = pack4xI8(codes & vec4<i32>(127));
  floats[to + ${LANES}u + lane] = pack4xI8(codes >> vec4<u32>(7u));`,
    step: `bitcast<u32>(bitcast<f32>(most) / ${levels}.0)`,
  };
}

/** By integers: how a conversion rounds is a device's own affair. Exponents: of a step 4 less than that of the largest. */
const halfFloats: Form = {
  requires: [],
  sum: "f32",
  codes: "vec4<u32>",
  round: `let scaled = bitcast<vec4<u32>>(bitcast<vec4<f32>>(bits) * bitcast<f32>((258u - (most >> 23u)) << 23u));
    let size = scaled & vec4<u32>(0x7fffffffu);
    let sign = scaled & vec4<u32>(0x80000000u);
    // To 11 bits; from 2^-14 on, as halves have it.
    var near = (size + 0xfffu + ((size >> vec4<u32>(13u)) & vec4<u32>(1u))) & vec4<u32>(0xffffe000u);
    near = select(vec4<u32>(0u), near, near >= vec4<u32>(0x38800000u));
    let value = bitcast<vec4<f32>>(near | sign);
    mine = (value.x + value.y) + (value.z + value.w);
    codes = select(vec4<u32>(0u), (near - 0x38000000u) >> vec4<u32>(13u), near != vec4<u32>(0u)) | (sign >> vec4<u32>(16u));`,
  put: `floats[to + 2u * lane] = codes.x | (codes.z << 16u);
  floats[to + 2u * lane + 1u] = codes.y | (codes.w << 16u);`,
  step: "((most >> 23u) - 4u) << 23u",
};

/** Rounds inputs: blocks `count` in columns of `units`. */
export function roundKernel(rounding: Rounding): Kernel {
  const words = 4 * vectorsOfBlock(rounding);
  const form = rounding === "f16" ? halfFloats : wholeNumbers(rounding);
  return {
    name: `round ${rounding}`,
    kind: "floats",
    floats: "u32",
    requires: form.requires,
    params: ["x", "xStride", "out", "units", "count", "across"],
    code: /* wgsl */ `
var<workgroup> largest: array<u32, ${ROUND_THREADS}>;
var<workgroup> sums: array<${form.sum}, ${ROUND_THREADS}>;
@compute @workgroup_size(${ROUND_THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let block = (group.y * p.across + group.x) * ${BLOCKS_OF_GROUP}u + thread / ${LANES}u;
  let lane = thread % ${LANES}u;
  let isIn = block < p.count;
  let source = p.x + (block / p.units) * p.xStride + (block % p.units) * 32u + 4u * lane;
  var bits = vec4<u32>(0u);
  if (isIn) { bits = vec4<u32>(floats[source], floats[source + 1u], floats[source + 2u], floats[source + 3u]); }
  let magnitudes = bits & vec4<u32>(0x7fffffffu);
  largest[thread] = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
  workgroupBarrier();
  let first = thread - lane;
  var most = 0u;
  for (var i = 0u; i < ${LANES}u; i++) { most = max(most, largest[first + i]); }
  // As integers: NaN and infinity are the largest.
  let isBad = most >= 0x7f800000u;
  let isUsable = !isBad && most > 0x0da24260u;
  var codes = ${form.codes}();
  var mine = ${form.sum}();
  if (isUsable) {
    ${form.round}
  }
  sums[thread] = mine;
  workgroupBarrier();
  if (!isIn) { return; }
  let to = p.out + block * ${words}u;
  ${form.put}
  if (lane == 0u) {
    var sum = ${form.sum}();
    for (var i = 0u; i < ${LANES}u; i++) { sum += sums[first + i]; }
    var step = 0u;
    if (isUsable) { step = ${form.step}; }
    floats[to + ${words - 4}u] = select(step, 0x7fc00000u, isBad);
    floats[to + ${words - 3}u] = bitcast<u32>(sum);
  }
}`,
  };
}
