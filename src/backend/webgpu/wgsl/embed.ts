/** embed: rows of a matrix as they are, for the tokens of a list. */
import type { WeightType } from "../../../format/blocks.ts";
import type { Kernel } from "../kernel.ts";
import { GPU_FORMATS, piecesOf, SECTIONS } from "./formats.ts";

/** Rows of one dispatch of `embed`: pairs of a row and where it goes. */
export const EMBED_ROWS = 24;

export function embedKernel(type: WeightType): Kernel {
  const { unit, pieces } = GPU_FORMATS[type];
  return {
    name: `embed ${type}`,
    kind: "weights",
    floats: "u32",
    second: "vec4<u32>",
    params: ["out", "outStride", "cols", "units", ...SECTIONS],
    list: EMBED_ROWS / 2,
    // Bits of F32 go as they are: arithmetic might change a subnormal.
    code: /* wgsl */ `${piecesOf(type)}
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
