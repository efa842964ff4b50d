/**
 * window: of a row so flat that its best tokens have less than the mass that top-p wants, the tokens around the place where
 * that is reached: a range of orders, halved until what is in it fits.
 *
 *     orders    … above …  |  high  … at most LISTED tokens …  low  |  … rest …
 *
 * The halving may go wrong by what rounding does to sums: who cuts sees that nothing, or everything, of the window is left.
 */
import { LISTED, THREADS } from "./task.ts";

/** For a kernel that has TAKE and SORT. */
export const WINDOW = /* wgsl */ `
struct Window {
  low: u32, high: u32,
  // Mass and number of the tokens above, and mass of those below.
  above: f32, before: u32, rest: f32,
}
var<workgroup> range: vec2<u32>;
/** Sums over all threads. */
fn join_span(thread: u32, own: Span) -> Span {
  workgroupBarrier();
  sums[thread] = own.mass;
  let mass = join_sum(thread);
  workgroupBarrier();
  sums[thread] = f32(own.count);
  let count = u32(join_sum(thread));
  workgroupBarrier();
  return Span(mass, count);
}
/** Where the best tokens have \`share\` of the mass: below \`top\`, which has less. */
fn find_window(thread: u32, row: Row, top: u32, share: f32) -> Window {
  let above_all = join_span(thread, mass_between(thread, row, top, 0xffffffffu));
  // Farther from the largest, weights are 0.
  let least = order_of(bitcast<u32>(max(row.largest - 88.0 / row.inverse, LOWEST)));
  let inside = join_span(thread, mass_between(thread, row, least, top));
  let below = join_span(thread, mass_between(thread, row, 1u, least));
  let goal = share * (above_all.mass + inside.mass + below.mass);
  var low = least;
  var high = top;
  var above = above_all;
  var length = inside.count;
  for (var i = 0u; i < 32u; i++) {
    if (thread == 0u) { range = vec2<u32>(length, high - low); }
    let left = workgroupUniformLoad(&range);
    if (left.x <= ${LISTED}u || left.y <= 1u) { break; }
    let middle = low + (high - low) / 2u;
    let upper = join_span(thread, mass_between(thread, row, middle, high));
    if (above.mass + upper.mass >= goal) {
      low = middle;
      length = upper.count;
    } else {
      high = middle;
      above = Span(above.mass + upper.mass, above.count + upper.count);
      length -= upper.count;
    }
  }
  let rest = join_span(thread, mass_between(thread, row, 1u, low));
  return Window(low, high, above.mass, above.count, rest.mass);
}
/** Lists the tokens of a window instead of those that are listed. Returns how many there are; more than fit are not listed. */
fn take_window(thread: u32, row: Row, window: Window) -> u32 {
  clear_list(thread);
  if (thread == 0u) { atomicStore(&taken, 0u); }
  workgroupBarrier();
  for (var id = thread; id < row.count; id += ${THREADS}u) {
    let order = order_at(row.x, row.mask, id);
    if (order < window.low || order >= window.high) { continue; }
    let at = atomicAdd(&taken, 1u);
    if (at < ${LISTED}u) {
      list_orders[at] = order;
      list_ids[at] = id;
    }
  }
  workgroupBarrier();
  return atomicLoad(&taken);
}`;
