/** list: the best tokens of a row, and the sum of the weights of all others. */
import { LIST_HEAD_WORDS } from "../../draw-kernels.ts";
import type { Kernel } from "../kernel.ts";
import { radixSelect } from "./radix.ts";
import { MAIN, THREADS, taskKernel } from "./task.ts";

/** What `takeBest` needs, and sums over the tokens of a row whose orders are in a range. */
export const TAKE = /* wgsl */ `
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> taken: atomic<u32>;
var<workgroup> found: array<u32, 2>;
struct Row { x: u32, mask: u32, count: u32, largest: f32, inverse: f32 }
struct Span { mass: f32, count: u32 }
/** Of a thread's tokens with low ≤ order < high: Σ exp((logit − largest) · inverse), in sums of 32, and how many they are. */
fn mass_between(thread: u32, row: Row, low: u32, high: u32) -> Span {
  var span = Span(0.0, 0u);
  for (var begin = thread; begin < row.count; begin += 32u * ${THREADS}u) {
    var part = 0.0;
    for (var i = 0u; i < 32u; i++) {
      let id = begin + i * ${THREADS}u;
      if (id >= row.count) { break; }
      let order = order_at(row.x, row.mask, id);
      if (order < low || order >= high) { continue; }
      part += weight_of(order, row.largest, row.inverse);
      span.count++;
    }
    span.mass += part;
  }
  return span;
}
/** Σ exp((logit − largest) · inverse) of the tokens that are not taken: below \`prefix\`, and \`missed\` of those that have it. */
fn rest_of(thread: u32, row: Row, prefix: u32, missed: u32) -> f32 {
  var mass = mass_between(thread, row, 1u, prefix).mass;
  if (missed > 0u) { mass += f32(missed) * weight_of(prefix, row.largest, row.inverse); }
  sums[thread] = mass;
  return join_sum(thread);
}`;

/**
 * Takes the `wanted` best of `count` tokens, in any order, by one group: those above the order of the last of them, `prefix`,
 * and of those that have it the lowest ids. Leaves how many of these a thread has not taken, in `missed`.
 *
 * @param put What is done with a token `id`, of `order`, that is taken as number `at`.
 */
export const takeBest = (put: string): string => /* wgsl */ `
  ${radixSelect({ count: "count", wanted: "wanted", order: "order_at(x, mask, id)" })}
  // Thread by thread a stretch of the row: ties are taken in order of their ids.
  let stretch = (count + ${THREADS - 1}u) / ${THREADS}u;
  let begin = min(thread * stretch, count);
  let end = min(begin + stretch, count);
  var here = 0u;
  for (var id = begin; id < end; id++) { if (order_at(x, mask, id) == prefix) { here++; } }
  orders[thread] = here;
  if (thread == 0u) { atomicStore(&taken, 0u); }
  workgroupBarrier();
  var before = 0u;
  for (var t = 0u; t < thread; t++) { before += orders[t]; }
  var missed = 0u;
  for (var id = begin; id < end; id++) {
    let order = order_at(x, mask, id);
    var isTaken = order > prefix;
    if (order == prefix && order > 0u) {
      isTaken = before < left;
      before++;
      missed += select(1u, 0u, isTaken);
    }
    if (isTaken) {
      let at = atomicAdd(&taken, 1u);
      ${put}
    }
  }
  workgroupBarrier();`;

export const listKernels: Readonly<Record<string, Kernel>> = {
  /**
   * One group per row, of rows that want a list. Result: how many, the largest logit, the sum of the others, in the head of
   * the list; then pairs of an id and the bits of its logit.
   */
  drawList: taskKernel(
    "drawList",
    /* wgsl */ `${TAKE}
${MAIN} {
  let x = task(group.y, X);
  let mask = task(group.y, MASK);
  let wanted = task(group.y, LIST);
  let inverse = bitcast<f32>(task(group.y, INVERSE));
  let count = select(p.count, 0u, wanted == 0u);
  let result = task(group.y, RESULT);
  var most = 0u;
  ${takeBest(/* wgsl */ `
      let to = result + ${LIST_HEAD_WORDS}u + 2u * at;
      floats[to] = id;
      floats[to + 1u] = floats[x + id];
      most = max(most, order);`)}
  orders[thread] = most;
  let best = join_largest(thread);
  let rest = rest_of(thread, Row(x, mask, select(count, 0u, inverse == 0.0), value_of(best), inverse), prefix, missed);
  if (thread > 0u || wanted == 0u) { return; }
  floats[result] = atomicLoad(&taken);
  floats[result + 1u] = select(bits_of_order(best), 0xff800000u, best == 0u);
  floats[result + 2u] = bitcast<u32>(rest);
}`,
  ),
};
