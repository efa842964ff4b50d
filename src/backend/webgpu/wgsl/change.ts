/** change: logits of single tokens, changed in the row before it is drawn from, and put back. */
import { LIST_HEAD_WORDS } from "../../draw-kernels.ts";
import type { Kernel } from "../kernel.ts";
import { CHANGE_WORDS, MAIN, SCANNED, THREADS, taskKernel } from "./task.ts";

export const changeKernels: Readonly<Record<string, Kernel>> = {
  /** Changes logits in the row, and keeps what they were. */
  drawChange: taskKernel(
    "drawChange",
    /* wgsl */ `
${MAIN} {
  let count = task(group.y, CHANGE_COUNT);
  for (var i = thread; i < count; i += ${THREADS}u) {
    let at = task(group.y, CHANGES) + ${CHANGE_WORDS}u * i;
    let place = task(group.y, X) + floats[at];
    let bits = floats[place];
    floats[at + 5u] = bits;
    if (floats[at + 4u] == 0xff800000u) { floats[place] = 0xff800000u; }
    else if (order_of(bits) != 0u && bits != 0x7f800000u) {
      let sum = bitcast<f32>(bits) + bitcast<f32>(floats[at + 1u]);
      let factor = bitcast<f32>(select(floats[at + 2u], floats[at + 3u], sum > 0.0));
      floats[place] = bitcast<u32>(clamp(sum * factor + bitcast<f32>(floats[at + 4u]), LOWEST, -LOWEST));
    }
  }
}`,
  ),
  /** Puts back what was changed; a list then gets the logits of the row as it is. */
  drawRestore: taskKernel(
    "drawRestore",
    /* wgsl */ `
${MAIN} {
  let x = task(group.y, X);
  let count = task(group.y, CHANGE_COUNT);
  for (var i = thread; i < count; i += ${THREADS}u) {
    let at = task(group.y, CHANGES) + ${CHANGE_WORDS}u * i;
    floats[x + floats[at]] = floats[at + 5u];
  }
  storageBarrier();
  if (task(group.y, LIST) == 0u || task(group.y, LIST) == ${SCANNED}u) { return; }
  let result = task(group.y, RESULT);
  let listed = floats[result];
  for (var i = thread; i < listed; i += ${THREADS}u) {
    let to = result + ${LIST_HEAD_WORDS}u + 2u * i;
    floats[to + 1u] = floats[x + floats[to]];
  }
}`,
  ),
};
