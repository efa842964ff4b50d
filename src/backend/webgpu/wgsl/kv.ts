/**
 * kv: keys and values kept in 16 bits, in pages; wgsl/attention.ts reads them.
 *
 * Layout    of a page, in words: [keys, values][layer][kvHead][slot][headDim / 2] pairs of i16 codes, then as many steps (f32).
 *           A table of a cache has the first word of each of its pages.
 * Accuracy  a code is a 32767th of the largest of its vector, ties to even; what is not finite spoils its vector.
 */
import { KV_PAGE } from "../../kv-pages.ts";
import type { Kernel } from "../kernel.ts";

/** Threads of a workgroup: a page's positions. */
const THREADS = KV_PAGE;

/** Where things stand in a page. */
export const PLACES = /* wgsl */ `
const PAGE = ${KV_PAGE}u;
fn words_of_codes() -> u32 { return PAGE * p.layers * p.kvHeads * (p.headDim / 2u); }
fn vector_of(layer: u32, head: u32, position: u32) -> u32 { return (layer * p.kvHeads + head) * PAGE + position % PAGE; }
/** Part 0: keys, 1: values. */
fn codes_at(page: u32, part: u32, vector: u32) -> u32 { return page + part * words_of_codes() + vector * (p.headDim / 2u); }
fn step_at(page: u32, part: u32, vector: u32) -> u32 {
  return page + 2u * words_of_codes() + part * PAGE * p.layers * p.kvHeads + vector;
}
`;

/** Parameters of all kernels of caches. */
export const SHAPE = ["layers", "kvHeads", "headDim", "layer", "position", "columns"];

export const kvKernels: Readonly<Record<string, Kernel>> = {
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
};
