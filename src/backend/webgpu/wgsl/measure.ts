/**
 * measure: numbers read off rows of a fusion; the formulas are in reference/fuse/measure.ts.
 *
 *     fuseTops, then others that start from it      at most GROUPS workgroups, a part of the result each
 *     fuseExtremes, fuseJoin                        one workgroup, which joins the parts
 *
 * Values are compared as integers (`order_of`), exactly.
 *
 * Accuracy  f32: sums of a thread's tokens, of 256 threads, of 64 groups, hence some 20 roundings whatever the vocabulary.
 */
import type { Kernel } from "../kernel.ts";
import { NONE } from "./fuse.ts";
import { radixSelect } from "./radix.ts";

export const MEASURE_THREADS = 256;
/** Workgroups at most: what one workgroup joins. */
export const MEASURE_GROUPS = 64;
/** Words of a part of `fuseTops`. */
export const TOPS_WIDTH = 6;
/** Words that `fuseExtremes` gives: those, and the bits of what is wrong. */
export const EXTREMES_WIDTH = 7;

/** Workgroups for a row: a thread has four tokens or more. */
export const measureGroups = (count: number) =>
  Math.min(MEASURE_GROUPS, Math.max(1, Math.ceil(count / (4 * MEASURE_THREADS))));

const kernel = (name: string, params: readonly string[], code: string): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params,
  code,
});

const main = (threads: number) => /* wgsl */ `@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32)`;

/** Tokens of a thread. */
export const EACH = `for (var i = group.x * ${MEASURE_THREADS}u + thread; i < p.count; i += p.groups * ${MEASURE_THREADS}u)`;

/** What a workgroup has in common. */
export const JOIN = /* wgsl */ `
var<workgroup> sums: array<f32, ${MEASURE_THREADS}>;
fn join_sum(thread: u32, value: f32) -> f32 {
  workgroupBarrier();
  sums[thread] = value;
  workgroupBarrier();
  for (var half = ${MEASURE_THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  return sums[0];
}
var<workgroup> orders: array<u32, ${MEASURE_THREADS}>;
fn join_most(thread: u32, order: u32) -> u32 {
  workgroupBarrier();
  orders[thread] = order;
  workgroupBarrier();
  for (var half = ${MEASURE_THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { orders[thread] = max(orders[thread], orders[thread + half]); }
    workgroupBarrier();
  }
  return orders[0];
}
/** The sum, or the largest order, of one word of all parts. */
fn sum_of(thread: u32, parts: u32, width: u32) -> f32 {
  var part = 0.0;
  if (thread < p.groups) { part = bitcast<f32>(floats[parts + thread * width]); }
  return join_sum(thread, part);
}
fn most_of(thread: u32, parts: u32, width: u32) -> u32 {
  var part = 0u;
  if (thread < p.groups) { part = floats[parts + thread * width]; }
  return join_most(thread, part);
}
fn value_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & 0x7fffffffu, (order & 0x80000000u) != 0u));
}`;

/**
 * Sums over all tokens: \`each\` adds to s0, s1, …, of which each workgroup leaves its part.
 *
 * @param before Before the tokens; all threads.
 */
export function sumsKernel(
  name: string,
  params: readonly string[],
  { width, before, each }: { width: number; before: string; each: string },
): Kernel {
  const all = Array.from({ length: width }, (_, k) => `s${k}`);
  return kernel(
    name,
    ["count", "groups", "parts", ...params],
    /* wgsl */ `${JOIN}
${main(MEASURE_THREADS)} {
  ${before}
  ${all.map((s) => `var ${s} = 0.0;`).join(" ")}
  ${EACH} { ${each} }
  let at = p.parts + (group.y * p.groups + group.x) * ${width}u;
  ${all
    .map(
      (s, k) => `let t${k} = join_sum(thread, ${s});
  if (thread == 0u) { floats[at + ${k}u] = bitcast<u32>(t${k}); }`,
    )
    .join("\n  ")}
}`,
  );
}

/** The largest and what is known with it; parts of the same shape. */
const TOPS = /* wgsl */ `
struct Tops { order: u32, index: u32, second: u32, least: u32, count: u32, bad: u32 }
const NO_TOPS = Tops(0u, 0xffffffffu, 0u, 0xffffffffu, 0u, 0xffffffffu);
fn merged(a: Tops, b: Tops) -> Tops {
  let isA = a.order > b.order || (a.order == b.order && a.index < b.index);
  return Tops(
    max(a.order, b.order),
    select(b.index, a.index, isA),
    max(max(a.second, b.second), select(a.order, b.order, isA)),
    min(a.least, b.least),
    a.count + b.count,
    min(a.bad, b.bad),
  );
}
fn write_tops(at: u32, t: Tops) {
  floats[at] = t.order;
  floats[at + 1u] = t.index;
  floats[at + 2u] = t.second;
  floats[at + 3u] = t.least;
  floats[at + 4u] = t.count;
  floats[at + 5u] = t.bad;
}`;

const joinTops = (threads: number) => /* wgsl */ `${TOPS}
var<workgroup> tops: array<Tops, ${threads}>;
fn join_tops(thread: u32, own: Tops) -> Tops {
  tops[thread] = own;
  workgroupBarrier();
  for (var half = ${threads / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { tops[thread] = merged(tops[thread], tops[thread + half]); }
    workgroupBarrier();
  }
  return tops[0];
}`;

export const fuseTops = kernel(
  "fuseTops",
  ["x", "count", "groups", "parts"],
  /* wgsl */ `${joinTops(MEASURE_THREADS)}
${main(MEASURE_THREADS)} {
  var own = NO_TOPS;
  ${EACH} {
    let bits = floats[p.x + i];
    let order = order_of(bits);
    let isBad = bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
    own = merged(own, Tops(order, i, 0u, order, select(0u, 1u, order > 0u), select(0xffffffffu, i, isBad)));
  }
  let all = join_tops(thread, own);
  if (thread == 0u) { write_tops(p.parts + group.x * ${TOPS_WIDTH}u, all); }
}`,
);

/** Result: order and index of the largest, orders of the second and of the least, how many are possible, the first wrong one. */
export const fuseExtremes = kernel(
  "fuseExtremes",
  ["x", "groups", "parts", "result"],
  /* wgsl */ `${joinTops(MEASURE_GROUPS)}
${main(MEASURE_GROUPS)} {
  var own = NO_TOPS;
  if (thread < p.groups) {
    let at = p.parts + thread * ${TOPS_WIDTH}u;
    own = Tops(floats[at], floats[at + 1u], floats[at + 2u], floats[at + 3u], floats[at + 4u], floats[at + 5u]);
  }
  let all = join_tops(thread, own);
  if (thread == 0u) {
    write_tops(p.result, all);
    floats[p.result + 6u] = 0u;
    if (all.bad != 0xffffffffu) { floats[p.result + 6u] = floats[p.x + all.bad]; }
  }
}`,
);

/** Sums of parts, \`width\` of them at most 64; a workgroup for each set of parts. */
export const fuseJoin = kernel(
  "fuseJoin",
  ["parts", "groups", "width", "result"],
  /* wgsl */ `
${main(64)} {
  if (thread >= p.width) { return; }
  let parts = p.parts + group.x * p.groups * p.width + thread;
  var sum = 0.0;
  for (var g = 0u; g < p.groups; g++) { sum += bitcast<f32>(floats[parts + g * p.width]); }
  floats[p.result + group.x * p.width + thread] = bitcast<u32>(sum);
}`,
);

/** Of possible tokens first Σ (z − top), then, from these sums, the squares of what is beside their mean. */
export const fuseMoment = sumsKernel("fuseMoment", ["x", "tops", "before", "isSecond"], {
  width: 1,
  before: `let top = value_of(most_of(thread, p.tops, ${TOPS_WIDTH}u));
  var count = 0.0;
  if (thread < p.groups) { count = f32(floats[p.tops + thread * ${TOPS_WIDTH}u + 4u]); }
  let all = join_sum(thread, count);
  let sum = sum_of(thread, p.before, 1u);
  let mean = select(0.0, sum / max(all, 1.0), p.isSecond == 1u);`,
  each: `let bits = floats[p.x + i];
    let beside = bitcast<f32>(bits) - top - mean;
    if (bits != ${NONE}) { s0 += select(beside, beside * beside, p.isSecond == 1u); }`,
});

/** With x = (z − top) · inverse, e = exp(x): Σ e, Σ x·e, Σ e², Σ x·e². */
export const fusePartition = sumsKernel("fusePartition", ["x", "tops", "inverse:f32"], {
  width: 4,
  before: `let top = value_of(most_of(thread, p.tops, ${TOPS_WIDTH}u));`,
  each: `let bits = floats[p.x + i];
    if (bits != ${NONE}) {
      let x = (bitcast<f32>(bits) - top) * p.inverse;
      let e = exponential(x);
      if (e > 0.0) { s0 += e; s1 += x * e; s2 += e * e; s3 += x * e * e; }
    }`,
});

/** Of two rows whose partitions are in parts: Σ |p − q|, Σ p·(ln p − ln q) but for the partitions, tokens that only p has. */
export const fuseDistance = sumsKernel("fuseDistance", ["a", "topsA", "sumA", "b", "topsB", "sumB"], {
  width: 3,
  before: `let topA = value_of(most_of(thread, p.topsA, ${TOPS_WIDTH}u));
  let topB = value_of(most_of(thread, p.topsB, ${TOPS_WIDTH}u));
  let massA = sum_of(thread, p.sumA, 4u);
  let massB = sum_of(thread, p.sumB, 4u);`,
  each: `let bitsA = floats[p.a + i];
    let bitsB = floats[p.b + i];
    let a = bitcast<f32>(bitsA) - topA;
    let b = bitcast<f32>(bitsB) - topB;
    var shareA = 0.0;
    var shareB = 0.0;
    if (bitsA != ${NONE}) { shareA = exponential(a) / massA; }
    if (bitsB != ${NONE}) { shareB = exponential(b) / massB; }
    s0 += abs(shareA - shareB);
    if (bitsA != ${NONE}) {
      if (bitsB == ${NONE}) { s2 += select(0.0, 1.0, a > -700.0); }
      else if (shareA > 0.0) { s1 += shareA * (a - b); }
    }`,
});

/** Tokens before another one. */
export const fuseRank = sumsKernel("fuseRank", ["x", "token"], {
  width: 1,
  before: "let own = order_of(floats[p.x + p.token]);",
  each: `let order = order_of(floats[p.x + i]);
    if (order > own || (order == own && i < p.token)) { s0 += 1.0; }`,
});

/** The place of the \`wanted\`-th of those with an order, in order of id. All threads. */
const TIE = /* wgsl */ `
var<workgroup> ties: array<u32, ${MEASURE_THREADS}>;
fn write_tie(thread: u32, order: u32, wanted: u32, result: u32) {
  let stretch = (p.count + ${MEASURE_THREADS - 1}u) / ${MEASURE_THREADS}u;
  let begin = min(thread * stretch, p.count);
  let end = min(begin + stretch, p.count);
  var here = 0u;
  for (var i = begin; i < end; i++) { if (order_of(floats[p.x + i]) == order) { here++; } }
  ties[thread] = here;
  workgroupBarrier();
  var before = 0u;
  for (var t = 0u; t < thread; t++) { before += ties[t]; }
  if (before >= wanted || before + here < wanted) { return; }
  for (var i = begin; i < end; i++) {
    if (order_of(floats[p.x + i]) != order) { continue; }
    before++;
    if (before == wanted) { floats[result] = i; }
  }
}`;

/** How many are possible at all: no more can be wanted. */
const COUNT_ALL = /* wgsl */ `if (byte == 0u) {
        var all = 0u;
        for (var b = 0u; b < 256u; b++) { all += atomicLoad(&counts[b]); }
        left = min(left, all);
        found[2] = all;
      }`;

/**
 * The k-th largest, by the bytes of its order. One workgroup.
 *
 * Result: its order, the last id that is among the k, and how many are possible at all.
 */
export const fuseFloor = kernel(
  "fuseFloor",
  ["x", "count", "k", "result"],
  /* wgsl */ `${TIE}
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> found: array<u32, 3>;
${main(MEASURE_THREADS)} {
${radixSelect({
  count: "p.count",
  wanted: "p.k",
  order: "order_of(floats[p.x + id])",
  first: COUNT_ALL,
})}
  if (thread == 0u) {
    floats[p.result] = prefix;
    floats[p.result + 2u] = found[2];
  }
  write_tie(thread, prefix, left, p.result + 1u);
}`,
);

/**
 * Where weights exp((z − top) · inverse), best first, reach a share of their sum: the order found bit by bit. One workgroup.
 *
 * Result: as of fuseFloor.
 */
export const fuseNucleus = kernel(
  "fuseNucleus",
  ["x", "count", "groups", "tops", "inverse:f32", "share:f32", "result"],
  /* wgsl */ `${JOIN}
${TIE}
fn weight(bits: u32, top: f32) -> f32 {
  if (bits == ${NONE}) { return 0.0; }
  return exponential((bitcast<f32>(bits) - top) * p.inverse);
}
/** Of tokens whose order is \`least\` or above. */
fn mass(thread: u32, least: u32, top: f32) -> f32 {
  var sum = 0.0;
  for (var i = thread; i < p.count; i += ${MEASURE_THREADS}u) {
    let bits = floats[p.x + i];
    if (order_of(bits) >= least) { sum += weight(bits, top); }
  }
  return join_sum(thread, sum);
}
${main(MEASURE_THREADS)} {
  let most = most_of(thread, p.tops, ${TOPS_WIDTH}u);
  let top = value_of(most);
  let goal = p.share * mass(thread, 1u, top);
  var floor = 0u;
  for (var bit = 0u; bit < 32u; bit++) {
    let candidate = floor | (0x80000000u >> bit);
    if (mass(thread, candidate, top) >= goal) { floor = candidate; }
  }
  let above = mass(thread, floor + 1u, top);
  var same = 0.0;
  var possible = 0.0;
  for (var i = thread; i < p.count; i += ${MEASURE_THREADS}u) {
    let order = order_of(floats[p.x + i]);
    same += select(0.0, 1.0, order == floor);
    possible += select(0.0, 1.0, order > 0u);
  }
  let ties = join_sum(thread, same);
  let all = join_sum(thread, possible);
  let each = exponential((value_of(floor) - top) * p.inverse);
  var wanted = ties;
  if (each > 0.0) { wanted = clamp(ceil((goal - above) / each), 1.0, max(ties, 1.0)); }
  if (thread == 0u) {
    floats[p.result] = floor;
    floats[p.result + 2u] = u32(all);
  }
  write_tie(thread, floor, u32(wanted), p.result + 1u);
}`,
);
