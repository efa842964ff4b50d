/** codebook: what heads that name a code per token do beside their product; see reference/codebook.ts. All sums are exact. */
import type { Kernel } from "../kernel.ts";
import { THREADS } from "./layer.ts";

const perValue = (name: string, params: readonly string[], body: string): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params: [...params, "count", "across"],
  code: /* wgsl */ `
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  if (i >= p.count) { return; }
  ${body}
}`,
});

export const codebookKernels: Readonly<Record<string, Kernel>> = {
  codebookSnap: perValue(
    "codebookSnap",
    ["x"],
    `let x = bitcast<f32>(floats[p.x + i]);
  var score = -2048.0;
  if (!is_nan(x)) { score = round(clamp(x, -2048.0, 2048.0) * 4096.0) / 4096.0; }
  floats[p.x + i] = bitcast<u32>(score);`,
  ),
  codebookRow: perValue(
    "codebookRow",
    ["out", "scores", "map"],
    `let score = bitcast<f32>(floats[p.scores + floats[p.map + i]]);
  floats[p.out + i] = bitcast<u32>(score + bitcast<f32>(floats[p.map + p.count + i]));`,
  ),
};
