/** fuse-rows: rows of a fusion in a device's memory. */

import type { Faults } from "./faults.ts";
import type { GpuFloats } from "./floats.ts";
import type { AnswerMap } from "./fuse-answers.ts";
import { bitsOf } from "./kernel.ts";

let rows = 0;

/** A row that is taken, or made of others. */
export class GpuRow {
  /** For keys of answers. */
  readonly id = ++rows;
  readonly vocab: number;
  /** Word of its first logit. */
  readonly x: number;
  /** What it is called, if it was taken; null: it was made. */
  readonly name: string | null;
  /** Taken ones among those it was made of, and itself. */
  readonly origins: ReadonlySet<GpuRow>;
  /** Of the backend that it was copied from; undefined: it was made in this one. */
  readonly faults: Faults | undefined;
  readonly answers: AnswerMap = new Map();
  /** Memory that goes back with it. */
  readonly held: GpuFloats[];
  /** Word of what `fuseTops` left, once it was recorded. */
  tops: number | null = null;
  isFree = false;

  constructor(
    place: Pick<GpuRow, "x" | "vocab" | "held"> & { readonly faults?: Faults },
    name: string | null,
    made: readonly GpuRow[],
  ) {
    this.x = place.x;
    this.vocab = place.vocab;
    this.held = place.held;
    this.faults = place.faults;
    this.name = name;
    this.origins = new Set([this, ...made.flatMap(({ origins }) => [...origins])]);
  }
}

/** @throws {TypeError} If it was given back. */
export function expectHeld(row: GpuRow): GpuRow {
  if (row.isFree) throw new TypeError("Cannot use a row: already given back");
  return row;
}

/** Order of a number as the kernels have it; of one that is no f32, that of the next f32 below. */
export function orderOf(value: number): { readonly order: number; readonly isExact: boolean } {
  const nearest = Math.fround(value);
  const isAbove = nearest > value;
  const order = bitsOrder(nearest) - (isAbove ? 1 : 0);
  return { order, isExact: nearest === value };
}

function bitsOrder(value: number): number {
  if (Number.isNaN(value) || value === -Infinity) return 0;
  const bits = value === 0 ? 0 : bitsOf(value);
  return (bits & 0x80000000) === 0 ? (bits | 0x80000000) >>> 0 : ~bits >>> 0;
}

const word = new DataView(new ArrayBuffer(4));

/** The value of an order; −∞ of 0. */
export function logitOf(order: number): number {
  if (order === 0) return -Infinity;
  word.setUint32(0, order >= 0x80000000 ? order & 0x7fffffff : ~order);
  return word.getFloat32(0);
}

export function logitOfBits(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}
