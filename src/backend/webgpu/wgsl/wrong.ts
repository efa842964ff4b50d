/** wrong: what is wrong with some rows, and which; told in a few words however many they are. */
import type { Kernel } from "../kernel.ts";
import { TOPS_WIDTH } from "./measure.ts";

/** Words that `fuseWrong` gives, and rows that it looks at. */
export const WRONG_WIDTH = 4;
export const MOST_JUDGED = 12;

/**
 * Of rows (place, parts of `fuseTops`, how many, whether a token must be possible) the first that is none: which one, at which
 * token, or at none as none is possible, and the bits there. A thread has a row.
 */
export const fuseWrong: Kernel = {
  name: "fuseWrong",
  kind: "floats",
  floats: "u32",
  params: ["rows", "result"],
  list: MOST_JUDGED,
  code: /* wgsl */ `
var<workgroup> wrongs: array<vec4<u32>, ${MOST_JUDGED}>;
@compute @workgroup_size(${MOST_JUDGED})
fn main(@builtin(local_invocation_index) thread: u32) {
  var wrong = vec4(0xffffffffu, 0xffffffffu, 0u, 0u);
  if (thread < p.rows) {
    let row = p.list[thread];
    var bad = 0xffffffffu;
    var most = 0u;
    for (var g = 0u; g < row.z; g++) {
      let at = row.y + g * ${TOPS_WIDTH}u;
      most = max(most, floats[at]);
      bad = min(bad, floats[at + 5u]);
    }
    if (bad != 0xffffffffu) { wrong = vec4(thread, bad, floats[row.x + bad], 0u); }
    else if (row.w == 1u && most == 0u) { wrong.x = thread; }
  }
  wrongs[thread] = wrong;
  workgroupBarrier();
  if (thread > 0u) { return; }
  var first = 0u;
  while (first + 1u < p.rows && wrongs[first].x == 0xffffffffu) { first++; }
  for (var k = 0u; k < ${WRONG_WIDTH}u; k++) { floats[p.result + k] = wrongs[first][k]; }
}`,
};
