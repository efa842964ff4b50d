/**
 * cut: top-k, top-p and min-p on the best tokens of a row, one after the other, and the race over what they leave.
 *
 *     take    the LISTED best tokens, or as many as top-k needs; the sum of all others, if top-p is the first cut. If these
 *             have less than the mass it wants, the tokens around the place where it ends (wgsl/window.ts)
 *     sort    best first, of equal ones the lower id: each cut leaves the first `kept` of them
 *     cut     top-k   kept = k                              with ties "all" also what equals the last
 *             min-p   logit ≥ largest − reach               reach = −T ln p
 *             top-p   all before which (1 − p) · head < p · tail, head and tail the mass before a token and from it on
 *             what a later cut leaves of the list ends there, wherever one before it does
 *     race    as in wgsl/draw.ts, over the list; around a window over the row
 *
 * What rounding might decide is not told: a logit too near to min-p's bar, the two sides of top-p too near to each other, a
 * changed logit too near to one on the other side of a cut; nor where it ends, if it is no token of the list.
 *
 * Accuracy  ../sum-error.ts; errors of head and tail count with 1 − p and p alone, as both sides have the same unit.
 * Cost      one group of 256 threads per row: six passes over the row, two over 1024 tokens that stay in the group; for a
 *           window some twenty passes more.
 */
import { STAGE } from "../../../philox.ts";
import type { Kernel } from "../kernel.ts";
import { LEAST_ADDITIONS, ROUNDING_OF_SUM, TOKENS_PER_ADDITION } from "../sum-error.ts";
import { TWO_BEST } from "./best.ts";
import { TAKE, takeBest } from "./list.ts";
import { PHILOX } from "./philox.ts";
import { MASS, OWN, SORT } from "./ranks.ts";
import { CUT_WORDS, CUTS, HIGHEST_GUMBEL, LISTED, MAIN, SCANNED, THREADS, taskKernel } from "./task.ts";
import { WINDOW } from "./window.ts";

const ENDS = /* wgsl */ `
/** How far rounding may have moved logits up to \`most\` against each other. */
fn slack_of(row: u32, most: f32) -> f32 {
  return 2.0 * bitcast<f32>(task(row, ROUNDING)) * (abs(most) + bitcast<f32>(task(row, CHANGE)));
}
/** Whether all that is left by cuts behind the first, up to the next top-p, is among the best that are listed. */
fn ends_in(listed: u32, row: u32) -> bool {
  let below = value_of(list_orders[listed - 1u]) - value_of(list_orders[0]);
  for (var c = 1u; c < task(row, CUT_COUNT); c++) {
    let cut = task(row, CUTS) + ${CUT_WORDS}u * c;
    if (floats[cut] == ${CUTS["top-p"]}u) { return false; }
    if (floats[cut] == ${CUTS["top-k"]}u && floats[cut + 1u] < listed) { return true; }
    if (floats[cut] == ${CUTS["min-p"]}u && below + bitcast<f32>(floats[cut + 1u]) < 0.0) { return true; }
  }
  return false;
}`;

const RACE = /* wgsl */ `
/**
 * Leaves the two best scores and the winner of the race over what the cuts leave, and in \`sums\` parts of their mass. With a
 * \`count\` these are the tokens of the row down to the last of the list that is kept, without one those of the list.
 */
fn race(thread: u32, row: u32, largest: f32, kept: u32, count: u32) {
  let x = task(row, X);
  let mask = task(row, MASK);
  let inverse = bitcast<f32>(task(row, INVERSE));
  let key = vec2<u32>(task(row, SEED_LOW), task(row, SEED_HIGH));
  let least = list_orders[max(kept, 1u) - 1u];
  let last = list_ids[max(kept, 1u) - 1u];
  var total = 0.0;
  var best = LOWEST;
  var next = LOWEST;
  var token = 0u;
  for (var i = thread; i < select(count, kept, count == 0u); i += ${THREADS}u) {
    var id = i;
    var order = 0u;
    if (count > 0u) { order = order_at(x, mask, id); }
    else {
      id = list_ids[i];
      order = list_orders[i];
    }
    if (order < least || (order == least && id > last)) { continue; }
    let scaled = max((value_of(order) - largest) * inverse, -1e30);
    total += exponential(scaled);
    if (scaled + ${HIGHEST_GUMBEL} < next) { continue; }
    let words = philox(vec4<u32>(task(row, POSITION), ${STAGE.gumbel}u, id >> 2u, 0u), key);
    let score = scaled + gumbel(words[id & 3u]);
    if (score > best) {
      next = best;
      best = score;
      token = id;
    } else { next = max(next, score); }
  }
  first[thread] = best;
  second[thread] = next;
  winner[thread] = token;
  sums[thread] = total;
  join_two_best(thread);
}`;

export const cutKernels: Readonly<Record<string, Kernel>> = {
  /**
   * One group per row, of rows that have cuts.
   *
   * Result: RESULT_WORDS words as of drawJoin, but whether it is in doubt for the second order, and behind the sum how many
   * tokens the first cut leaves, 0 if that is not known. Of a row that is scanned what its law needs; in doubt, an infinite
   * largest logit.
   */
  drawCut: taskKernel(
    "drawCut",
    /* wgsl */ `${PHILOX}${TWO_BEST}${TAKE}${SORT}${WINDOW}${MASS}${ENDS}${RACE}
var<workgroup> is_flat: u32;
var<workgroup> cut_count: u32;
var<workgroup> cut_kind: u32;
var<workgroup> doubts: atomic<u32>;
${MAIN} {
  let x = task(group.y, X);
  let mask = task(group.y, MASK);
  let wanted = task(group.y, CUT_LIST);
  let count = select(p.count, 0u, wanted == 0u);
  let isChanged = task(group.y, ROUNDING) != 0u;
  clear_list(thread);
  if (thread == 0u) {
    cut_count = task(group.y, CUT_COUNT);
    atomicStore(&doubts, 0u);
  }
  ${takeBest(/* wgsl */ `
      list_orders[at] = order;
      list_ids[at] = id;`)}
  var listed = atomicLoad(&taken);
  sort_list(thread, listed);
  let largest = value_of(list_orders[0]);
  let top = select(bits_of_order(list_orders[0]), 0xff800000u, listed == 0u);
  // Tokens that are not listed may still be among those that are left.
  var isOpen = listed == wanted && wanted < p.count;
  let first_cut = task(group.y, CUTS);
  let isTopP = isOpen && floats[first_cut] == ${CUTS["top-p"]}u;
  let share = bitcast<f32>(floats[first_cut + 1u]);
  let row = Row(x, mask, select(0u, count, isTopP), largest, bitcast<f32>(floats[first_cut + 3u]));
  var rest = rest_of(thread, row, prefix, missed);
  // Mass and number of the tokens above those listed.
  var above = 0.0;
  var offset = 0u;
  workgroupBarrier();
  sums[thread] = 0.0;
  for (var rank = thread; isTopP && rank < listed; rank += ${THREADS}u) {
    sums[thread] += weight_of(list_orders[rank], largest, row.inverse);
  }
  let mass_listed = join_sum(thread);
  let rest_error = (${LEAST_ADDITIONS}.0 + f32(p.count) / ${TOKENS_PER_ADDITION}.0) * ${ROUNDING_OF_SUM};
  if (thread == 0u) { is_flat = select(0u, 1u, isTopP && mass_listed < share * (mass_listed + rest) && !ends_in(listed, group.y)); }
  let isFlat = workgroupUniformLoad(&is_flat) == 1u;
  if (isFlat) {
    let window = find_window(thread, row, prefix + 1u, share);
    above = window.above;
    offset = window.before;
    rest = window.rest;
    listed = take_window(thread, row, window);
    if (listed > ${LISTED}u) { atomicStore(&doubts, 1u); }
    listed = min(listed, ${LISTED}u);
    sort_list(thread, listed);
  }
  var kept = listed;
  var needed = 0u;
  let cutCount = workgroupUniformLoad(&cut_count);
  for (var c = 0u; c < cutCount; c++) {
    let cut = task(group.y, CUTS) + ${CUT_WORDS}u * c;
    if (thread == 0u) { cut_kind = floats[cut]; }
    let kind = workgroupUniformLoad(&cut_kind);
    let value = bitcast<f32>(floats[cut + 1u]);
    let complement = bitcast<f32>(floats[cut + 2u]);
    let heat = bitcast<f32>(floats[cut + 3u]);
    let error = bitcast<f32>(floats[cut + 4u]);
    var weights = vec4<f32>(0.0);
    var around = vec2<f32>(0.0);
    if (kind == ${CUTS["top-p"]}u) {
      for (var j = 0u; j < ${OWN}u; j++) {
        let rank = ${OWN}u * thread + j;
        if (rank < kept) { weights[j] = weight_of(list_orders[rank], largest, heat); }
      }
      around = sums_around(thread, (weights.x + weights.y) + (weights.z + weights.w));
    }
    var head = around.x + above;
    let behind = around.y + select(0.0, rest, isOpen);
    var stays = 0u;
    for (var j = 0u; j < ${OWN}u; j++) {
      let rank = ${OWN}u * thread + j;
      if (rank >= kept) { break; }
      let order = list_orders[rank];
      let logit = value_of(order);
      let slack = slack_of(group.y, max(abs(largest), abs(logit)));
      var isIn = true;
      var distance = 1.0;
      var limit = 0.0;
      if (kind == ${CUTS["top-k"]}u) {
        let k = floats[cut + 1u];
        isIn = rank + offset < k;
        if (!isIn && k > offset && floats[cut + 2u] == 1u) { isIn = order == list_orders[k - offset - 1u]; }
      } else if (kind == ${CUTS["min-p"]}u) {
        distance = (logit - largest) + value;
        limit = slack + select(0.0, 4e-7 * value + 1e-12 * abs(largest), value > 0.0);
        isIn = distance >= 0.0;
      } else {
        var tail = behind + weights.w;
        if (j < 3u) { tail += weights.z; }
        if (j < 2u) { tail += weights.y; }
        if (j < 1u) { tail += weights.x; }
        distance = value * tail - complement * head;
        limit = (error + slack * heat) * (value * tail + complement * head);
        if (isOpen) { limit += rest_error * (value * rest + complement * above); }
        isIn = distance > 0.0;
        head += weights[j];
      }
      if (rank + offset == 0u) { isIn = true; }
      else if (limit > 0.0 && abs(distance) <= limit) { atomicStore(&doubts, 1u); }
      stays += select(0u, 1u, isIn);
    }
    sums[thread] = f32(stays);
    let left_over = u32(join_sum(thread));
    let isAll = isOpen && left_over == listed;
    if (isAll && kind == ${CUTS["top-p"]}u) {
      let slack = slack_of(group.y, largest);
      let limit = (error + slack * heat) * (value * rest + complement * mass_listed) + rest_error * value * rest;
      // It might end with the list.
      if (isFlat || value * rest - complement * mass_listed <= limit) { atomicStore(&doubts, 1u); }
    }
    // What ends before the list, or starts from a sum that is not known.
    if (left_over == 0u || (c > 0u && kind == ${CUTS["top-p"]}u && (isFlat || isOpen))) { atomicStore(&doubts, 1u); }
    if (left_over > 0u && left_over < kept && isChanged) {
      let last = value_of(list_orders[left_over - 1u]);
      let next = value_of(list_orders[left_over]);
      if (last - next <= slack_of(group.y, max(abs(largest), max(abs(last), abs(next))))) { atomicStore(&doubts, 1u); }
    }
    kept = left_over;
    isOpen = isAll;
    if (c == 0u && !isOpen) { needed = offset + kept; }
    workgroupBarrier();
  }
  if (isOpen) { atomicStore(&doubts, 1u); }
  race(thread, group.y, largest, kept, select(0u, count, isFlat));
  let mass = join_sum(thread);
  if (thread > 0u || wanted == 0u) { return; }
  let result = task(group.y, RESULT);
  let isClear = atomicLoad(&doubts) == 0u;
  if (task(group.y, LIST) == ${SCANNED}u) {
    floats[result + 1u] = select(0x7f800000u, top, isClear);
    floats[result + 2u] = bitcast<u32>(mass);
    floats[result + 3u] = list_orders[max(kept, 1u) - 1u];
    floats[result + 4u] = list_ids[max(kept, 1u) - 1u];
    return;
  }
  floats[result] = winner[0];
  floats[result + 1u] = bitcast<u32>(first[0]);
  floats[result + 2u] = bitcast<u32>(second[0]);
  floats[result + 3u] = floats[x + winner[0]];
  floats[result + 4u] = top;
  floats[result + 5u] = select(1u, 0u, isClear);
  floats[result + 6u] = bitcast<u32>(mass);
  floats[result + 7u] = needed;
}`,
  ),
};
