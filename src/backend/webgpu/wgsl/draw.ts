/**
 * draw: the best tokens of rows, and the exponential race over them, with the noise of src/philox.ts.
 *
 *     score  =  (logit − largest) / T − ln E        E = −ln u, u the token's noise
 *
 * Several rows in one call: group.y is the row, and what is asked of it stands in a table of TASK_WORDS words each. Logits
 * that pipelines change are changed in the row, and put back afterwards.
 *
 *     drawChange   drawLargest   drawRace   drawJoin                        drawRestore      a token, of all or the best
 *     drawChange   drawList                                                 drawRestore      a list
 *     drawChange   drawCut                                                  drawRestore      a token, of what cuts leave
 *
 * The two best scores come back with the winner: who is closer to the other than rounding may have put it is not believed.
 *
 * Accuracy  a score is within 2e-5 for those that may win, but for what rounding made of a changed logit.
 * Cost      a draw for four tokens, where one of them can still win: noise is at most 2^-33 below 1, so that −ln E < 22.9.
 */
import { STAGE } from "../../../philox.ts";
import type { Kernel } from "../kernel.ts";
import { TWO_BEST, TWO_LARGEST } from "./best.ts";
import { changeKernels } from "./change.ts";
import { cutKernels } from "./cut.ts";
import { listKernels } from "./list.ts";
import { PHILOX } from "./philox.ts";
import { HIGHEST_GUMBEL, MAIN, SCANNED, THREADS, taskKernel } from "./task.ts";

export const drawKernels: Readonly<Record<string, Kernel>> = {
  ...changeKernels,
  ...listKernels,
  ...cutKernels,
  /** Parts: per group the largest order, whose it is, and the second. */
  drawLargest: taskKernel(
    "drawLargest",
    /* wgsl */ `${TWO_LARGEST}
${MAIN} {
  let x = task(group.y, X);
  let mask = task(group.y, MASK);
  var largest = 0u;
  var next = 0u;
  var place = 0u;
  for (var id = group.x * ${THREADS}u + thread; id < p.count; id += p.groups * ${THREADS}u) {
    let order = order_at(x, mask, id);
    next = max(next, min(order, largest));
    if (order > largest) { largest = order; place = id; }
  }
  largest_orders[thread] = largest;
  second_orders[thread] = next;
  places[thread] = place;
  join_two_largest(thread);
  if (thread == 0u) {
    let to = task(group.y, PARTS) + 3u * group.x;
    floats[to] = largest_orders[0];
    floats[to + 1u] = places[0];
    floats[to + 2u] = second_orders[0];
  }
}`,
  ),
  /** Parts, behind those: per group Σ exp((logit − largest) / T), and two scores and the winner of the race. */
  drawRace: taskKernel(
    "drawRace",
    /* wgsl */ `${PHILOX}${TWO_BEST}
${MAIN} {
  let x = task(group.y, X);
  let mask = task(group.y, MASK);
  let inverse = bitcast<f32>(task(group.y, INVERSE));
  let position = task(group.y, POSITION);
  let key = vec2<u32>(task(group.y, SEED_LOW), task(group.y, SEED_HIGH));
  let isRace = task(group.y, LIST) == 0u;
  orders[thread] = 0u;
  if (thread < p.groups) { orders[thread] = floats[task(group.y, PARTS) + 3u * thread]; }
  let largest = value_of(join_largest(thread));
  var sum = 0.0;
  var best = LOWEST;
  var next = LOWEST;
  var token = 0u;
  // Of the best token alone no law is needed, and for lists and cuts other kernels are there.
  let isElsewhere = inverse == 0.0 || task(group.y, CUT_COUNT) > 0u || !(isRace || task(group.y, LIST) == ${SCANNED}u);
  let quads = select((p.count + 3u) / 4u, 0u, isElsewhere);
  for (var quad = group.x * ${THREADS}u + thread; quad < quads; quad += p.groups * ${THREADS}u) {
    var scores = vec4<f32>(LOWEST);
    for (var j = 0u; j < 4u; j++) {
      let id = 4u * quad + j;
      if (id >= p.count) { break; }
      let order = order_at(x, mask, id);
      if (order == 0u) { continue; }
      scores[j] = max((value_of(order) - largest) * inverse, -1e30);
      sum += exponential(scores[j]);
    }
    let most = max(max(scores.x, scores.y), max(scores.z, scores.w));
    if (!isRace || most == LOWEST || most + ${HIGHEST_GUMBEL} < next) { continue; }
    let words = philox(vec4<u32>(position, ${STAGE.gumbel}u, quad, 0u), key);
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
  sums[thread] = sum;
  join_two_best(thread);
  let total = join_sum(thread);
  if (thread == 0u) {
    let to = task(group.y, PARTS) + 3u * p.groups + 4u * group.x;
    floats[to] = bitcast<u32>(total);
    floats[to + 1u] = bitcast<u32>(first[0]);
    floats[to + 2u] = bitcast<u32>(second[0]);
    floats[to + 3u] = winner[0];
  }
}`,
  ),
  /** One group per row. Result: of a token RESULT_WORDS words; of a law what it needs: all tokens are of it. */
  drawJoin: taskKernel(
    "drawJoin",
    /* wgsl */ `${TWO_LARGEST}${TWO_BEST}
${MAIN} {
  largest_orders[thread] = 0u;
  second_orders[thread] = 0u;
  places[thread] = 0u;
  first[thread] = LOWEST;
  second[thread] = LOWEST;
  winner[thread] = 0u;
  sums[thread] = 0.0;
  if (thread < p.groups) {
    let parts = task(group.y, PARTS);
    largest_orders[thread] = floats[parts + 3u * thread];
    places[thread] = floats[parts + 3u * thread + 1u];
    second_orders[thread] = floats[parts + 3u * thread + 2u];
    let race = parts + 3u * p.groups + 4u * thread;
    sums[thread] = bitcast<f32>(floats[race]);
    first[thread] = bitcast<f32>(floats[race + 1u]);
    second[thread] = bitcast<f32>(floats[race + 2u]);
    winner[thread] = floats[race + 3u];
  }
  join_two_largest(thread);
  join_two_best(thread);
  let total = join_sum(thread);
  if (thread > 0u) { return; }
  let result = task(group.y, RESULT);
  let largest = select(bits_of_order(largest_orders[0]), 0xff800000u, largest_orders[0] == 0u);
  if (task(group.y, LIST) > 0u) {
    floats[result + 1u] = largest;
    floats[result + 2u] = bitcast<u32>(total);
    floats[result + 3u] = 0u;
    floats[result + 4u] = 0u;
    return;
  }
  let token = select(winner[0], places[0], task(group.y, INVERSE) == 0u);
  floats[result] = token;
  floats[result + 1u] = bitcast<u32>(first[0]);
  floats[result + 2u] = bitcast<u32>(second[0]);
  floats[result + 3u] = floats[task(group.y, X) + token];
  floats[result + 4u] = largest;
  floats[result + 5u] = select(bits_of_order(second_orders[0]), 0xff800000u, second_orders[0] == 0u);
  floats[result + 6u] = bitcast<u32>(total);
}`,
  ),
};
