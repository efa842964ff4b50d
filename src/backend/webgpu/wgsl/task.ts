/**
 * task: what the kernels of draw, list, cut, change and scan share: a table of what is asked of each row. group.y is the row, and
 * TASK_WORDS words of the table are its own.
 */
import type { Kernel } from "../kernel.ts";
import { JOIN } from "./row.ts";

/** Threads of a workgroup. */
export const THREADS = 256;

/** The words of a task, in order; offsets are in words of the region. */
export const TASK_FIELDS = [
  "x",
  "inverse",
  "seedLow",
  "seedHigh",
  "position",
  "changes",
  "changeCount",
  "mask",
  "list",
  "parts",
  "result",
  "token",
  "coin",
  "q",
  "qScale",
  "qToken",
  "cuts",
  "cutCount",
  "cutList",
  "rounding",
  "change",
] as const;
/** Words of the table per row. */
export const TASK_WORDS = TASK_FIELDS.length;
/** For a list: there is none, and no draw; the row's law alone is wanted, for wgsl/scan.ts. */
export const SCANNED = 0xffffffff;
/** For a mask: there is none. */
export const NONE = 0xffffffff;
/** Words of a changed token: id, before, factors of what is not positive and of what is, after; and what it was. */
export const CHANGE_WORDS = 6;
/** Words of a cut: its kind; k, p or reach; of ties "all" 1, of top-p 1 − p; 1 / T; how far its sums may be off, relative. */
export const CUT_WORDS = 5;
/** Kinds of cuts. */
export const CUTS = { "top-k": 0, "top-p": 1, "min-p": 2 } as const;
/** Tokens that cuts are made of at most. */
export const LISTED = 1024;
/** Above any −ln E of a token's noise. */
export const HIGHEST_GUMBEL = 22.9;
/** Words that the groups of a row leave: the two largest orders and whose the first is; a sum, two scores and the winner. */
export const PART_WORDS = 7;
/** Words of a drawn token: it, its score and the next, bits of its logit, of the largest and of the second, and the sum. */
export const RESULT_WORDS = 8;

const TASK = /* wgsl */ `
${TASK_FIELDS.map((name, i) => `const ${fieldName(name)} = ${i}u;`).join("\n")}
const NO_MASK = ${NONE}u;
fn task(row: u32, field: u32) -> u32 { return floats[p.tasks + ${TASK_WORDS}u * row + field]; }
/** 0 for tokens that have no chance. */
fn order_at(x: u32, mask: u32, id: u32) -> u32 {
  if (mask != NO_MASK && ((floats[mask + (id >> 5u)] >> (id & 31u)) & 1u) == 0u) { return 0u; }
  return order_of(floats[x + id]);
}
fn value_of(order: u32) -> f32 { return bitcast<f32>(bits_of_order(order)); }
fn weight_of(order: u32, largest: f32, inverse: f32) -> f32 {
  return exponential(max((value_of(order) - largest) * inverse, -1e30));
}`;

/** "changeCount" → "CHANGE_COUNT" */
function fieldName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

export const MAIN = /* wgsl */ `@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32)`;

/** @param params Beside those that all of them have. */
export const taskKernel = (name: string, code: string, params: readonly string[] = []): Kernel => ({
  name,
  kind: "floats",
  floats: "u32",
  params: ["tasks", "count", "groups", ...params],
  code: `${JOIN}${TASK}${code}`,
});
