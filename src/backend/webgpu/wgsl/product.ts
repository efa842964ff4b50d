/**
 * product: logits by product codes, and the exact ones of the best of them; the formulas are in reference/screen.ts.
 *
 *     productTable    what each codeword of a sub-vector adds to a logit       (S, 16), S = D / 4
 *     productLogits   a thread sums 4 tokens: a word of codes is theirs for a pair of sub-vectors
 *     rescore         a workgroup of a tile of 4 rows, which it makes if one of them is at or above a floor
 *
 * Accuracy  f32 sums in order of the sub-vectors; of rescored rows 32 threads' sums of every 32nd unit.
 * Cost      half a byte for 4 weights, the table once for 16 tiles; tiles below the floor cost a look at 4 logits.
 */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import { GPU_FORMATS, piecesOf, SECTIONS } from "./formats.ts";
import { THREADS } from "./layer.ts";

/** Pairs of sub-vectors whose part of the table a workgroup has at hand. */
const PAIRS = 32;

export const productTable: Kernel = {
  name: "productTable",
  kind: "floats",
  floats: "f32",
  params: ["x", "codebook", "table", "count", "across"],
  code: /* wgsl */ `
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  if (i >= p.count) { return; }
  let sub = i / 16u;
  var sum = 0.0;
  for (var d = 0u; d < 4u; d++) {
    sum = fma(floats[p.codebook + (4u * sub + d) * 16u + i % 16u], floats[p.x + 4u * sub + d], sum);
  }
  floats[p.table + i] = sum;
}`,
};

/** \`halves\`: per token a word, its scale below its bias. \`tile\`: the first one of the codes that are bound. */
export const productLogits: Kernel = {
  name: "productLogits",
  kind: "weights",
  floats: "u32",
  second: "u32",
  params: ["out", "table", "halves", "tile", "tiles", "pairs", "vocab", "across"],
  code: /* wgsl */ `
var<workgroup> part: array<f32, ${32 * PAIRS}>;
fn word_pair(at: u32, codes: u32) -> f32 { return part[at + (codes & 15u)] + part[at + 16u + ((codes >> 4u) & 15u)]; }
fn put(token: u32, sum: f32) {
  if (token >= p.vocab) { return; }
  let halves = floats[p.halves + token];
  floats[p.out + token] = bitcast<u32>(fma(half(halves & 0xffffu), sum, half(halves >> 16u)));
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let place = (group.y * p.across + group.x) * ${THREADS}u + thread;
  let tile = min(place / 4u, p.tiles - 1u);
  let quarter = place % 4u;
  var sums = vec4<f32>(0.0);
  for (var first = 0u; first < p.pairs; first += ${PAIRS}u) {
    workgroupBarrier();
    let some = min(${PAIRS}u, p.pairs - first);
    for (var i = thread; i < 32u * some; i += ${THREADS}u) { part[i] = bitcast<f32>(floats[p.table + 32u * first + i]); }
    workgroupBarrier();
    for (var j = 0u; j < some; j++) {
      let codes = weights[(tile * p.pairs + first + j) * 4u + quarter];
      sums += vec4<f32>(
        word_pair(32u * j, codes),
        word_pair(32u * j, codes >> 8u),
        word_pair(32u * j, codes >> 16u),
        word_pair(32u * j, codes >> 24u),
      );
    }
  }
  if (place / 4u >= p.tiles) { return; }
  // Tokens of a tile are in the order 0, 8, 1, 9, …, 7, 15.
  let token = 16u * (p.tile + tile) + 2u * quarter;
  put(token, sums.x);
  put(token + 8u, sums.y);
  put(token + 1u, sums.z);
  put(token + 9u, sums.w);
}`,
};

/**
 * \`row\` + \`at\`: where the row of the first of \`rows\` weights is. \`floor\`: an order, and the last id at it.
 */
export function rescoreKernel(type: WeightType): Kernel {
  const { unit, pieces } = GPU_FORMATS[type];
  const rows = [0, 1, 2, 3];
  const step = pieces.map(
    (_, i) => `{
      let x = input(unit * ${unit}u + ${4 * i}u);
      ${rows.map((r) => `sums[${r}] += dot(piece${i}(u${r}), x);`).join(" ")}
    }`,
  );
  return {
    name: `rescore ${type}`,
    kind: "weights",
    floats: "u32",
    second: "vec4<u32>",
    params: ["row", "x", "at", "first", "rows", "cols", "units", "floor", "across", ...SECTIONS],
    code: /* wgsl */ `${piecesOf(type)}
var<workgroup> isIn: u32;
var<workgroup> parts: array<f32, 128>;
fn input(k: u32) -> vec4<f32> {
  var x = vec4<f32>(0.0);
  for (var j = 0u; j < 4u; j++) { if (k + j < p.cols) { x[j] = bitcast<f32>(floats[p.x + k + j]); } }
  return x;
}
@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = 4u * (group.y * p.across + group.x);
  if (thread == 0u) {
    isIn = 0u;
    for (var j = row; j < min(row + 4u, p.rows); j++) {
      let order = order_of(floats[p.row + p.at + j]);
      let floor = floats[p.floor];
      if (order > floor || (order == floor && p.at + j <= floats[p.floor + 1u])) { isIn = 1u; }
    }
  }
  if (workgroupUniformLoad(&isIn) == 0u) { return; }
  ${rows.map((r) => `let row${r} = p.first + min(row + ${r}u, p.rows - 1u);`).join("\n  ")}
  var sums = vec4<f32>(0.0);
  for (var unit = thread; unit < p.units; unit += 32u) {
    ${rows.map((r) => `let u${r} = load(row${r}, unit);`).join("\n    ")}
    ${step.join("\n    ")}
  }
  for (var r = 0u; r < 4u; r++) { parts[32u * r + thread] = sums[r]; }
  workgroupBarrier();
  if (thread >= 4u || row + thread >= p.rows) { return; }
  var sum = 0.0;
  for (var i = 0u; i < 32u; i++) { sum += parts[32u * thread + i]; }
  floats[p.row + p.at + row + thread] = bitcast<u32>(sum);
}`,
  };
}
