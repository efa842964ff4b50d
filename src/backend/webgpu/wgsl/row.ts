/**
 * row: what can be said of a row of logits, in a few words read back; the formulas are in reference/row.ts.
 *
 * The kernels of a row run in at most GROUPS workgroups, whose results the next stage joins. Values are compared as
 * integers (`order_of`): exactly, whatever a driver makes of NaN.
 */
import type { Kernel } from "../kernel.ts";

/** Threads of a workgroup. */
const THREADS = 256;
/** Workgroups at most: what the next stage's threads can join. */
export const GROUPS = 64;

/** Workgroups for a row: a thread has four values or more. */
export const groupsOf = (count: number) => Math.min(GROUPS, Math.max(1, Math.ceil(count / (4 * THREADS))));

const rowKernel = (name: string, params: readonly string[], code: string): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params,
  code,
});

const MAIN = /* wgsl */ `@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32)`;

/** Values of a group's thread. */
const EACH = `for (var i = group.x * ${THREADS}u + thread; i < p.count; i += p.groups * ${THREADS}u)`;

/** Largest order and the lowest index that has it, of the workgroup, into best[0] and place[0]. */
const BEST = /* wgsl */ `
var<workgroup> best: array<u32, ${THREADS}>;
var<workgroup> place: array<u32, ${THREADS}>;
fn join_best(thread: u32) {
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) {
      let order = best[thread + half];
      let index = place[thread + half];
      if (order > best[thread] || (order == best[thread] && index < place[thread])) {
        best[thread] = order;
        place[thread] = index;
      }
    }
    workgroupBarrier();
  }
}`;

/** The largest order, and a sum, over a workgroup. */
export const JOIN = /* wgsl */ `
fn bits_of_order(order: u32) -> u32 { return select(~order, order & 0x7fffffffu, (order & 0x80000000u) != 0u); }
var<workgroup> orders: array<u32, ${THREADS}>;
fn join_largest(thread: u32) -> u32 {
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { orders[thread] = max(orders[thread], orders[thread + half]); }
    workgroupBarrier();
  }
  return orders[0];
}
var<workgroup> sums: array<f32, ${THREADS}>;
fn join_sum(thread: u32) -> f32 {
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  return sums[0];
}`;

/** The largest value, NaN above all so that it is not lost, and sums of exponentials. */
const LARGEST = /* wgsl */ `${JOIN}
fn order_with_nan(bits: u32) -> u32 { return select(order_of(bits), 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u); }
/** The largest of all groups, which the stage before has left. */
fn largest_of_all(thread: u32) -> u32 {
  orders[thread] = 0u;
  if (thread < p.groups) { orders[thread] = floats[p.scratch + thread]; }
  return join_largest(thread);
}
/** Infinite or no number: a sum of exponentials makes no sense of it. */
fn is_odd(order: u32) -> bool { return order == 0u || order >= 0xff800000u; }
fn weight_of(bits: u32, largest: f32, inverse: f32) -> f32 {
  if (bits == 0xff800000u) { return 0.0; }
  return exponential((bitcast<f32>(bits) - largest) * inverse);
}`;

const ROW = ["x", "count", "groups", "scratch"];

export const rowKernels: Readonly<Record<string, Kernel>> = {
  /** Scratch: per group an order and an index. */
  argmaxParts: rowKernel(
    "argmaxParts",
    ROW,
    /* wgsl */ `${BEST}
${MAIN} {
  var order = 0u;
  var index = 0u;
  ${EACH} {
    let here = order_of(floats[p.x + i]);
    if (here > order) { order = here; index = i; }
  }
  best[thread] = order;
  place[thread] = index;
  join_best(thread);
  if (thread == 0u) {
    floats[p.scratch + 2u * group.x] = best[0];
    floats[p.scratch + 2u * group.x + 1u] = place[0];
  }
}`,
  ),
  /** Result: the index. */
  argmax: rowKernel(
    "argmax",
    [...ROW, "result"],
    /* wgsl */ `${BEST}
${MAIN} {
  best[thread] = 0u;
  place[thread] = 0u;
  if (thread < p.groups) {
    best[thread] = floats[p.scratch + 2u * thread];
    place[thread] = floats[p.scratch + 2u * thread + 1u];
  }
  join_best(thread);
  if (thread == 0u) { floats[p.result] = place[0]; }
}`,
  ),
  /** Scratch: per group the order of its largest value. */
  largest: rowKernel(
    "largest",
    ROW,
    /* wgsl */ `${LARGEST}
${MAIN} {
  var order = 0u;
  ${EACH} { order = max(order, order_with_nan(floats[p.x + i])); }
  orders[thread] = order;
  let most = join_largest(thread);
  if (thread == 0u) { floats[p.scratch + group.x] = most; }
}`,
  ),
  /** Scratch, behind the orders: per group Σ exp((x − largest) · inverse). */
  expSums: rowKernel(
    "expSums",
    [...ROW, "inverse:f32"],
    /* wgsl */ `${LARGEST}
${MAIN} {
  let largest = bitcast<f32>(bits_of_order(largest_of_all(thread)));
  var sum = 0.0;
  ${EACH} { sum += weight_of(floats[p.x + i], largest, p.inverse); }
  sums[thread] = sum;
  let total = join_sum(thread);
  if (thread == 0u) { floats[p.scratch + ${GROUPS}u + group.x] = bitcast<u32>(total); }
}`,
  ),
  /** Result: bits of the largest value, NaN if there is one, and the sum. */
  logSumExp: rowKernel(
    "logSumExp",
    [...ROW, "result"],
    /* wgsl */ `${LARGEST}
${MAIN} {
  let order = largest_of_all(thread);
  sums[thread] = 0.0;
  if (thread < p.groups) { sums[thread] = bitcast<f32>(floats[p.scratch + ${GROUPS}u + thread]); }
  let total = join_sum(thread);
  if (thread == 0u) {
    floats[p.result] = select(bits_of_order(order), 0xff800000u, order == 0u);
    floats[p.result + 1u] = bitcast<u32>(total);
  }
}`,
  ),
  softmax: rowKernel(
    "softmax",
    [...ROW, "out"],
    /* wgsl */ `${LARGEST}
${MAIN} {
  let order = largest_of_all(thread);
  let largest = bitcast<f32>(bits_of_order(order));
  sums[thread] = 0.0;
  if (thread < p.groups) { sums[thread] = bitcast<f32>(floats[p.scratch + ${GROUPS}u + thread]); }
  let total = join_sum(thread);
  ${EACH} {
    var bits = 0x7fc00000u;
    if (!is_odd(order)) { bits = bitcast<u32>(weight_of(floats[p.x + i], largest, 1.0) / total); }
    floats[p.out + i] = bits;
  }
}`,
  ),
};
