/**
 * draw: the exponential race over a whole row, with the noise of src/philox.ts.
 *
 *     score  =  (x − largest) / T − ln E        E = −ln u, u the token's noise
 *
 * The two best scores come back with the winner: who is closer to the other than rounding may have put it is not believed.
 *
 * Accuracy  a score is within 2e-5 for those that may win.
 * Cost      a draw for four tokens, where one of them can still win: noise is at most 2^-33 below 1, so that −ln E < 22.9.
 */
import { STAGE } from "../../../philox.ts";
import type { Kernel } from "../kernel.ts";
import { GROUPS, LARGEST } from "./row.ts";

const THREADS = 256;

const PHILOX = /* wgsl */ `
fn multiply_high(a: u32, b: u32) -> u32 {
  let low = a & 0xffffu;
  let high = a >> 16u;
  let middle = high * (b & 0xffffu) + ((low * (b & 0xffffu)) >> 16u);
  let other = low * (b >> 16u) + (middle & 0xffffu);
  return high * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(c.x, 0xd2511f53u);
    let high1 = multiply_high(c.z, 0xcd9e8d57u);
    c = vec4<u32>(high1 ^ c.y ^ k.x, c.z * 0xcd9e8d57u, high0 ^ c.w ^ k.y, c.x * 0xd2511f53u);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
/** -ln E of a word of noise. Near 1, u is told by its distance from 1: f32 has no room for it otherwise. */
fn gumbel(word: u32) -> f32 {
  var e: f32;
  if (word < 0x80000000u) { e = -logarithm((f32(word) + 0.5) * 2.3283064365386963e-10); }
  else {
    let v = (f32(~word) + 0.5) * 2.3283064365386963e-10;
    e = double_artanh(v / (2.0 - v));
  }
  return -logarithm(e);
}`;

const TWO_BEST = /* wgsl */ `
var<workgroup> first: array<f32, ${THREADS}>;
var<workgroup> second: array<f32, ${THREADS}>;
var<workgroup> winner: array<u32, ${THREADS}>;
fn join_two_best(thread: u32) {
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) {
      let other = thread + half;
      let isBetter = first[other] > first[thread];
      second[thread] = max(max(second[thread], second[other]), min(first[thread], first[other]));
      if (isBetter) {
        first[thread] = first[other];
        winner[thread] = winner[other];
      }
    }
    workgroupBarrier();
  }
}`;

/** Words of a group's result: two scores and the winner. */
const RESULT = 3;

export const drawKernels: Readonly<Record<string, Kernel>> = {
  /** Scratch: behind orders and sums per group two scores and a token. */
  drawParts: {
    name: "drawParts",
    kind: "floats",
    floats: "u32",
    params: ["x", "count", "groups", "scratch", "seedLow", "seedHigh", "position", "inverse:f32"],
    code: /* wgsl */ `${PHILOX}${LARGEST}${TWO_BEST}
const HIGHEST_GUMBEL = 22.9;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let largest = bitcast<f32>(bits_of_order(largest_of_all(thread)));
  var best = LOWEST;
  var next = LOWEST;
  var token = 0u;
  let quads = (p.count + 3u) / 4u;
  for (var quad = group.x * ${THREADS}u + thread; quad < quads; quad += p.groups * ${THREADS}u) {
    var scores = vec4<f32>(LOWEST);
    for (var j = 0u; j < 4u; j++) {
      let bits = floats[p.x + 4u * quad + j];
      if (4u * quad + j < p.count && order_of(bits) > 0u) { scores[j] = (bitcast<f32>(bits) - largest) * p.inverse; }
    }
    let most = max(max(scores.x, scores.y), max(scores.z, scores.w));
    if (most == LOWEST || most + HIGHEST_GUMBEL < next) { continue; }
    let words = philox(vec4<u32>(p.position, ${STAGE.gumbel}u, quad, 0u), vec2<u32>(p.seedLow, p.seedHigh));
    for (var j = 0u; j < 4u; j++) {
      if (scores[j] == LOWEST) { continue; }
      let score = scores[j] + gumbel(words[j]);
      if (score > best) {
        next = best;
        best = score;
        token = 4u * quad + j;
      } else { next = max(next, score); }
    }
  }
  first[thread] = best;
  second[thread] = next;
  winner[thread] = token;
  join_two_best(thread);
  if (thread == 0u) {
    let to = p.scratch + ${2 * GROUPS}u + ${RESULT}u * group.x;
    floats[to] = bitcast<u32>(first[0]);
    floats[to + 1u] = bitcast<u32>(second[0]);
    floats[to + 2u] = winner[0];
  }
}`,
  },
  /** Result: winner, both scores, bits of its logit, of the largest, and of the sum of exponentials. */
  draw: {
    name: "draw",
    kind: "floats",
    floats: "u32",
    params: ["x", "count", "groups", "scratch", "result"],
    code: /* wgsl */ `${LARGEST}${TWO_BEST}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let order = largest_of_all(thread);
  first[thread] = LOWEST;
  second[thread] = LOWEST;
  winner[thread] = 0u;
  sums[thread] = 0.0;
  if (thread < p.groups) {
    let origin = p.scratch + ${2 * GROUPS}u + ${RESULT}u * thread;
    first[thread] = bitcast<f32>(floats[origin]);
    second[thread] = bitcast<f32>(floats[origin + 1u]);
    winner[thread] = floats[origin + 2u];
    sums[thread] = bitcast<f32>(floats[p.scratch + ${GROUPS}u + thread]);
  }
  join_two_best(thread);
  let total = join_sum(thread);
  if (thread == 0u) {
    floats[p.result] = winner[0];
    floats[p.result + 1u] = bitcast<u32>(first[0]);
    floats[p.result + 2u] = bitcast<u32>(second[0]);
    floats[p.result + 3u] = floats[p.x + winner[0]];
    floats[p.result + 4u] = bits_of_order(order);
    floats[p.result + 5u] = bitcast<u32>(total);
  }
}`,
  },
};
