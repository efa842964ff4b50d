/**
 * round: inputs of packed products (wgsl/packed.ts) as codes, block by block of 32.
 *
 *     step  =  max |x[k]| / levels     code[k]  =  round(x[k] / step)
 *
 * Layout    of a block, in words: 8 of codes, four to a word in order of k (8191 levels: 8 of code & 127, 8 of code >> 7), the
 *           step as f32, Σ code as i32, two of nothing; blocks of a column side by side.
 * Accuracy  round to nearest, ties to even. A block below 1e-30 becomes zero; NaN and infinity spoil their block only.
 */
import type { Kernel } from "../kernel.ts";

/** Levels to either side of 0: codes of a byte, or of two. */
export type Levels = 127 | 8191;

/** Vectors of four words that a block of rounded inputs takes. */
export function vectorsOfBlock(levels: Levels): number {
  return levels === 127 ? 3 : 5;
}

/** Threads of a block: one for each word of codes. */
const LANES = 8;
/** Threads of a workgroup. */
export const ROUND_THREADS = 64;
/** Blocks that a workgroup rounds. */
export const BLOCKS_OF_GROUP = ROUND_THREADS / LANES;

/** What the language must have for all of this. */
export const PACKED_FEATURE = "packed_4x8_integer_dot_product";

/** Rounds inputs: blocks `count` in columns of `units`. */
export function roundKernel(levels: Levels): Kernel {
  const words = 4 * vectorsOfBlock(levels);
  const put =
    levels === 127
      ? "floats[to + lane] = pack4xI8(codes);"
      : `floats[to + lane] = pack4xI8(codes & vec4<i32>(127));
    floats[to + ${LANES}u + lane] = pack4xI8(codes >> vec4<u32>(7u));`;
  return {
    name: `round ${levels}`,
    kind: "floats",
    floats: "u32",
    requires: [PACKED_FEATURE],
    params: ["x", "xStride", "out", "units", "count", "across"],
    code: /* wgsl */ `
var<workgroup> largest: array<u32, ${ROUND_THREADS}>;
var<workgroup> sums: array<i32, ${ROUND_THREADS}>;
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
  let inverse = select(0.0, ${levels}.0 / bitcast<f32>(most), isUsable);
  var codes = vec4<i32>(0);
  if (isUsable) { codes = vec4<i32>(round(bitcast<vec4<f32>>(bits) * inverse)); }
  sums[thread] = codes.x + codes.y + codes.z + codes.w;
  workgroupBarrier();
  if (!isIn) { return; }
  let to = p.out + block * ${words}u;
  ${put}
  if (lane == 0u) {
    var sum = 0;
    for (var i = 0u; i < ${LANES}u; i++) { sum += sums[first + i]; }
    var step = 0u;
    if (isUsable) { step = bitcast<u32>(bitcast<f32>(most) / ${levels}.0); }
    floats[to + ${words - 4}u] = select(step, 0x7fc00000u, isBad);
    floats[to + ${words - 3}u] = bitcast<u32>(sum);
  }
}`,
  };
}
