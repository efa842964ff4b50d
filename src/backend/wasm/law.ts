/** LawKernels by assembly/sample/{law,weigh,contest}.ts, over one row in linear memory. */
import {
  LAW_BUCKETS,
  type Law,
  type LawKernels,
  MOST_EDITS,
  MOST_LISTED,
  MOST_MASKED,
} from "../law-kernels.ts";
import type { Exports } from "./exports.ts";

/** Of the parts of the scratch memory. A law is two numbers, then edits of 16 bytes. */
const LAW_HEAD = 16;
const EDIT = 16;
const MASK_AT = LAW_HEAD + MOST_EDITS * EDIT;
const OUT_AT = MASK_AT + MOST_MASKED / 8;
/** What calls need: LAW_BYTES of scratch, so that they never move memory. */
export const LAW_BYTES = OUT_AT + 16 + MOST_LISTED * 4;

/**
 * @param row     Address of (vocab) f32.
 * @param scratch Gives the address of LAW_BYTES, aligned to 16.
 */
export function createWasmLawKernels(
  kernels: Exports,
  row: number,
  vocab: number,
  scratch: () => number,
): LawKernels {
  const { memory } = kernels;

  /** Lays a law out; gives its address and that of the room for results. */
  const place = ({ temperature, edits, mask }: Law): [law: number, out: number] => {
    const law = scratch();
    const count = edits.tokens.length;
    const view = new DataView(memory.buffer, law, OUT_AT);
    view.setFloat64(0, temperature, true);
    view.setUint32(8, mask === undefined ? 0 : law + MASK_AT, true);
    view.setUint32(12, law + LAW_HEAD + count * EDIT, true);
    for (let i = 0; i < count; i++) {
      view.setUint32(LAW_HEAD + i * EDIT, edits.tokens[i], true);
      view.setFloat64(LAW_HEAD + i * EDIT + 8, edits.logits[i], true);
    }
    if (mask !== undefined) {
      const words = Math.ceil(vocab / 32);
      new Uint32Array(memory.buffer, law + MASK_AT, words).set(mask.subarray(0, words));
    }
    return [law, law + OUT_AT];
  };

  const listed = (out: number, count: number) => new Uint32Array(memory.buffer, out, count).slice();

  return {
    range(law) {
      const [at, out] = place(law);
      const count = kernels.law_range(row, vocab, at, out) >>> 0;
      const [most, least] = new Float64Array(memory.buffer, out, 2);
      return { most, least, count };
    },

    buckets(law, most, scale) {
      const [at, out] = place(law);
      const total = kernels.law_buckets(row, vocab, at, most, scale, out);
      return { total, mass: new Float64Array(memory.buffer, out, LAW_BUCKETS).slice() };
    },

    within(law, most, scale, first, last) {
      const [at, out] = place(law);
      const end = last === LAW_BUCKETS - 1 ? Infinity : last + 1;
      const count = kernels.law_within(row, vocab, at, most, scale, first, end, out, MOST_LISTED);
      return count < 0 ? null : listed(out, count);
    },

    contest(law, most, { bar, last }, seed, position) {
      const [at, out] = place(law);
      const [low, high] = [seed | 0, (seed / 2 ** 32) | 0];
      const count = kernels.law_contest(
        row,
        vocab,
        at,
        most,
        bar,
        last,
        low,
        high,
        position,
        out,
        MOST_LISTED,
      );
      if (count < 0) return null;
      return { total: new DataView(memory.buffer).getFloat64(out, true), tokens: listed(out + 8, count) };
    },
  };
}
