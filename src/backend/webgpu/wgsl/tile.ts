/**
 * tile: matmul for many columns, 32 rows by 32 columns at a time; wgsl/matmul.ts is the one for few.
 *
 * A workgroup decodes what its rows have of 32 places of k into workgroup memory, brings the inputs there, and each thread
 * makes 4 rows by 4 columns of that. Weights are read and decoded once for 32 columns.
 *
 * Order     that of wgsl/matmul.ts, so that the bits are: the units of a lane one after the other, then the sums of the lanes.
 * Memory    10 KiB of a workgroup's 16.
 * Cost      8 vectors out of workgroup memory for 64 products; packed, 16 or 24 for 16 blocks of 32.
 */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import { GPU_FORMATS, piecesOf } from "./formats.ts";
import { DOT4, MATMUL_PARAMS } from "./matmul.ts";
import { factorsOf, PACKED_FORMATS, type PackedFormat, packedSum } from "./packed.ts";
import { PACKED_FEATURE, vectorsOfBlock } from "./round.ts";

/** Rows of a tile. */
export const TILE_ROWS = 32;
/** Columns of a tile. */
export const TILE_COLUMNS = 32;
/** A thread has 4 rows by 4 columns. */
const THREADS = 64;
const FOUR = [0, 1, 2, 3];
/** Pieces of four weights that are brought at a time. */
const PIECES = 8;
/** Vectors from row to row: one more than there are, so that threads beside each other read different banks. */
const STRIDE = PIECES + 1;

/** What differs between plain and packed. */
interface Body {
  readonly memory: string;
  /** Units of a lane that are brought at a time. */
  readonly units: number;
  /** Brings units `unit`, `unit + lanes`, …, `count` of them. */
  readonly bring: string;
  /** Adds their products to `sum0` … `sum3`, of 4 rows each. */
  readonly multiply: string;
}

export function tileKernel(type: WeightType, packed: boolean): Kernel {
  const { memory, units, bring, multiply } = packed ? packedBody(PACKED_FORMATS[type]!) : plainBody(type);
  const result = (c: number) => (packed ? `bitcast<vec4<u32>>(total${c})` : `total${c}`);
  return {
    name: `matmul ${type} tile${packed ? " packed" : ""}`,
    kind: "weights",
    floats: packed ? "vec4<u32>" : "vec4<f32>",
    second: "vec4<u32>",
    requires: packed ? [PACKED_FEATURE] : [],
    params: MATMUL_PARAMS,
    code: /* wgsl */ `${piecesOf(type)}
${DOT4}
${memory}
/** Rows stand so that a thread's four are eight apart: threads beside each other read places beside each other. */
fn place_of(row: u32) -> u32 { return row % 4u * 8u + row / 4u; }

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let firstRow = (group.y * p.across + group.x) * ${TILE_ROWS}u;
  let firstColumn = group.z * ${TILE_COLUMNS}u;
  // What it brings: half of a row's weights.
  let part = thread / ${TILE_ROWS}u;
  let row = thread % ${TILE_ROWS}u;
  let source = p.first + min(firstRow + row, p.rows - 1u);
  // What it makes: rows 4 · across … and columns down, down + 8, …
  let across = thread % 8u;
  let down = thread / 8u;
  ${FOUR.map((c) => `var total${c} = vec4<f32>(0.0);`).join("\n  ")}
  for (var lane = 0u; lane < min(p.lanes, p.units); lane++) {
    ${FOUR.map((c) => `var sum${c} = vec4<f32>(0.0);`).join("\n    ")}
    for (var unit = lane; unit < p.units; unit += ${units}u * p.lanes) {
      let count = min(${units}u, (p.units - unit + p.lanes - 1u) / p.lanes);
      workgroupBarrier();
      ${bring}
      workgroupBarrier();
      ${multiply}
    }
    ${FOUR.map((c) => `total${c} += sum${c};`).join("\n    ")}
  }
  let r = firstRow + 4u * across;
  if (r >= p.rows) { return; }
  ${FOUR.map(
    (c) => `if (firstColumn + down + ${8 * c}u < p.columns) {
    floats[p.out + (firstColumn + down + ${8 * c}u) * p.outStride + r / 4u] = ${result(c)};
  }`,
  ).join("\n  ")}
}`,
  };
}

function plainBody(type: WeightType): Body {
  const { unit, pieces } = GPU_FORMATS[type];
  const perUnit = pieces.length;
  const units = PIECES / perUnit;
  // Pieces of a part, by unit.
  const bringPart = (part: number) => {
    const lines: string[] = [];
    for (let q = (part * PIECES) / 2; q < ((part + 1) * PIECES) / 2; q++) {
      const [at, piece] = [Math.floor(q / perUnit), q % perUnit];
      if (lines.length === 0 || piece === 0) {
        lines.push(`let u${at} = load(source, min(unit + ${at}u * p.lanes, p.units - 1u));`);
      }
      lines.push(`weightTile[place_of(row) * ${STRIDE}u + ${q}u] = piece${piece}(u${at});`);
    }
    return lines.join("\n        ");
  };
  const input = `floats[p.x + min(firstColumn + c, p.columns - 1u) * p.xStride + here * ${perUnit}u + q % ${perUnit}u]`;
  return {
    memory: /* wgsl */ `
var<workgroup> weightTile: array<vec4<f32>, ${TILE_ROWS * STRIDE}>;
var<workgroup> inputTile: array<vec4<f32>, ${TILE_COLUMNS * STRIDE}>;`,
    units,
    bring: /* wgsl */ `if (part == 0u) {
        ${bringPart(0)}
      } else {
        ${bringPart(1)}
      }
      let q = thread % ${PIECES}u;
      let here = min(unit + q / ${perUnit}u * p.lanes, p.units - 1u);
      for (var c = thread / ${PIECES}u; c < ${TILE_COLUMNS}u; c += ${THREADS / PIECES}u) {
        inputTile[c * ${STRIDE}u + q] = ${
          unit === 32 ? input : `masked(${input}, here * ${unit}u + q % ${perUnit}u * 4u)`
        };
      }`,
    multiply: /* wgsl */ `for (var i = 0u; i < count * ${perUnit}u; i++) {
        ${FOUR.map((r) => `let w${r} = weightTile[(across + ${8 * r}u) * ${STRIDE}u + i];`).join("\n        ")}
        ${FOUR.map(
          (c) => `{
          let x = inputTile[(down + ${8 * c}u) * ${STRIDE}u + i];
          sum${c} = vec4<f32>(${FOUR.map((r) => `dot4(w${r}, x, sum${c}[${r}])`).join(", ")});
        }`,
        ).join("\n        ")}
      }`,
  };
}

function packedBody(format: PackedFormat): Body {
  const vectors = vectorsOfBlock(format.levels);
  const factors = factorsOf(format);
  const half = (part: number) => `vec4<u32>(${FOUR.map((i) => format.words[4 * part + i]).join(", ")})`;
  const products = (c: number) => {
    const inputs = Array.from({ length: vectors }, (_, i) => `let x${i} = inputTile[column + ${i}u];`);
    const sums = FOUR.map((r) =>
      packedSum(
        format,
        `sum${c}[${r}]`,
        (i) => `w${r}_${i >> 2}[${i % 4}]`,
        (i) => `x${i}`,
        (name) => `factors[${TILE_ROWS * factors.indexOf(name) + 8 * r}u + across]`,
      ),
    );
    return `{
        let column = (down + ${8 * c}u) * ${vectors}u;
        ${inputs.join("\n        ")}
        sum${c} = vec4<f32>(${sums.join(",\n          ")});
      }`;
  };
  return {
    // Rows of three vectors, though they have two: again for the banks.
    memory: /* wgsl */ `
var<workgroup> weightTile: array<vec4<u32>, ${TILE_ROWS * 3}>;
var<workgroup> factors: array<f32, ${TILE_ROWS * factors.length}>;
var<workgroup> inputTile: array<vec4<u32>, ${TILE_COLUMNS * vectors}>;`,
    units: 1,
    bring: /* wgsl */ `let u = load(source, unit);
      if (part == 0u) {
        weightTile[place_of(row) * 3u] = ${half(0)};
        ${factors.map((name, i) => `factors[${TILE_ROWS * i}u + place_of(row)] = u.${name};`).join("\n        ")}
      } else {
        weightTile[place_of(row) * 3u + 1u] = ${half(1)};
      }
      for (var i = thread; i < ${TILE_COLUMNS * vectors}u; i += ${THREADS}u) {
        let c = min(firstColumn + i / ${vectors}u, p.columns - 1u);
        inputTile[i] = floats[p.x + c * p.xStride + unit * ${vectors}u + i % ${vectors}u];
      }`,
    multiply: /* wgsl */ `${FOUR.map(
      (r) => `let w${r}_0 = weightTile[(across + ${8 * r}u) * 3u];
      let w${r}_1 = weightTile[(across + ${8 * r}u) * 3u + 1u];`,
    ).join("\n      ")}
      ${FOUR.map(products).join("\n      ")}`,
  };
}
