/**
 * kv: keys and values as attention reads them, in pages.
 *
 * A key or value of one head is kept as 16-bit integers that share one f32 step, largest / 32767. Half floats, which take
 * the same room, lose more: 11 bits of each element instead of 16 of the largest (KL on the embedded F16 model 1.5e-7
 * nats with halves, 1.5e-9 so), and they must be widened with more operations.
 *
 * Pages     position j is in slot j % 64 of the page at table[j / 64], a u32 address. Sequences may share pages: that is
 *           why the positions of one are not consecutive in memory.
 * Layout    of a page: [layer][kv_head] of what follows, 64 · (4 · head_dim + 8) bytes each.
 *           codes of K: [16][head_dim][4 slots] i16, so that scores need no horizontal sum; codes of V: [64][head_dim] i16;
 *           steps of K: [64] f32; steps of V: [64] f32. head_dim: a multiple of 8.
 * Accuracy  within half a step.
 * Cost      4 bytes per cached position, kv_head and dim, and 8 per position and kv_head.
 */
import { max_lanes } from "../lib/lanes";

/** Positions of a page, and its logarithm. */
// @ts-ignore: decorator
@inline
export const PAGE: usize = 64;
const PAGE_SHIFT: usize = 6;

/** Largest magnitude of a code. */
const LEVELS: f32 = 32767;

const STAGE: usize = memory.data(16, 16);

/** Bytes of one head in one layer of a page. */
// @ts-ignore: decorator
@inline
export function head_bytes(head_dim: usize): usize {
  return PAGE * (head_dim * 4 + 8);
}

/** Bytes of a head's keys, or values, without steps. */
// @ts-ignore: decorator
@inline
export function code_bytes(head_dim: usize): usize {
  return PAGE * head_dim * 2;
}

/** Where a head's part of the page of position `position` begins. */
// @ts-ignore: decorator
@inline
export function page_of(table: usize, position: usize): usize {
  return <usize>load<u32>(table + (position >> PAGE_SHIFT) * 4);
}

/** Writes one position's keys and values, each (kv_heads, head_dim) f32, into its slot. */
export function store_kv(
  key: usize,
  value: usize,
  table: usize,
  layer: usize,
  position: usize,
  kv_heads: usize,
  head_dim: usize,
): void {
  const slot = position & (PAGE - 1);
  const codes = code_bytes(head_dim);
  let head = page_of(table, position) + layer * kv_heads * head_bytes(head_dim);
  for (; kv_heads > 0; --kv_heads) {
    const steps = head + codes * 2 + slot * 4;
    const inverse_k = store_step(key, steps, head_dim);
    const inverse_v = store_step(value, steps + PAGE * 4, head_dim);
    let k = head + (slot >> 2) * head_dim * 8 + (slot & 3) * 2;
    let v = head + codes + slot * head_dim * 2;
    for (let d: usize = 0; d < head_dim; d += 8) {
      v128.store(STAGE, round8(key, inverse_k));
      for (let i: usize = 0; i < 16; i += 2) store<u16>(k + i * 4, load<u16>(STAGE + i));
      v128.store(v, round8(value, inverse_v));
      k += 64;
      v += 16;
      key += 32;
      value += 32;
    }
    head += head_bytes(head_dim);
  }
}

/** Copies one position of one layer to another place, of the same sequence or another one. */
export function copy_kv(
  source_table: usize,
  source: usize,
  table: usize,
  position: usize,
  layer: usize,
  kv_heads: usize,
  head_dim: usize,
): void {
  const from_slot = source & (PAGE - 1);
  const to_slot = position & (PAGE - 1);
  const codes = code_bytes(head_dim);
  const first = layer * kv_heads * head_bytes(head_dim);
  let from = page_of(source_table, source) + first;
  let to = page_of(table, position) + first;
  for (; kv_heads > 0; --kv_heads) {
    const from_key = from + (from_slot >> 2) * head_dim * 8 + (from_slot & 3) * 2;
    const to_key = to + (to_slot >> 2) * head_dim * 8 + (to_slot & 3) * 2;
    for (let i: usize = 0; i < head_dim * 8; i += 8) store<u16>(to_key + i, load<u16>(from_key + i));
    const from_value = from + codes + from_slot * head_dim * 2;
    const to_value = to + codes + to_slot * head_dim * 2;
    for (let i: usize = 0; i < head_dim * 2; i += 16) v128.store(to_value + i, v128.load(from_value + i));
    const from_steps = from + codes * 2 + from_slot * 4;
    const to_steps = to + codes * 2 + to_slot * 4;
    store<f32>(to_steps, load<f32>(from_steps));
    store<f32>(to_steps + PAGE * 4, load<f32>(from_steps + PAGE * 4));
    from += head_bytes(head_dim);
    to += head_bytes(head_dim);
  }
}

/** Stores the step of `count` values and returns its inverse. */
function store_step(values: usize, step: usize, count: usize): f32 {
  let max_f32x4 = f32x4.splat(0);
  for (let i: usize = 0; i < count << 2; i += 16)
    max_f32x4 = f32x4.max(max_f32x4, f32x4.abs(v128.load(values + i)));
  const largest = max_lanes(max_f32x4);
  const usable = largest > 1e-30;
  store<f32>(step, usable ? largest / LEVELS : largest * 0);
  return usable ? LEVELS / largest : 0;
}

/** 8 values as codes. */
// @ts-ignore: decorator
@inline
function round8(values: usize, inverse: f32): v128 {
  const inverse_f32x4 = f32x4.splat(inverse);
  return i16x8.narrow_i32x4_s(
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values), inverse_f32x4))),
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values, 16), inverse_f32x4))),
  );
}
