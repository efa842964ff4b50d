/**
 * matmul: out[c, r] = Σ_k W[r, k] · x[c, k], and rows of W as they are.
 *
 * A team of 32 threads makes some rows for some columns: thread l takes the units l, l + 32, … of a row, decodes them in
 * registers, and multiplies them with each column. The 32 sums are added at the end.
 *
 * Accuracy  f32: a thread's sum in order of k, then the sums in order of l. A column's order is the same in all variants, so
 *           are its bits, however many columns there are.
 * Cost      weights are read once per group of columns; an input is read once for all rows of a team.
 */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import { GPU_FORMATS } from "./formats.ts";

/** Threads that share rows. */
const TEAM = 32;
/** Teams of a workgroup: their sums should take a few KiB, so that many workgroups are under way. */
const teamsFor = (columns: number) => (columns < 4 ? 2 : 1);

/** Columns that are made together, fewest first; further ones in groups of the most. */
export const COLUMN_VARIANTS = [1, 4, 8] as const;
export type ColumnVariant = (typeof COLUMN_VARIANTS)[number];

/** Rows that a team makes: a vector of the result. */
const ROWS = 4;

/** Rows that a workgroup makes. */
export const rowsOfGroup = (columns: number) => teamsFor(columns) * ROWS;

const SECTIONS = ["section0", "section1", "section2"];

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** @param subgroupSize Lanes that add up without memory; null: all by memory. */
export function matmulKernel(type: WeightType, columns: ColumnVariant, subgroupSize: number | null): Kernel {
  const { unit, code, pieces } = GPU_FORMATS[type];
  const teams = teamsFor(columns);
  const threads = TEAM * teams;
  const isBlock = unit === 32;
  const sums = range(columns).flatMap((c) => range(ROWS).map((r) => `sums[${ROWS * c + r}]`));
  const step = pieces.map((_, i) => {
    const weights = range(ROWS).map((r) => `let w${r} = piece${i}(u${r});`);
    const products = range(columns).flatMap((c) => {
      const at = `p.x + column${c} * p.xStride + unit * ${pieces.length}u + ${i}u`;
      const x = isBlock ? `floats[${at}]` : `masked(floats[${at}], unit * ${unit}u + ${4 * i}u)`;
      return [
        `let x${c} = ${x};`,
        ...range(ROWS).map((r) => `sums[${ROWS * c + r}] = dot4(w${r}, x${c}, sums[${ROWS * c + r}]);`),
      ];
    });
    return `{ ${[...weights, ...products].join("\n")} }`;
  });
  return {
    name: `matmul ${type} ${columns}`,
    kind: "weights",
    floats: "vec4<f32>",
    second: "vec4<u32>",
    features: subgroupSize === null ? [] : ["subgroups"],
    params: [
      "x",
      "xStride",
      "columns",
      "cols",
      "out",
      "outStride",
      "first",
      "rows",
      "units",
      "across",
      ...SECTIONS,
    ],
    code: /* wgsl */ `${code}
${pieces.map((piece, i) => `fn piece${i}(u: Unit) -> vec4<f32> { return ${piece}; }`).join("\n")}

/** What lies behind a vector may be anything. */
fn masked(x: vec4<f32>, k: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.cols));
}
fn dot4(w: vec4<f32>, x: vec4<f32>, sum: f32) -> f32 {
  return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum))));
}

var<workgroup> parts: array<f32, ${sums.length * (threads + 1)}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let lane = thread % ${TEAM}u;
  let row = ((group.y * p.across + group.x) * ${teams}u + thread / ${TEAM}u) * ${ROWS}u;
  let column = group.z * ${columns}u;
  ${range(columns)
    .map((c) => `let column${c} = min(column + ${c}u, p.columns - 1u);`)
    .join("\n  ")}
  ${range(ROWS)
    .map((r) => `let row${r} = p.first + min(row + ${r}u, p.rows - 1u);`)
    .join("\n  ")}
  var sums: array<f32, ${sums.length}>;
  for (var unit = lane; unit < p.units; unit += ${TEAM}u) {
    ${range(ROWS)
      .map((r) => `let u${r} = load(row${r}, unit);`)
      .join("\n    ")}
    ${step.join("\n    ")}
  }
  for (var i = 0u; i < ${sums.length}u; i++) {
    parts[i * ${threads + 1}u + thread] = ${subgroupSize === null ? "sums[i]" : "subgroupAdd(sums[i])"};
  }
  workgroupBarrier();
  // Thread i of a team: row i % 4 of column i / 4.
  var sum = 0.0;
  if (lane < ${sums.length}u) {
    let start = lane * ${threads + 1}u + (thread - lane);
    for (var l = 0u; l < ${TEAM}u; l += ${subgroupSize === null ? 1 : Math.min(subgroupSize, TEAM)}u) { sum += parts[start + l]; }
  }
  workgroupBarrier();
  parts[thread] = sum;
  workgroupBarrier();
  if (lane < ${columns}u && row < p.rows && column + lane < p.columns) {
    let i = thread - lane + ${ROWS}u * lane;
    floats[p.out + (column + lane) * p.outStride + row / ${ROWS}u] =
      vec4<f32>(parts[i], parts[i + 1u], parts[i + 2u], parts[i + 3u]);
  }
}`,
  };
}

/** Rows of one dispatch of `embed`: pairs of a row and where it goes. */
export const EMBED_ROWS = 24;

export function embedKernel(type: WeightType): Kernel {
  const { unit, code, pieces } = GPU_FORMATS[type];
  return {
    name: `embed ${type}`,
    kind: "weights",
    floats: "u32",
    second: "vec4<u32>",
    params: ["out", "outStride", "cols", "units", ...SECTIONS],
    list: EMBED_ROWS / 2,
    // Bits of F32 go as they are: arithmetic might change a subnormal.
    code: /* wgsl */ `${code}
${pieces.map((piece, i) => `fn piece${i}(u: Unit) -> vec4<f32> { return ${piece}; }`).join("\n")}
fn put(at: u32, k: u32, w: vec4<u32>) {
  for (var j = 0u; j < 4u; j++) { if (k + j < p.cols) { floats[at + k + j] = w[j]; } }
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let unit = id.x;
  if (unit >= p.units) { return; }
  let pair = p.list[id.y / 2u];
  let row = select(pair.z, pair.x, id.y % 2u == 0u);
  let out = p.out + select(pair.w, pair.y, id.y % 2u == 0u) * p.outStride;
  let u = load(row, unit);
  ${pieces
    .map(
      (_, i) =>
        `put(out, unit * ${unit}u + ${4 * i}u, ${type === "F32" ? "u.codes" : `bitcast<vec4<u32>>(piece${i}(u))`});`,
    )
    .join("\n  ")}
}`,
  };
}
