/** best: the largest two of what the threads of a workgroup have found, and whose the largest is. */
import { THREADS } from "./task.ts";

/** Of orders; of equal ones the lowest id. */
export const TWO_LARGEST = /* wgsl */ `
var<workgroup> largest_orders: array<u32, ${THREADS}>;
var<workgroup> second_orders: array<u32, ${THREADS}>;
var<workgroup> places: array<u32, ${THREADS}>;
/** Into the first element of each: the largest, the lowest id that has it, and the second. */
fn join_two_largest(thread: u32) {
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) {
      let order = largest_orders[thread + half];
      let id = places[thread + half];
      let seconds = max(second_orders[thread], second_orders[thread + half]);
      second_orders[thread] = max(seconds, min(largest_orders[thread], order));
      if (order > largest_orders[thread] || (order == largest_orders[thread] && id < places[thread])) {
        largest_orders[thread] = order;
        places[thread] = id;
      }
    }
    workgroupBarrier();
  }
}`;

/** Of scores. */
export const TWO_BEST = /* wgsl */ `
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
