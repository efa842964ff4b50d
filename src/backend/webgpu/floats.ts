/** floats: f32 values in the region that all of a backend's stand in. */
import { type Floats, stride } from "../backend.ts";
import type { Memory } from "../reference/memory.ts";
import type { Faults } from "./faults.ts";
import type { Recorder } from "./recorder.ts";
import type { Region, Scratch } from "./region.ts";

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

/** Gives out handles, and counts what they take. */
export class FloatStore {
  readonly #recorder: Recorder;
  /** What is held is counted here. */
  readonly memory: Memory;
  readonly #region: Region;
  /** Room for what kernels leave each other. Not counted. */
  readonly scratch: Scratch;

  constructor(recorder: Recorder, memory: Memory, region: Region, scratch: Scratch) {
    this.#recorder = recorder;
    this.memory = memory;
    this.#region = region;
    this.scratch = scratch;
  }

  /** What went wrong with what it holds. */
  get faults(): Faults {
    return this.#recorder.faults;
  }

  /** Another one after each allocation. */
  get buffer(): GPUBuffer {
    return this.#region.buffer;
  }

  /** With anything in it. @throws {MemoryError} If there is no room. */
  allocate(length: number): GpuFloats {
    const bytes = stride(length) * 4;
    this.memory.claim(bytes);
    try {
      return new GpuFloats(this.#region.allocate(bytes), length, false);
    } catch (error) {
      this.memory.release(bytes);
      throw error;
    }
  }

  /** Zeroed. @throws {MemoryError} If there is no room. */
  cleared(length: number): GpuFloats {
    const floats = this.allocate(length);
    const bytes = stride(length) * 4;
    if (bytes > 0) this.#recorder.encode((encoder) => encoder.clearBuffer(this.buffer, floats.offset, bytes));
    return floats;
  }

  /** The first `length` of what another store on the same device has. @throws {MemoryError} If there is no room. */
  copyOf(other: FloatStore, x: Floats, length: number): GpuFloats {
    const copy = this.allocate(length);
    other.#recorder.lend(this.#recorder);
    this.#recorder.encode((encoder) =>
      encoder.copyBufferToBuffer(other.buffer, (x as GpuFloats).offset, this.buffer, copy.offset, length * 4),
    );
    return copy;
  }

  /** What later calls see. */
  write(x: Floats, values: ArrayBufferView<ArrayBuffer>): void {
    this.#recorder.write(this.buffer, (x as GpuFloats).offset, values);
  }

  async read(x: Floats): Promise<Float32Array> {
    return new Float32Array(await this.#recorder.read(this.buffer, (x as GpuFloats).offset, x.length * 4));
  }

  free({ offset, length, isSlice }: GpuFloats): void {
    if (isSlice) throw new TypeError("Cannot free a slice: free what it is of");
    this.#region.free(offset);
    this.memory.release(stride(length) * 4);
  }

  close(): void {
    this.#region.close();
  }
}
