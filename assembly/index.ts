/**
 * The whole ABI. Pointers and counts in, numbers out; no imports, no allocation. Memory from __heap_base on belongs to
 * the host; f32 buffers are 16-byte aligned and padded to 16 bytes.
 */

/** Raised when a signature or layout changes, so that a stale binary is noticed at load. */
export function abi(): i32 {
  return 4;
}

/** First address that is the host's. */
export function heap_base(): usize {
  return __heap_base;
}

export { probe } from "./lib/probe";
export { stream_read } from "./lib/stream";

export { input_bytes, matmul, pack_tile, prepare, tile_bytes, unpack_row } from "./matmul/bands";

export { codebook_row, codebook_snap } from "./head/codebook";

export { product_scan, product_tables } from "./head/product";
export { gather_tiles, list_above, list_racers, raise } from "./head/rescore";

export { rms_norm } from "./layer/norm";
export { rope } from "./layer/rope";
export { attention } from "./layer/attention";
export { copy_kv, store_kv } from "./layer/kv";
export { add, geglu, scale, swiglu } from "./layer/activation";

export { argmax, log_sum_exp, softmax } from "./sample/row";
export { top } from "./sample/top";
export { law_contest } from "./sample/contest";
export { likelihood_add } from "./sample/likelihood";
export { law_buckets, law_range, law_within } from "./sample/weigh";

export { lin, mix } from "./fuse/combine";
export { match_targets, match_tops } from "./fuse/match";
export { deviations, distance, highest, moments, partition, probabilities, rank } from "./fuse/measure";
export { select } from "./fuse/select";
export { match_at, match_sweep } from "./fuse/sweep";
export { logarithms, weigh } from "./fuse/weigh";

export { race } from "./verify/race";
export { residual } from "./verify/residual";
export { draw, mass } from "./verify/sums";
export { tempered } from "./verify/tempered";

export { wire_from_blocks, wire_to_blocks } from "./wire/blocks";
export { wire_from_codes, wire_to_codes } from "./wire/codes";
export { wire_from_halves, wire_to_halves } from "./wire/halves";
export { wire_list, wire_total } from "./wire/mass";
