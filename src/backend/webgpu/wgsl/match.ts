/**
 * match: the sweep of Dynamic Logits Fusion; the formulas are in reference/fuse/tilt.ts.
 *
 *     matchTops, matchCommon     the largest of three rows over the tokens that all of them have
 *     matchSums                  what both divergences of the small rows are made of
 *     tiltMost, tiltSums         at four α each: the largest exponent, and the sums of w, w·d, w·d² with it taken off
 *
 * Rows are divided by nothing: bases of P are exp(z − top), and who asks takes the logarithm of their sum off. d = expert −
 * anti less its value at the most likely token of P.
 *
 * Accuracy  f32, as in measure.ts; exponents of ±80 are off by 5e-6, which is what weights are off by.
 */
import type { Kernel } from "../kernel.ts";
import { NONE } from "./fuse.ts";
import { EACH, JOIN, MEASURE_GROUPS, MEASURE_THREADS, sumsKernel } from "./measure.ts";

/** Words of a part of `matchTops`. */
export const COMMON_WIDTH = 5;
/** Words that `matchCommon` gives. */
export const COMMON_RESULT = 7;
/** α that a workgroup looks at, and words of a part of `tiltSums`. */
export const TILT_ALPHAS = 4;
export const TILT_WIDTH = 17;

const ROWS = ["base", "expert", "anti"];

const IS_COMMON = `floats[p.base + i] != ${NONE} && floats[p.expert + i] != ${NONE} && floats[p.anti + i] != ${NONE}`;

/** Orders and, of equal ones, the lowest index. */
const BEST = /* wgsl */ `
var<workgroup> best: array<vec2<u32>, ${MEASURE_THREADS}>;
fn join_best(thread: u32, own: vec2<u32>) -> vec2<u32> {
  workgroupBarrier();
  best[thread] = own;
  workgroupBarrier();
  for (var half = ${MEASURE_THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) {
      let other = best[thread + half];
      let mine = best[thread];
      if (other.x > mine.x || (other.x == mine.x && other.y < mine.y)) { best[thread] = other; }
    }
    workgroupBarrier();
  }
  return best[0];
}`;

const kernel = (name: string, params: readonly string[], body: string): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params: [...ROWS, ...params],
  code: /* wgsl */ `${JOIN}
${BEST}
@compute @workgroup_size(${MEASURE_THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  ${body}
}`,
});

/** Parts: order and index of the base's largest, orders of the expert's and the anti-expert's, how many tokens. */
export const matchTops = kernel(
  "matchTops",
  ["count", "groups", "parts"],
  `var own = vec2<u32>(0u, 0xffffffffu);
  var tuned = 0u;
  var plain = 0u;
  var tokens = 0.0;
  ${EACH} {
    if (${IS_COMMON}) {
      let order = order_of(floats[p.base + i]);
      if (order > own.x) { own = vec2<u32>(order, i); }
      tuned = max(tuned, order_of(floats[p.expert + i]));
      plain = max(plain, order_of(floats[p.anti + i]));
      tokens += 1.0;
    }
  }
  let at = p.parts + group.x * ${COMMON_WIDTH}u;
  let base = join_best(thread, own);
  let expert = join_most(thread, tuned);
  let anti = join_most(thread, plain);
  let all = join_sum(thread, tokens);
  if (thread == 0u) {
    floats[at] = base.x;
    floats[at + 1u] = base.y;
    floats[at + 2u] = expert;
    floats[at + 3u] = anti;
    floats[at + 4u] = bitcast<u32>(all);
  }`,
);

/** Of all parts the same, then the two small rows' bits at the base's best. Twice: for kernels, and for who asks. */
export const matchCommon = kernel(
  "matchCommon",
  ["groups", "parts", "joint", "result"],
  `var own = vec2<u32>(0u, 0xffffffffu);
  if (thread < p.groups) {
    own = vec2<u32>(floats[p.parts + thread * ${COMMON_WIDTH}u], floats[p.parts + thread * ${COMMON_WIDTH}u + 1u]);
  }
  let base = join_best(thread, own);
  let expert = most_of(thread, p.parts + 2u, ${COMMON_WIDTH}u);
  let anti = most_of(thread, p.parts + 3u, ${COMMON_WIDTH}u);
  let all = sum_of(thread, p.parts + 4u, ${COMMON_WIDTH}u);
  if (thread != 0u) { return; }
  for (var copy = 0u; copy < 2u; copy++) {
    let at = select(p.result, p.joint, copy == 0u);
    floats[at] = base.x;
    floats[at + 1u] = base.y;
    floats[at + 2u] = expert;
    floats[at + 3u] = anti;
    floats[at + 4u] = bitcast<u32>(all);
    floats[at + 5u] = 0u;
    floats[at + 6u] = 0u;
    if (base.x > 0u) {
      floats[at + 5u] = floats[p.expert + base.y];
      floats[at + 6u] = floats[p.anti + base.y];
    }
  }`,
);

/** With a, b what expert and anti-expert are below their largest: Σ e^a, Σ e^b, Σ e^a·(a − b), Σ e^b·(a − b). */
export const matchSums = sumsKernel("matchSums", [...ROWS, "joint"], {
  width: 4,
  before: `let tuned = value_of(floats[p.joint + 2u]);
  let plain = value_of(floats[p.joint + 3u]);`,
  each: `if (${IS_COMMON}) {
      let a = bitcast<f32>(floats[p.expert + i]) - tuned;
      let b = bitcast<f32>(floats[p.anti + i]) - plain;
      let ea = exponential(a);
      let eb = exponential(b);
      s0 += ea;
      s1 += eb;
      s2 += ea * (a - b);
      s3 += eb * (a - b);
    }`,
});

/** What both kernels of a tilt begin with, and the exponents of a token. */
const TILT = `let top = value_of(floats[p.joint]);
  let centre = bitcast<f32>(floats[p.joint + 5u]) - bitcast<f32>(floats[p.joint + 6u]);
  let first = f32(group.y * ${TILT_ALPHAS}u);
  let alphas = vec4<f32>(p.start) + p.step * (vec4<f32>(first) + vec4<f32>(0.0, 1.0, 2.0, 3.0));`;
const EXPONENTS = `let d = bitcast<f32>(floats[p.expert + i]) - bitcast<f32>(floats[p.anti + i]) - centre;
      let below = bitcast<f32>(floats[p.base + i]) - top;
      let exponents = vec4<f32>(below) + alphas * d;`;

/** Parts: four largest exponents, by their order. */
export const tiltMost = kernel(
  "tiltMost",
  ["count", "groups", "parts", "joint", "start:f32", "step:f32"],
  `${TILT}
  var most = vec4<f32>(LOWEST);
  ${EACH} {
    if (${IS_COMMON}) {
      ${EXPONENTS}
      most = max(most, exponents);
    }
  }
  let at = p.parts + (group.y * p.groups + group.x) * ${TILT_ALPHAS}u;
  for (var j = 0u; j < ${TILT_ALPHAS}u; j++) {
    let all = join_most(thread, order_of(bitcast<u32>(most[j])));
    if (thread == 0u) { floats[at + j] = all; }
  }`,
);

/** Parts, of four α: Σ w, Σ w·d, Σ w·d², and the exponent that was taken off, of the first part alone; then Σ e^base. */
export const tiltSums = sumsKernel(
  "tiltSums",
  [...ROWS, "joint", "most", "start:f32", "step:f32"],
  tiltSumsBody(),
);

function tiltSumsBody(): Parameters<typeof sumsKernel>[2] {
  const four = [0, 1, 2, 3];
  const names = (from: number) => four.map((j) => `s${from + j}`);
  const add = (from: number, what: string) =>
    names(from)
      .map((s, j) => `${s} += ${what}[${j}];`)
      .join(" ");
  return {
    width: TILT_WIDTH,
    before: `${TILT}
  let mosts = p.most + group.y * p.groups * ${TILT_ALPHAS}u;
  ${four.map((j) => `let shift${j} = value_of(most_of(thread, mosts + ${j}u, ${TILT_ALPHAS}u));`).join("\n  ")}
  let shift = vec4<f32>(${four.map((j) => `shift${j}`).join(", ")});`,
    each: `if (${IS_COMMON}) {
      ${EXPONENTS}
      let left = exponents - shift;
      let w = vec4<f32>(exponential(left.x), exponential(left.y), exponential(left.z), exponential(left.w));
      let wd = w * d;
      let wdd = wd * d;
      ${add(0, "w")}
      ${add(4, "wd")}
      ${add(8, "wdd")}
      s16 += exponential(below);
    }
    if (i == 0u) { ${add(12, "shift")} }`,
  };
}

/** Words of working memory for a sweep over so many sets of four α. */
export const tiltWords = (sets: number) =>
  MEASURE_GROUPS * COMMON_WIDTH + 8 + sets * MEASURE_GROUPS * (TILT_ALPHAS + TILT_WIDTH);
