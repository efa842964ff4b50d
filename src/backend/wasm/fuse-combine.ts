/** Calls of the kernels that combine rows: terms and bounds as tables in memory, as assembly/fuse/terms.ts and bounds.ts have them. */
import type { Floor, ResolvedBound, Scaled } from "../fuse-kernels.ts";
import type { Exports } from "./exports.ts";
import { addressOf, type FuseRow, type FuseRows } from "./fuse-rows.ts";
import type { Scratch } from "./scratch.ts";

const TERM_BYTES = 32;
const GROUP_TERMS = 3;
const BOUND_BYTES = 16;

const IS_MASK = 1;
const IS_FIRST = 2;
const IS_LAST = 4;

/** `last` of a floor: all ids of equal logits. */
const ANY_ID = 2 ** 31 - 1;

/** What a scale of 0 becomes in a mixture, so that −∞ stays −∞. */
const LEAST_SCALE = 1e-30;

/** As the kernel reads it: without terms that repeat the result, or fill a group. */
interface KernelTerm {
  readonly row: FuseRow;
  readonly scale: number;
  readonly offset: number;
  /** lin: the logit that adds nothing, NaN for none. mix: what is taken off before the scale. */
  readonly third: number;
}

export class Combiner {
  readonly #kernels: Exports;
  readonly #rows: FuseRows;
  readonly #scratch: Scratch;

  constructor(kernels: Exports, rows: FuseRows, scratch: Scratch) {
    this.#kernels = kernels;
    this.#rows = rows;
    this.#scratch = scratch;
  }

  lin(
    vocab: number,
    terms: readonly Scaled<FuseRow>[],
    bounds: readonly (readonly ResolvedBound<FuseRow>[])[],
  ): FuseRow {
    const table = terms.map(({ row, scale, offset }) => ({
      row,
      scale,
      offset,
      third: scale > 0 ? NaN : -Infinity,
    }));
    return this.#combine(vocab, table, GROUP_TERMS, bounds, (out, groups, count, list, boundCount) =>
      this.#kernels.lin(groups, count, list, boundCount, out, vocab),
    );
  }

  mix(vocab: number, terms: readonly Scaled<FuseRow>[]): FuseRow {
    const positive = terms.map((term) => ({ ...term, scale: Math.max(term.scale, LEAST_SCALE) }));
    // The logarithm of one exponential.
    if (positive.length === 1) return this.lin(vocab, positive, []);
    const table = positive.map(({ row, scale, offset }) => {
      // Large logits and the offset that makes probabilities of them would each be rounded, and leave little.
      const pivot = row.unread === null && Number.isFinite(row.top) ? row.top! : 0;
      return { row, scale, offset: offset + scale * pivot, third: pivot };
    });
    return this.#combine(vocab, table, 2, [], (out, groups, count) =>
      this.#kernels.mix(groups, count, out, vocab),
    );
  }

  /** @param size Terms of a group; in all but the first, the result so far is one of them. */
  #combine(
    vocab: number,
    terms: readonly KernelTerm[],
    size: number,
    bounds: readonly (readonly ResolvedBound<FuseRow>[])[],
    run: (out: number, groups: number, count: number, bounds: number, boundCount: number) => number,
  ): FuseRow {
    const out = this.#rows.make(vocab);
    try {
      const slots = slotsOf(terms, out, size);
      const list = boundsOf(bounds);
      const groupBytes = slots.length * TERM_BYTES;
      const maskBytes = Math.ceil(vocab / 32) * 4;
      const listBytes = list.length * BOUND_BYTES;
      const masks = list.filter(({ bound }) => bound.kind === "mask").length;
      const at = this.#scratch.of(groupBytes + listBytes + masks * maskBytes);
      const view = this.#scratch.view();
      slots.forEach((term, index) => {
        writeTerm(view, index * TERM_BYTES, term);
      });
      let mask = groupBytes + listBytes;
      list.forEach(({ bound, flags }, index) => {
        writeBound(view, groupBytes + index * BOUND_BYTES, bound, flags, at + mask);
        if (bound.kind !== "mask") return;
        new Uint32Array(view.buffer, at + mask, maskBytes / 4).set(bound.words.subarray(0, maskBytes / 4));
        mask += maskBytes;
      });
      const top = run(out.address, at, slots.length / GROUP_TERMS, at + groupBytes, list.length);
      const rows = terms.map(({ row }) => row);
      if (Number.isNaN(top)) this.#rows.refuse(rows);
      slots.forEach(({ row }, index) => {
        if (row.unread === null) return;
        row.top = largestOf(view, index * TERM_BYTES + 16);
        // What is taken away does not show in the result.
        if (!Number.isFinite(row.top)) this.#rows.refuse([row]);
        row.unread = null;
      });
      out.top = top;
      return out;
    } catch (error) {
      this.#rows.free(out);
      throw error;
    }
  }
}

/** Groups of three places, `size` of them used; a place that is not used repeats the first term, times 0. */
function slotsOf(terms: readonly KernelTerm[], out: FuseRow, size: number): KernelTerm[] {
  const nothing = { ...terms[0], scale: 0, offset: 0, third: -Infinity };
  const soFar = { row: out, scale: 1, offset: 0, third: size === GROUP_TERMS ? NaN : 0 };
  const slots: KernelTerm[] = [];
  let next = 0;
  while (next < terms.length) {
    const group: KernelTerm[] = next === 0 ? [] : [soFar];
    while (group.length < size && next < terms.length) group.push(terms[next++]);
    while (group.length < GROUP_TERMS) group.push(nothing);
    slots.push(...group);
  }
  return slots;
}

function writeTerm(view: DataView, at: number, { row, scale, offset, third }: KernelTerm): void {
  view.setUint32(at, addressOf(row), true);
  view.setFloat32(at + 4, scale, true);
  view.setFloat32(at + 8, offset, true);
  view.setFloat32(at + 12, third, true);
}

function largestOf(view: DataView, at: number): number {
  const lanes = [0, 4, 8, 12].map((offset) => view.getFloat32(at + offset, true));
  return Math.max(...lanes);
}

interface ListedBound {
  readonly bound: ResolvedBound<FuseRow>;
  readonly flags: number;
}

function boundsOf(bounds: readonly (readonly ResolvedBound<FuseRow>[])[]): ListedBound[] {
  return bounds.flatMap((group) =>
    group.map((bound, index) => ({
      bound,
      flags:
        (bound.kind === "mask" ? IS_MASK : 0) |
        (index === 0 ? IS_FIRST : 0) |
        (index === group.length - 1 ? IS_LAST : 0),
    })),
  );
}

function writeBound(
  view: DataView,
  at: number,
  bound: ResolvedBound<FuseRow>,
  flags: number,
  mask: number,
): void {
  const { value, last } = bound.kind === "mask" ? { value: 0, last: 0 } : floorOfF32(bound.floor);
  view.setUint32(at, bound.kind === "mask" ? mask : addressOf(bound.row), true);
  view.setFloat32(at + 4, value, true);
  view.setInt32(at + 8, Math.min(last, ANY_ID), true);
  view.setUint32(at + 12, flags, true);
}

/** The floor that f32 logits pass if they pass this one: it may lie between two of them. */
function floorOfF32({ value, last }: Floor): Floor {
  const rounded = Math.fround(value);
  if (rounded === value) return { value, last };
  return { value: rounded, last: rounded > value ? ANY_ID : -1 };
}
