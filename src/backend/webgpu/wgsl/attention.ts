/**
 * attention: causal grouped-query attention over keys and values kept in 16 bits; see reference/attention.ts.
 *
 * Layout    of a page, in words: [keys, values][layer][kvHead][slot][headDim / 2] pairs of i16 codes, then as many steps (f32).
 *           A table of a cache has the first word of each of its pages.
 * Cost      a workgroup per column and head goes through the positions a page at a time, each thread with the score of one
 *           position, then with two elements of the result; the softmax is made on the way (Milakov, Gimelshein 2018).
 * Accuracy  f32. Pages begin at fixed positions, so a column's bits do not depend on the columns beside it.
 */
import { KV_PAGE } from "../../kv-pages.ts";
import type { Kernel } from "../kernel.ts";

/** Threads of a workgroup: a page's positions. */
const THREADS = KV_PAGE;
/** Pairs of elements that a thread has, hence headDim at most. */
const PAIRS_PER_THREAD = 4;
export const MOST_HEAD_DIM = 2 * THREADS * PAIRS_PER_THREAD;

const PLACES = /* wgsl */ `
const PAGE = ${KV_PAGE}u;
fn words_of_codes() -> u32 { return PAGE * p.layers * p.kvHeads * (p.headDim / 2u); }
fn vector_of(layer: u32, head: u32, position: u32) -> u32 { return (layer * p.kvHeads + head) * PAGE + position % PAGE; }
/** Part 0: keys, 1: values. */
fn codes_at(page: u32, part: u32, vector: u32) -> u32 { return page + part * words_of_codes() + vector * (p.headDim / 2u); }
fn step_at(page: u32, part: u32, vector: u32) -> u32 {
  return page + 2u * words_of_codes() + part * PAGE * p.layers * p.kvHeads + vector;
}
`;

const SHAPE = ["layers", "kvHeads", "headDim", "layer", "position", "columns"];

export const attentionKernels: Readonly<Record<string, Kernel>> = {
  /** Group x: column and head, y: part. */
  storeKv: {
    name: "storeKv",
    kind: "kv",
    floats: "u32",
    second: "u32",
    params: [...SHAPE, "table", "key", "value"],
    code: /* wgsl */ `${PLACES}
var<workgroup> largest: array<u32, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = group.x / p.kvHeads;
  let head = group.x % p.kvHeads;
  let position = p.position + column;
  let x = select(p.value, p.key, group.y == 0u) + group.x * p.headDim;
  var most = 0u;
  for (var d = thread; d < p.headDim; d += ${THREADS}u) { most = max(most, floats[x + d] & 0x7fffffffu); }
  largest[thread] = most;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { largest[thread] = max(largest[thread], largest[thread + half]); }
    workgroupBarrier();
  }
  let bits = largest[0];
  let magnitude = bitcast<f32>(bits);
  // As integers: NaN and infinity are the largest.
  let isBad = bits >= 0x7f800000u;
  let isUsable = !isBad && bits > 0x0da24260u;
  let inverse = select(0.0, 32767.0 / magnitude, isUsable);
  let page = kv[p.table + position / PAGE];
  let vector = vector_of(p.layer, head, position);
  let to = codes_at(page, group.y, vector);
  for (var pair = thread; pair < p.headDim / 2u; pair += ${THREADS}u) {
    let a = bitcast<f32>(floats[x + 2u * pair]);
    let b = bitcast<f32>(floats[x + 2u * pair + 1u]);
    var codes = 0u;
    if (isUsable) { codes = (bitcast<u32>(i32(round(a * inverse))) & 0xffffu) | (bitcast<u32>(i32(round(b * inverse))) << 16u); }
    kv[to + pair] = codes;
  }
  if (thread == 0u) {
    var step = 0u;
    if (isUsable) { step = bitcast<u32>(magnitude / 32767.0); }
    kv[step_at(page, group.y, vector)] = select(step, 0x7fc00000u, isBad);
  }
}`,
  },
  copyKv: {
    name: "copyKv",
    kind: "kv",
    floats: "u32",
    second: "u32",
    params: [...SHAPE, "table", "sourceTable", "source"],
    code: /* wgsl */ `${PLACES}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = group.x / p.kvHeads;
  let head = group.x % p.kvHeads;
  let position = p.position + column;
  let source = p.source + column;
  let page = kv[p.table + position / PAGE];
  let sourcePage = kv[p.sourceTable + source / PAGE];
  let vector = vector_of(p.layer, head, position);
  let sourceVector = vector_of(p.layer, head, source);
  let to = codes_at(page, group.y, vector);
  let origin = codes_at(sourcePage, group.y, sourceVector);
  for (var pair = thread; pair < p.headDim / 2u; pair += ${THREADS}u) { kv[to + pair] = kv[origin + pair]; }
  if (thread == 0u) { kv[step_at(page, group.y, vector)] = kv[step_at(sourcePage, group.y, sourceVector)]; }
}`,
  },
  /** A whole page, for one that is about to be written to and is shared. */
  copyPage: {
    name: "copyPage",
    kind: "kv",
    floats: "u32",
    second: "u32",
    params: ["to", "source", "count", "across"],
    code: /* wgsl */ `
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * p.across + group.x) * ${THREADS}u + thread;
  if (i < p.count) { kv[p.to + i] = kv[p.source + i]; }
}`,
  },
  /** Group x: head, y: column. */
  attention: {
    name: "attention",
    kind: "kv",
    floats: "f32",
    second: "vec4<u32>",
    params: [...SHAPE, "table", "q", "out", "heads", "window", "scale:f32"],
    code: /* wgsl */ `${PLACES}
fn word(i: u32) -> u32 { return kv[i / 4u][i % 4u]; }
fn codes_of(word: u32) -> vec2<f32> {
  return vec2<f32>(f32(bitcast<i32>(word << 16u) >> 16u), f32(bitcast<i32>(word) >> 16u));
}
var<workgroup> query: array<vec2<f32>, ${MOST_HEAD_DIM / 2}>;
var<workgroup> weights: array<f32, ${THREADS}>;
var<workgroup> shared_values: array<f32, ${THREADS}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = group.x;
  let kvHead = head / (p.heads / p.kvHeads);
  let last = p.position + group.y;
  let first = select(0u, last + 1u - p.window, p.window <= last);
  let pairs = p.headDim / 2u;
  let at = (group.y * p.heads + head) * p.headDim;
  for (var i = thread; i < pairs; i += ${THREADS}u) {
    query[i] = vec2<f32>(floats[p.q + at + 2u * i], floats[p.q + at + 2u * i + 1u]);
  }
  workgroupBarrier();
  var most = LOWEST;
  var total = 0.0;
  var sums: array<vec2<f32>, ${PAIRS_PER_THREAD}>;
  for (var index = first / PAGE; index <= last / PAGE; index++) {
    let page = word(p.table + index);
    let position = index * PAGE + thread;
    let isSeen = position >= first && position <= last;
    var score = LOWEST;
    if (isSeen) {
      let vector = vector_of(p.layer, kvHead, position);
      let codes = codes_at(page, 0u, vector) / 4u;
      var even = vec2<f32>(0.0);
      var odd = vec2<f32>(0.0);
      for (var i = 0u; i < pairs / 4u; i++) {
        let four = kv[codes + i];
        even = fma(query[4u * i], codes_of(four.x), even);
        odd = fma(query[4u * i + 1u], codes_of(four.y), odd);
        even = fma(query[4u * i + 2u], codes_of(four.z), even);
        odd = fma(query[4u * i + 3u], codes_of(four.w), odd);
      }
      let both = even + odd;
      score = (both.x + both.y) * bitcast<f32>(word(step_at(page, 0u, vector))) * p.scale;
    }
    shared_values[thread] = select(score, LOWEST, is_nan(score));
    workgroupBarrier();
    for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
      if (thread < half) { shared_values[thread] = max(shared_values[thread], shared_values[thread + half]); }
      workgroupBarrier();
    }
    let before = most;
    most = max(most, shared_values[0]);
    let rescale = exponential(before - most);
    var weight = 0.0;
    if (isSeen) { weight = exponential(score - most); }
    weights[thread] = weight;
    total = total * rescale + weight;
    workgroupBarrier();
    // Nothing that is not seen is looked at: it may be no number.
    let begin = max(first, index * PAGE) - index * PAGE;
    let end = min(last, index * PAGE + PAGE - 1u) - index * PAGE;
    let vectors = vector_of(p.layer, kvHead, 0u);
    for (var part = 0u; part < ${PAIRS_PER_THREAD}u; part++) {
      let pair = thread + part * ${THREADS}u;
      if (pair >= pairs) { break; }
      var sum = sums[part] * rescale;
      for (var slot = begin; slot <= end; slot++) {
        let step = bitcast<f32>(word(step_at(page, 1u, vectors + slot)));
        let values = codes_of(word(codes_at(page, 1u, vectors + slot) + pair)) * step;
        sum = fma(vec2<f32>(weights[slot]), values, sum);
      }
      sums[part] = sum;
    }
    workgroupBarrier();
  }
  shared_values[thread] = total;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { shared_values[thread] += shared_values[thread + half]; }
    workgroupBarrier();
  }
  for (var part = 0u; part < ${PAIRS_PER_THREAD}u; part++) {
    let pair = thread + part * ${THREADS}u;
    if (pair >= pairs) { break; }
    let mean = sums[part] / shared_values[0];
    floats[p.out + at + 2u * pair] = mean.x;
    floats[p.out + at + 2u * pair + 1u] = mean.y;
  }
}`,
  },
};
