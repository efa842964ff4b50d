/** floats: handles of f32 values in the region that all of them stand in. */
import type { Floats } from "../backend.ts";

export class GpuFloats implements Floats {
  readonly length: number;
  /** Byte offset in the region. */
  readonly offset: number;
  readonly isSlice: boolean;

  constructor(offset: number, length: number, isSlice: boolean) {
    this.offset = offset;
    this.length = length;
    this.isSlice = isSlice;
  }
}

/** Place of a handle's first value in the region, in words. */
export function wordOf(x: Floats): number {
  return (x as GpuFloats).offset / 4;
}
