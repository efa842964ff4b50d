/** ranks: a list of tokens that stays in a workgroup, best first, of equal ones the lower id; and sums along it. */
import { LISTED, THREADS } from "./task.ts";

/** Ranks of a thread in sums. */
export const OWN = LISTED / THREADS;

/** `list_orders` and `list_ids`: what is cleared, filled in any order, and sorted. */
export const SORT = /* wgsl */ `
var<workgroup> list_orders: array<u32, ${LISTED}>;
var<workgroup> list_ids: array<u32, ${LISTED}>;
var<workgroup> sort_length: u32;
fn clear_list(thread: u32) {
  for (var rank = thread; rank < ${LISTED}u; rank += ${THREADS}u) {
    list_orders[rank] = 0u;
    list_ids[rank] = 0xffffffffu;
  }
}
/** A bitonic network over a power of two. */
fn sort_list(thread: u32, listed: u32) {
  if (thread == 0u) {
    sort_length = 1u;
    while (sort_length < listed) { sort_length *= 2u; }
  }
  let length = workgroupUniformLoad(&sort_length);
  for (var size = 2u; size <= length; size *= 2u) {
    for (var stride = size / 2u; stride > 0u; stride /= 2u) {
      for (var pair = thread; pair < length / 2u; pair += ${THREADS}u) {
        let a = 2u * pair - (pair & (stride - 1u));
        let b = a + stride;
        let order = list_orders[a];
        let other = list_orders[b];
        let isLater = order < other || (order == other && list_ids[a] > list_ids[b]);
        if (isLater == ((a & size) == 0u)) {
          list_orders[a] = other;
          list_orders[b] = order;
          let id = list_ids[a];
          list_ids[a] = list_ids[b];
          list_ids[b] = id;
        }
      }
      workgroupBarrier();
    }
  }
}`;

/** For a kernel that has TWO_BEST, whose scores are not needed yet. */
export const MASS = /* wgsl */ `
/** Sums of a number per thread: of those before the thread, and of those behind it. */
fn sums_around(thread: u32, own: f32) -> vec2<f32> {
  first[thread] = own;
  second[thread] = own;
  workgroupBarrier();
  for (var step = 1u; step < ${THREADS}u; step *= 2u) {
    var head = first[thread];
    var tail = second[thread];
    if (thread >= step) { head += first[thread - step]; }
    if (thread + step < ${THREADS}u) { tail += second[thread + step]; }
    workgroupBarrier();
    first[thread] = head;
    second[thread] = tail;
    workgroupBarrier();
  }
  var around = vec2<f32>(0.0);
  if (thread > 0u) { around.x = first[thread - 1u]; }
  if (thread < ${THREADS - 1}u) { around.y = second[thread + 1u]; }
  workgroupBarrier();
  return around;
}`;
