/**
 * fuse: rows made of rows; the formulas are in reference/fuse/combine.ts. A thread has a token.
 *
 * What is impossible is told by its bits, as WGSL knows no infinities. Offsets come in two parts, so that a logit of 10,000
 * less a partition of as much keeps its digits.
 *
 * Accuracy  f32: of each term a product and two sums; exp and log within an ulp.
 */
import type { Kernel } from "../kernel.ts";
import { THREADS } from "./layer.ts";

/** Terms of a sum, and alternatives of a bound. */
export const MOST_TERMS = 12;

/** Bits of −∞. */
export const NONE = "0xff800000u";

const perToken = (name: string, params: readonly string[], body: string, list?: number): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params: [...params, "count", "across"],
  list,
  code: /* wgsl */ `
/** Of a term (place, scale, offset in two parts), without what is impossible. */
fn scaled(bits: u32, term: vec4<u32>) -> f32 {
  return fma(bitcast<f32>(term.y), bitcast<f32>(bits), bitcast<f32>(term.z)) + bitcast<f32>(term.w);
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  if (i >= p.count) { return; }
  ${body}
}`,
});

export const fuseLin = perToken(
  "fuseLin",
  ["out", "terms"],
  `var sum = 0.0;
  var isPossible = true;
  for (var t = 0u; t < p.terms; t++) {
    let term = p.list[t];
    let bits = floats[term.x + i];
    if (bits != ${NONE}) { sum += scaled(bits, term); }
    else if (bitcast<f32>(term.y) > 0.0) { isPossible = false; }
  }
  floats[p.out + i] = select(${NONE}, bitcast<u32>(sum), isPossible);`,
  MOST_TERMS,
);

export const fuseMix = perToken(
  "fuseMix",
  ["out", "terms"],
  `var most = LOWEST;
  var isPossible = false;
  for (var t = 0u; t < p.terms; t++) {
    let bits = floats[p.list[t].x + i];
    if (bits != ${NONE}) { most = max(most, scaled(bits, p.list[t])); isPossible = true; }
  }
  var sum = 0.0;
  for (var t = 0u; t < p.terms; t++) {
    let bits = floats[p.list[t].x + i];
    if (bits != ${NONE}) { sum += exponential(scaled(bits, p.list[t]) - most); }
  }
  var bits = ${NONE};
  if (isPossible) { bits = bitcast<u32>(most + logarithm(sum)); }
  floats[p.out + i] = bits;`,
  MOST_TERMS,
);

/** Alternatives (place, order of the floor, one more than the last id at it, is it a mask). */
export const fuseBound = perToken(
  "fuseBound",
  ["out", "terms"],
  `var isIn = false;
  for (var t = 0u; t < p.terms; t++) {
    let bound = p.list[t];
    if (bound.w == 1u) { isIn = isIn || ((floats[bound.x + i / 32u] >> (i % 32u)) & 1u) == 1u; }
    else {
      let order = order_of(floats[bound.x + i]);
      isIn = isIn || order > bound.y || (order == bound.y && i < bound.z);
    }
  }
  if (!isIn) { floats[p.out + i] = ${NONE}; }`,
  MOST_TERMS,
);

/** \`pairs\`: ids, each once, then what is added there. */
export const fuseScatter = perToken(
  "fuseScatter",
  ["out", "pairs"],
  `let at = p.out + floats[p.pairs + i];
  let bits = floats[at];
  if (bits != ${NONE}) { floats[at] = bitcast<u32>(bitcast<f32>(bits) + bitcast<f32>(floats[p.pairs + p.count + i])); }`,
);

export const fuseGather = perToken(
  "fuseGather",
  ["out", "x", "ids"],
  `let id = floats[p.ids + i];
  var bits = ${NONE};
  if (id != 0xffffffffu) { bits = floats[p.x + id]; }
  floats[p.out + i] = bits;`,
);

export const fuseMultiply = perToken(
  "fuseMultiply",
  ["out", "x", "factors"],
  `let bits = floats[p.x + i];
  let product = bitcast<u32>(bitcast<f32>(bits) * bitcast<f32>(floats[p.factors + i]));
  floats[p.out + i] = select(product, bits, bits == ${NONE});`,
);
