/**
 * attention: causal grouped-query attention over keys and values kept in 16 bits; see reference/attention.ts; wgsl/kv.ts has the layout.
 *
 * A workgroup takes some queries of one key head, those of its heads at one column or several, and one part of the positions,
 * a page at a time: each thread has the scores of one position, then two elements of the results. The softmax is made on the
 * way (Milakov, Gimelshein 2018). Where positions are in several parts, each leaves its sums, and a second kernel joins them
 * (Dao et al. 2023, flash-decoding), so that a long context is as many workgroups' work.
 *
 * Partials  of a query and part: headDim sums of values, the largest score, the sum of weights.
 * Accuracy  f32. Parts and pages begin at fixed positions, and each query goes its own way through them, so a column's bits
 *           depend neither on the columns beside it nor on whether there are other parts.
 * Cost      keys and values are read once for the queries of a workgroup: decoding, once for all heads that share them.
 *           Subgroups save two of the five barriers of a page.
 */
import { KV_PAGE } from "../../kv-pages.ts";
import type { Kernel } from "../kernel.ts";
import { range } from "./common.ts";
import { PLACES, SHAPE } from "./kv.ts";

/** Threads of a workgroup: a page's positions. */
const THREADS = KV_PAGE;
/** Pairs of elements that a workgroup has of the results; of wider heads several make a part each. */
const PAIRS = THREADS;
/** Pages of a part. */
const PART_PAGES = 4;
/** Positions of a part. */
export const PART = PART_PAGES * KV_PAGE;

/** Threads that make the softmax of a query. */
const LANES = 8;

/** Queries that a workgroup takes, fewest first. */
const QUERY_VARIANTS = [4, 8] as const;
type QueryVariant = (typeof QUERY_VARIANTS)[number];

export const MOST_HEAD_DIM = 512;
/** What fits workgroup memory. */
const mostHeadDim = (queries: QueryVariant) => (queries === 8 ? 256 : MOST_HEAD_DIM);

/** For so many queries to a key head. */
export function queriesOfGroup(queries: number, headDim: number): QueryVariant {
  return queries > 4 && headDim <= mostHeadDim(8) ? 8 : 4;
}

/** Workgroups that share the elements of a head. */
export const piecesOfHead = (headDim: number) => Math.ceil(headDim / (2 * PAIRS));

/** Words of the partials of a query. */
export const partialWords = (headDim: number) => headDim + 2;

/** @param subgroupSize Lanes that compare and add up without memory; null: all by memory. */
export function attentionKernels(subgroupSize: number | null): Readonly<Record<string, Kernel>> {
  return {
    "attention 4": attentionKernel(4, subgroupSize),
    "attention 8": attentionKernel(8, subgroupSize),
    joinAttention,
  };
}

const QUERIES = [
  ...SHAPE,
  "table",
  "q",
  "out",
  "heads",
  "window",
  "scale:f32",
  "firstPart",
  "parts",
  "partials",
];

const SEEN = /* wgsl */ `
/** The first position that a query at \`last\` sees. */
fn first_of(last: u32) -> u32 { return select(0u, last + 1u - p.window, p.window <= last); }
`;

/** Group x: key head and queries, y: part, z: elements. With one part, results; else partials. */
function attentionKernel(queries: QueryVariant, subgroupSize: number | null): Kernel {
  const lanes = Math.min(LANES, subgroupSize ?? LANES);
  const all = range(queries);
  /** The first half of the queries, then the other one. */
  const lines = (line: (q: number) => string, of = all) => of.map(line).join("\n        ");
  const add = (q: number) => `{
          let at = first + ${q}u;
          let isSeen = position - views[at].x <= views[at].y;
          sum${q} = select(sum${q}, fma(vec2<f32>(scores[at * ROW + slot]), value, sum${q}), isSeen);
        }`;
  return {
    name: `attention ${queries}`,
    kind: "kv",
    floats: "f32",
    second: "vec4<u32>",
    features: subgroupSize === null ? [] : ["subgroups"],
    params: QUERIES,
    code: /* wgsl */ `${PLACES}${SEEN}
const ROW = ${THREADS + LANES}u;
fn word(i: u32) -> u32 { return kv[i / 4u][i % 4u]; }
fn codes_of(word: u32) -> vec2<f32> {
  return vec2<f32>(f32(bitcast<i32>(word << 16u) >> 16u), f32(bitcast<i32>(word) >> 16u));
}
/** Elements of a query in pairs; its vector among all; the first position it sees, and how many follow. */
var<workgroup> query: array<vec2<f32>, ${(queries * mostHeadDim(queries)) / 2}>;
var<workgroup> vectors: array<u32, ${queries}>;
var<workgroup> views: array<vec2<u32>, ${queries}>;
/** Of a page: scores, then weights. Rows of queries are apart by more than they have, for the banks. */
var<workgroup> scores: array<f32, ${queries} * ROW>;
/** What sums so far are to be multiplied with; at the end, the sum of weights. */
var<workgroup> factors: array<f32, ${queries}>;
var<workgroup> joined: array<f32, ${queries * lanes}>;

/** The sum of a query, or a part of it. */
fn put(q: u32, firstQuery: u32, lastQuery: u32, part: u32, y: u32, pair: u32, sum: vec2<f32>) {
  let view = views[q];
  let isIn = firstQuery + q <= lastQuery && view.x < (part + 1u) * ${PART}u && view.x + view.y >= part * ${PART}u;
  if (!isIn || pair >= p.headDim / 2u) { return; }
  let isWhole = p.parts == 1u;
  let at = select(p.partials + (vectors[q] * p.parts + y) * (p.headDim + 2u), p.out + vectors[q] * p.headDim, isWhole);
  let result = select(sum, sum / factors[q], isWhole);
  floats[at + 2u * pair] = result.x;
  floats[at + 2u * pair + 1u] = result.y;
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let kvHead = group.x % p.kvHeads;
  let sharing = p.heads / p.kvHeads;
  let firstQuery = group.x / p.kvHeads * ${queries}u;
  let lastQuery = p.columns * sharing - 1u;
  let part = p.firstPart + group.y;
  let pairs = p.headDim / 2u;
  // Queries of a group are those of the heads at one column, then of the next. Beyond the last it is that one, for nothing.
  let firstSeen = first_of(p.position + firstQuery / sharing);
  let lastSeen = p.position + min(firstQuery + ${queries - 1}u, lastQuery) / sharing;
  let firstPage = max(part * ${PART_PAGES}u, firstSeen / PAGE);
  let lastPage = min(part * ${PART_PAGES}u + ${PART_PAGES - 1}u, lastSeen / PAGE);
  if (thread < ${queries}u) {
    let i = min(firstQuery + thread, lastQuery);
    let last = p.position + i / sharing;
    vectors[thread] = i / sharing * p.heads + kvHead * sharing + i % sharing;
    views[thread] = vec2<u32>(first_of(last), last - first_of(last));
  }
  workgroupBarrier();
  for (var i = thread; i < ${queries}u * pairs; i += ${THREADS}u) {
    let at = p.q + vectors[i / pairs] * p.headDim + i % pairs * 2u;
    query[i] = vec2<f32>(floats[at], floats[at + 1u]);
  }
  // The softmax of a query is made by ${lanes} threads, with every ${lanes}th position each.
  let mine = min(thread / ${lanes}u, ${queries - 1}u);
  let lane = thread % ${lanes}u;
  let isMaking = thread < ${queries * lanes}u;
  var most = LOWEST;
  var total = 0.0;
  // Heads of up to ${PAIRS} elements leave half of the threads over: each half takes half of the queries.
  let isHalved = pairs <= ${PAIRS / 2}u;
  let first = select(0u, thread / ${PAIRS / 2}u * ${queries / 2}u, isHalved);
  let pair = group.z * ${PAIRS}u + select(thread, thread % ${PAIRS / 2}u, isHalved);
  ${all.map((q) => `var sum${q} = vec2<f32>(0.0);`).join(" ")}
  for (var index = firstPage; index <= lastPage; index++) {
    let page = word(p.table + index);
    let start = index * PAGE;
    workgroupBarrier();
    {
      let position = start + thread;
      ${all.map((q) => `var score${q} = vec2<f32>(0.0);`).join(" ")}
      var step = 0.0;
      if (position >= firstSeen && position <= lastSeen) {
        let vector = vector_of(p.layer, kvHead, position);
        let codes = codes_at(page, 0u, vector) / 4u;
        step = bitcast<f32>(word(step_at(page, 0u, vector)));
        for (var i = 0u; i < pairs / 4u; i++) {
          let four = kv[codes + i];
          for (var j = 0u; j < 4u; j++) {
            let key = codes_of(four[j]);
            let at = 4u * i + j;
            ${lines((q) => `score${q} = fma(query[${q}u * pairs + at], key, score${q});`)}
          }
        }
      }
      ${lines((q) => `scores[${q}u * ROW + thread] = (score${q}.x + score${q}.y) * step * p.scale;`)}
    }
    workgroupBarrier();
    let view = views[mine];
    var here = LOWEST;
    for (var slot = lane; slot < PAGE; slot += ${lanes}u) {
      let score = scores[mine * ROW + slot];
      if (start + slot - view.x <= view.y && !is_nan(score)) { here = max(here, score); }
    }
    ${joinLanes("here", "max", lanes, subgroupSize)}
    let before = most;
    most = max(most, here);
    let rescale = exponential(before - most);
    total *= rescale;
    if (isMaking) {
      for (var slot = lane; slot < PAGE; slot += ${lanes}u) {
        var weight = 0.0;
        if (start + slot - view.x <= view.y) { weight = exponential(scores[mine * ROW + slot] - most); }
        scores[mine * ROW + slot] = weight;
        total += weight;
      }
      factors[mine] = rescale;
    }
    workgroupBarrier();
    ${lines((q) => `sum${q} *= factors[first + ${q}u];`, all.slice(0, queries / 2))}
    if (!isHalved) {
      ${lines((q) => `sum${q} *= factors[${q}u];`, all.slice(queries / 2))}
    }
    if (pair < pairs) {
      let vectors = vector_of(p.layer, kvHead, 0u);
      let begin = max(firstSeen, start) - start;
      let end = min(lastSeen, start + PAGE - 1u) - start;
      // What a query does not see may be no number: it must not be added, not even times 0.
      for (var slot = begin; slot <= end; slot++) {
        let position = start + slot;
        let value = codes_of(word(codes_at(page, 1u, vectors + slot) + pair)) * bitcast<f32>(word(step_at(page, 1u, vectors + slot)));
        ${lines(add, all.slice(0, queries / 2))}
        if (!isHalved) {
        ${lines(add, all.slice(queries / 2))}
        }
      }
    }
  }
  workgroupBarrier();
  ${joinLanes("total", "+", lanes, subgroupSize)}
  if (isMaking && lane == 0u) {
    factors[mine] = total;
    let view = views[mine];
    let isIn = firstQuery + mine <= lastQuery && view.x < (part + 1u) * ${PART}u && view.x + view.y >= part * ${PART}u;
    if (isIn && p.parts > 1u && group.z == 0u) {
      let at = p.partials + (vectors[mine] * p.parts + group.y) * (p.headDim + 2u) + p.headDim;
      floats[at] = most;
      floats[at + 1u] = total;
    }
  }
  workgroupBarrier();
  ${lines((q) => `put(first + ${q}u, firstQuery, lastQuery, part, group.y, pair, sum${q});`, all.slice(0, queries / 2))}
  if (!isHalved) {
    ${lines((q) => `put(${q}u, firstQuery, lastQuery, part, group.y, pair, sum${q});`, all.slice(queries / 2))}
  }
}`,
  };
}

/** Gives the lanes of a query the largest, or the sum, of what they have in `name`, in one order for all of them. */
function joinLanes(name: string, operation: "max" | "+", lanes: number, subgroupSize: number | null): string {
  const combine = (a: string, b: string) => (operation === "max" ? `max(${a}, ${b})` : `${a} + ${b}`);
  if (subgroupSize !== null) {
    const steps: string[] = [];
    for (let mask = 1; mask < lanes; mask *= 2) {
      steps.push(`${name} = ${combine(name, `subgroupShuffleXor(${name}, ${mask}u)`)};`);
    }
    return steps.join(" ");
  }
  return /* wgsl */ `if (isMaking) { joined[thread] = ${name}; }
    workgroupBarrier();
    ${name} = joined[mine * ${lanes}u];
    for (var i = 1u; i < ${lanes}u; i++) { ${name} = ${combine(name, `joined[mine * ${lanes}u + i]`)}; }
    workgroupBarrier();`;
}

/** Group x: head, y: column. */
const joinAttention: Kernel = {
  name: "joinAttention",
  kind: "floats",
  floats: "f32",
  params: QUERIES,
  code: /* wgsl */ `${SEEN}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let vector = group.y * p.heads + group.x;
  let last = p.position + group.y;
  let first = first_of(last);
  let words = p.headDim + 2u;
  let begin = p.partials + (vector * p.parts + first / ${PART}u - p.firstPart) * words;
  let end = p.partials + (vector * p.parts + last / ${PART}u - p.firstPart) * words;
  var most = floats[begin + p.headDim];
  for (var at = begin + words; at <= end; at += words) { most = max(most, floats[at + p.headDim]); }
  for (var d = thread; d < p.headDim; d += ${THREADS}u) {
    let rescale = exponential(floats[begin + p.headDim] - most);
    var sum = floats[begin + d] * rescale;
    var total = floats[begin + p.headDim + 1u] * rescale;
    for (var at = begin + words; at <= end; at += words) {
      let factor = exponential(floats[at + p.headDim] - most);
      sum = fma(floats[at + d], factor, sum);
      total = fma(floats[at + p.headDim + 1u], factor, total);
    }
    floats[p.out + vector * p.headDim + d] = sum / total;
  }
}`,
};
