/**
 * codebook: what heads that name a code per token do beside their product; see reference/codebook.ts. All sums of scores and
 * biases are exact.
 *
 * Rows of heads with residual codes (model/head/residual-codes.ts) take four kernels, the second of them fuseFloor:
 *
 *     residualTops    tops[j] = s[j] + β[j]                                     (K)
 *     fuseFloor       the order of the last code that is opened, and which one of those at it is the last
 *     residualTable   table[t] = words[t] · z[t]                                (S, 16)
 *     residualRow     a thread makes a logit, and sums S numbers of the table if its code is opened
 *
 * Accuracy  which codes are opened is exact for the scores; a residual is off by f32 sums of S numbers, each of C products,
 *           before it is rounded to the grid.
 * Cost      8 S bytes for an opened token: one of 75 where K is 2,048.
 */
import type { Kernel } from "../kernel.ts";
import { THREADS } from "./layer.ts";

const SNAPPED = /* wgsl */ `
fn snapped(x: f32) -> f32 {
  if (is_nan(x)) { return -2048.0; }
  return round(clamp(x, -2048.0, 2048.0) * 4096.0) * 0.000244140625;
}`;

/** A thread has value \`i\` of a column. */
const perValue = (name: string, params: readonly string[], body: string, more = ""): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params: [...params, "count", "across"],
  code: /* wgsl */ `${more}
fn at(word: u32) -> f32 { return bitcast<f32>(floats[word]); }
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  let column = group.z;
  if (i >= p.count) { return; }
  ${body}
}`,
});

export const codebookKernels: Readonly<Record<string, Kernel>> = {
  codebookSnap: perValue(
    "codebookSnap",
    ["x"],
    "floats[p.x + i] = bitcast<u32>(snapped(at(p.x + i)));",
    SNAPPED,
  ),
  codebookRow: perValue(
    "codebookRow",
    ["out", "scores", "map"],
    "floats[p.out + i] = bitcast<u32>(at(p.scores + floats[p.map + i]) + at(p.map + p.count + i));",
  ),
};

/** \`stride\`: from one column to the next, here and below. */
export const residualTops: Kernel = perValue(
  "residualTops",
  ["scores", "stride", "best", "tops"],
  `let best = floats[p.best + i];
  let top = bitcast<u32>(at(p.scores + column * p.stride + i) + bitcast<f32>(best));
  floats[p.tops + column * p.stride + i] = select(top, best, best == 0xff800000u);`,
);

/** \`subs\`: S. Of sub-vectors beyond it the table has zeros. */
export const residualTable: Kernel = perValue(
  "residualTable",
  ["z", "zStride", "words", "columns", "subs", "table"],
  `let sub = i / 16u;
  var sum = 0.0;
  if (sub < p.subs) {
    for (var k = sub * p.columns; k < (sub + 1u) * p.columns; k++) {
      sum = fma(at(p.words + 16u * k + i % 16u), at(p.z + column * p.zStride + k), sum);
    }
  }
  floats[p.table + column * p.count + i] = bitcast<u32>(sum);`,
);

/** \`floors\`: per column four words, as fuseFloor leaves them. \`length\`: words of codes of a token, of 8 sub-vectors each. */
export const residualRow: Kernel = perValue(
  "residualRow",
  [
    ...["out", "outStride", "map", "scores", "stride", "tops", "floors"],
    ...["codes", "length", "bias", "table", "tableStride"],
  ],
  `let code = floats[p.map + i];
  let order = order_of(floats[p.tops + column * p.stride + code]);
  let floor = floats[p.floors + 4u * column];
  var own = at(p.map + p.count + i);
  if (order > floor || (order == floor && code <= floats[p.floors + 4u * column + 1u])) {
    var sum = 0.0;
    for (var word = 0u; word < p.length; word++) {
      let subs = floats[p.codes + i * p.length + word];
      let table = p.table + column * p.tableStride + 128u * word;
      for (var sub = 0u; sub < 8u; sub++) { sum += at(table + 16u * sub + ((subs >> (4u * sub)) & 15u)); }
    }
    own = snapped(sum + at(p.bias + i));
  }
  floats[p.out + column * p.outStride + i] = bitcast<u32>(at(p.scores + column * p.stride + code) + own);`,
  SNAPPED,
);
