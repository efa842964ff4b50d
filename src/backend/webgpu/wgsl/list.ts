/** list: the best tokens of a row. */
import { LIST_HEAD_WORDS } from "../../draw-kernels.ts";
import type { Kernel } from "../kernel.ts";
import { radixSelect } from "./radix.ts";
import { MAIN, THREADS, taskKernel } from "./task.ts";

export const listKernels: Readonly<Record<string, Kernel>> = {
  drawList: taskKernel("drawList", listCode()),
};

/**
 * The best tokens of a row that wants a list, in any order, by one group: those above the order of the last of them, and of
 * those that have it the lowest ids.
 *
 * Result: how many, in the head of the list; then pairs of an id and the bits of its logit.
 */
function listCode(): string {
  return /* wgsl */ `
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> taken: atomic<u32>;
var<workgroup> ties: array<u32, ${THREADS}>;
var<workgroup> found: array<u32, 2>;

${MAIN} {
  let x = task(group.y, X);
  let mask = task(group.y, MASK);
  let wanted = task(group.y, LIST);
  let count = select(p.count, 0u, wanted == 0u);
  ${radixSelect({ count: "count", wanted: "wanted", order: "order_at(x, mask, id)" })}
  // Thread by thread a stretch of the row: ties are taken in order of their ids.
  let stretch = (count + ${THREADS - 1}u) / ${THREADS}u;
  let begin = min(thread * stretch, count);
  let end = min(begin + stretch, count);
  var here = 0u;
  for (var id = begin; id < end; id++) { if (order_at(x, mask, id) == prefix) { here++; } }
  ties[thread] = here;
  if (thread == 0u) { atomicStore(&taken, 0u); }
  workgroupBarrier();
  var before = 0u;
  for (var t = 0u; t < thread; t++) { before += ties[t]; }
  let result = task(group.y, RESULT);
  for (var id = begin; id < end; id++) {
    let order = order_at(x, mask, id);
    var isTaken = order > prefix;
    if (order == prefix && order > 0u) { isTaken = before < left; before++; }
    if (isTaken) {
      let to = result + ${LIST_HEAD_WORDS}u + 2u * atomicAdd(&taken, 1u);
      floats[to] = id;
      floats[to + 1u] = floats[x + id];
    }
  }
  workgroupBarrier();
  if (thread == 0u && wanted > 0u) { floats[result] = atomicLoad(&taken); }
}`;
}
