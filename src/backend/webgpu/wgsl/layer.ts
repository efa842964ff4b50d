/**
 * layer: the steps between the matmuls; the formulas are in reference/layer.ts.
 *
 * Accuracy  f32. rmsNorm: sums of squares of 64 threads, then of these. exp is that of wgsl/common.ts.
 */
import type { Kernel } from "../kernel.ts";

/** Threads of a workgroup, for kernels whose threads have a value each. */
export const THREADS = 64;

const simple = (name: string, params: readonly string[], body: string, more = ""): Kernel => ({
  name,
  kind: "floats",
  floats: "f32",
  params: [...params, "count", "across"],
  code: /* wgsl */ `${more}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  if (i >= p.count) { return; }
  ${body}
}`,
});

/** x · sigmoid(z). Below -87 the exponential of -z is bounded, and a product with a tiny sigmoid is as good as 0. */
const GATED = /* wgsl */ `
fn gated(x: f32, z: f32) -> f32 { return x / (1.0 + exponential(-z)); }`;

export const layerKernels: Readonly<Record<string, Kernel>> = {
  add: simple("add", ["x", "y"], "floats[p.x + i] += floats[p.y + i];"),
  scale: simple("scale", ["x", "factor:f32"], "floats[p.x + i] *= p.factor;"),
  addBias: simple(
    "addBias",
    ["x", "bias", "size", "stride"],
    "floats[p.x + (i / p.size) * p.stride + i % p.size] += floats[p.bias + i % p.size];",
  ),
  copy: { ...simple("copy", ["to", "x"], "floats[p.to + i] = floats[p.x + i];"), floats: "u32" },
  swiglu: simple(
    "swiglu",
    ["out", "gate", "up"],
    `let g = floats[p.gate + i];
  floats[p.out + i] = gated(g, g) * floats[p.up + i];`,
    GATED,
  ),
  geglu: simple(
    "geglu",
    ["out", "gate", "up"],
    `let g = floats[p.gate + i];
  let z = 1.59576912 * (g + 0.044715 * g * g * g);
  floats[p.out + i] = gated(g, z) * floats[p.up + i];`,
    GATED,
  ),
  rope: simple(
    "rope",
    ["x", "size", "table", "stride", "position", "headDim", "half", "interleaved", "perColumn"],
    `let column = i / p.perColumn;
  let head = i % p.perColumn / p.half;
  let pair = i % p.half;
  let start = p.x + column * p.size + head * p.headDim;
  let first = start + select(pair, 2u * pair, p.interleaved == 1u);
  let second = first + select(p.half, 1u, p.interleaved == 1u);
  let angle = p.table + (p.position + column) * p.stride + pair;
  let cosine = floats[angle];
  let sine = floats[angle + p.half];
  let a = floats[first];
  let b = floats[second];
  floats[first] = a * cosine - b * sine;
  floats[second] = a * sine + b * cosine;`,
  ),
  rmsNorm: {
    name: "rmsNorm",
    kind: "floats",
    floats: "f32",
    params: ["out", "x", "weight", "size", "stride", "count", "across", "epsilon:f32"],
    code: /* wgsl */ `
var<workgroup> sums: array<f32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let vector = min(group.y * p.across + group.x, p.count - 1u);
  let x = p.x + vector * p.stride;
  var sum = 0.0;
  for (var i = thread; i < p.size; i += ${THREADS}u) { sum = fma(floats[x + i], floats[x + i], sum); }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let root = sqrt(sums[0] / f32(p.size) + p.epsilon);
  if (group.y * p.across + group.x >= p.count) { return; }
  let out = p.out + vector * p.stride;
  for (var i = thread; i < p.size; i += ${THREADS}u) {
    floats[out + i] = floats[x + i] / root * floats[p.weight + i];
  }
}`,
  },
};
