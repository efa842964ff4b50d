/**
 * matmul: out[c, r] = Σ_k W[r, k] · x[c, k] for 1 to 8 columns, fit to read weights as fast as memory gives them.
 *
 * A team of threads (`lanesOf`) makes four rows for some columns: thread l takes the units l, l + lanes, … of a row, decodes
 * them in registers, and multiplies them with each column. The sums of a team are added at the end, through workgroup memory.
 * wgsl/tile.ts is the same for more columns.
 *
 * Order     a thread's sum in order of k, then the sums in order of l. Both kernels and all numbers of columns keep it, so a
 *           column has the same bits however many there are. It is why sums are not left to `subgroupAdd`, whose order is the
 *           driver's own; with 4 rows to a thread, adding up is a twentieth of the work.
 * Variants  f32 throughout; or inputs rounded beforehand, and sums of a unit made of whole numbers (wgsl/packed.ts) or of half
 *           floats (wgsl/halves.ts).
 *
 * Why it should keep up with memory (counted, not measured; ops: of a lane; SM: an H100's 132 multiprocessors):
 *   loads   a thread has a unit of 4 rows under way, 128 bytes of Q8_0 or 64 of Q4_0, in vectors of 16 bytes; threads beside
 *           each other read vectors beside each other. 3.3 TB/s from 0.7 µs away are 18 KB under way per SM: 3 workgroups of
 *           Q8_0, 5 of Q4_0, of 32 that fit. Scales are a section of their own, one line of it for 64 units.
 *   ops     for a weight of Q8_0 or Q4_0 5.6 with one column, 12.6 with eight; packed 1.1 and 1.2, with eight 4.6 and 3.4. At
 *           2 TB/s, 0.7 of what an H100 copies, 8.1 weights of Q8_0 or 15.3 of Q4_0 pass an SM in a clock, which has 128 ops:
 *           one column needs 45 and 86, packed 9 and 18; eight 102 and, too many, 193, packed 37 and 52. An integrated GPU of
 *           1e12 ops and 50 GB/s comes to 0.2 and 0.4 of its time, packed 0.1; with eight columns of Q4_0 0.8, packed 0.2. Halves
 *           are 3.5 and 12.6, or 2.5 and 8 where two are multiplied at once.
 *   inputs  are read once for 4 rows, from the first cache, where all teams find the same.
 *   groups  V = 151,936 and D = 896 are 4,748 workgroups of 32 rows, 36 for each SM: no long tail. Wide rows get teams of 32
 *           threads, so that 4,096 rows are 512 workgroups.
 */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import type { RoundedProducts } from "./codes.ts";
import { range } from "./common.ts";
import { GPU_FORMATS, piecesOf, SECTIONS } from "./formats.ts";
import { vectorsOfBlock } from "./round.ts";
import { roundedProducts, type Variant } from "./variant.ts";

/** Threads of a workgroup. */
const THREADS = 64;

/** Columns that are made together, fewest first. */
export const COLUMN_VARIANTS = [1, 4, 8] as const;
export type ColumnVariant = (typeof COLUMN_VARIANTS)[number];

/** Sums of a thread in workgroup memory at a time: 5 KiB of perhaps 32 for all workgroups, which registers allow six of. */
const MOST_PARTS = 16;

/** Rows that a team makes: a vector of the result. */
const ROWS = 4;

/** Threads that share the rows of a matrix, by the units of a row: few enough that most have something to do. */
export const lanesOf = (units: number) => (units < 48 ? 8 : 32);

/** Rows that a workgroup makes. */
export const rowsOfGroup = (units: number) => (THREADS / lanesOf(units)) * ROWS;

export const MATMUL_PARAMS = [
  "x",
  "xStride",
  "columns",
  "cols",
  "out",
  "outStride",
  "first",
  "rows",
  "units",
  "lanes",
  "across",
  ...SECTIONS,
];

/** What lies behind a vector may be anything; four products are added in order. */
export const DOT4 = /* wgsl */ `
fn masked(x: vec4<f32>, k: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), x, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.cols));
}
fn dot4(w: vec4<f32>, x: vec4<f32>, sum: f32) -> f32 {
  return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum))));
}`;

/** A kernel that multiplies with weights of a type, of few columns or of a tile. @param code WGSL behind what both need. */
export function weightsKernel(
  type: WeightType,
  variant: Variant,
  what: string | number,
  code: string,
): Kernel {
  const rounded = roundedProducts(type, variant);
  return {
    name: `matmul ${type} ${what}${rounded === null ? "" : ` ${variant}`}`,
    kind: "weights",
    floats: rounded === null ? "vec4<f32>" : "vec4<u32>",
    second: "vec4<u32>",
    features: rounded?.features,
    requires: rounded?.requires,
    params: MATMUL_PARAMS,
    code: /* wgsl */ `${piecesOf(type)}
${rounded?.code ?? ""}
${DOT4}
${code}`,
  };
}

export function matmulKernel(type: WeightType, columns: ColumnVariant, variant: Variant): Kernel {
  const rounded = roundedProducts(type, variant);
  const values = columns * ROWS;
  const some = Math.min(values, MOST_PARTS);
  const each = range(columns);
  const code = /* wgsl */ `var<workgroup> parts: array<f32, ${some * (THREADS + 1)}>;
var<workgroup> results: array<f32, ${(THREADS / 8) * values}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let lane = thread % p.lanes;
  let teams = ${THREADS}u / p.lanes;
  let firstRow = (group.y * p.across + group.x) * teams * ${ROWS}u;
  let row = firstRow + thread / p.lanes * ${ROWS}u;
  let column = group.z * ${columns}u;
  ${each.map((c) => `let x${c} = p.x + min(column + ${c}u, p.columns - 1u) * p.xStride;`).join("\n  ")}
  ${range(ROWS)
    .map((r) => `let row${r} = p.first + min(row + ${r}u, p.rows - 1u);`)
    .join("\n  ")}
  ${range(values)
    .map((v) => `var sum${v} = 0.0;`)
    .join(" ")}
  for (var unit = lane; unit < p.units; unit += p.lanes) {
    ${range(ROWS)
      .map((r) => `let u${r} = load(row${r}, unit);`)
      .join("\n    ")}
    ${rounded === null ? plainStep(type, each) : roundedStep(rounded, each)}
  }
  ${range(values / some)
    .map((i) => addUp(i * some, some, values))
    .join("\n  ")}
  for (var i = thread; i < teams * ${columns}u; i += ${THREADS}u) {
    let c = column + i % ${columns}u;
    let r = firstRow + i / ${columns}u * ${ROWS}u;
    let four = vec4<f32>(${range(ROWS)
      .map((r) => `results[${ROWS}u * i + ${r}u]`)
      .join(", ")});
    if (r < p.rows && c < p.columns) { floats[p.out + c * p.outStride + r / ${ROWS}u] = ${rounded === null ? "four" : "bitcast<vec4<u32>>(four)"}; }
  }
}`;
  return weightsKernel(type, variant, columns, code);
}

/** Adds up, in order, what the threads of each team have in `some` of the sums, from `first` on. */
function addUp(first: number, some: number, values: number): string {
  return `${range(some)
    .map((v) => `parts[${v * (THREADS + 1)}u + thread] = sum${first + v};`)
    .join("\n  ")}
  workgroupBarrier();
  for (var i = thread; i < teams * ${some}u; i += ${THREADS}u) {
    let start = i % ${some}u * ${THREADS + 1}u + i / ${some}u * p.lanes;
    var sum = 0.0;
    for (var l = 0u; l < p.lanes; l++) { sum += parts[start + l]; }
    results[i / ${some}u * ${values}u + ${first}u + i % ${some}u] = sum;
  }
  workgroupBarrier();`;
}

function plainStep(type: WeightType, columns: readonly number[]): string {
  const { unit, pieces } = GPU_FORMATS[type];
  const steps = pieces.map((_, i) => {
    const weights = range(ROWS).map((r) => `let w${r} = piece${i}(u${r});`);
    const products = columns.flatMap((c) => {
      const at = `floats[x${c} + unit * ${pieces.length}u + ${i}u]`;
      const x = unit === 32 ? at : `masked(${at}, unit * ${unit}u + ${4 * i}u)`;
      return [
        `let v${c} = ${x};`,
        ...range(ROWS).map((r) => `sum${ROWS * c + r} = dot4(w${r}, v${c}, sum${ROWS * c + r});`),
      ];
    });
    return `{ ${[...weights, ...products].join("\n")} }`;
  });
  return steps.join("\n    ");
}

function roundedStep(products: RoundedProducts, columns: readonly number[]): string {
  const vectors = vectorsOfBlock(products.rounding);
  const ofRow = (r: number, name: string, expressions: readonly string[]) =>
    expressions.map((some, i) => `let ${name}${r}_${i} = ${some.replaceAll(/\bu\./g, `u${r}.`)};`);
  const rows = range(ROWS).flatMap((r) => [
    ...ofRow(r, "w", products.weights),
    ...ofRow(r, "f", products.factors),
  ]);
  const steps = columns.map((c) => {
    const inputs = products.inputs((i) => `floats[x${c} + unit * ${vectors}u + ${i}u]`);
    const sums = range(ROWS).map((r) => {
      const sum = `sum${ROWS * c + r}`;
      const more = products.sum(
        sum,
        (i) => `w${r}_${i}`,
        (i) => `f${r}_${i}`,
      );
      return `${sum} = ${more};`;
    });
    return `{ ${[...inputs, ...sums].join("\n")} }`;
  });
  return [...rows, ...steps].join("\n    ");
}
