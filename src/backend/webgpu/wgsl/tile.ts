/**
 * tile: matmul for many columns, 32 rows by 32 columns at a time; wgsl/matmul.ts is the one for few.
 *
 * A workgroup decodes what its rows have of 32 places of k into workgroup memory, brings the inputs there, and each thread
 * makes 4 rows by 4 columns of that. Weights are read and decoded once for 32 columns.
 *
 * Order     that of wgsl/matmul.ts, so that the bits are: the units of a lane one after the other, then the sums of the lanes.
 * Memory    9 KiB of a workgroup's 16, halves 5: so that more workgroups fit.
 * Cost      8 vectors out of workgroup memory for 64 products, halves vectors of half the bytes; packed, 16 or 24 for 16 blocks
 *           of 32. Neither reads nor writes of threads beside each other meet in a bank.
 */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import { GPU_FORMATS } from "./formats.ts";
import { weightsKernel } from "./matmul.ts";
import { roundedBody } from "./tile-rounded.ts";
import { roundedProducts, type Variant } from "./variant.ts";

/** Rows of a tile. */
export const TILE_ROWS = 32;
/** Columns of a tile. */
export const TILE_COLUMNS = 32;
/** A thread has 4 rows by 4 columns. */
export const TILE_THREADS = 64;
const FOUR = [0, 1, 2, 3];
/** Pieces of four weights that are brought at a time. */
const PIECES = 8;
/** Vectors from row to row: one more than there are, so that threads beside each other read different banks. */
const STRIDE = PIECES + 1;

/** What differs between variants. */
export interface TileBody {
  readonly memory: string;
  /** Units of a lane that are brought at a time. */
  readonly units: number;
  /** Brings units `unit`, `unit + lanes`, …, `count` of them. */
  readonly bring: string;
  /** Adds their products to `sum0` … `sum3`, of 4 rows each. */
  readonly multiply: string;
}

export function tileKernel(type: WeightType, variant: Variant): Kernel {
  const rounded = roundedProducts(type, variant);
  const { memory, units, bring, multiply } = rounded === null ? plainBody(type) : roundedBody(type, rounded);
  const result = (c: number) => (rounded === null ? `total${c}` : `bitcast<vec4<u32>>(total${c})`);
  const code = /* wgsl */ `${memory}

@compute @workgroup_size(${TILE_THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let firstRow = (group.y * p.across + group.x) * ${TILE_ROWS}u;
  let firstColumn = group.z * ${TILE_COLUMNS}u;
  // What it brings: half of a row's weights. A thread's four rows stand eight places apart, so that threads beside each other
  // write and read places beside each other.
  let part = thread / ${TILE_ROWS}u;
  let place = thread % ${TILE_ROWS}u;
  let source = p.first + min(firstRow + place % 8u * 4u + place / 8u, p.rows - 1u);
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
}`;
  return weightsKernel(type, variant, "tile", code);
}

function plainBody(type: WeightType): TileBody {
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
      lines.push(`weightTile[place * ${STRIDE}u + ${q}u] = piece${piece}(u${at});`);
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
      for (var c = thread / ${PIECES}u; c < ${TILE_COLUMNS}u; c += ${TILE_THREADS / PIECES}u) {
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
