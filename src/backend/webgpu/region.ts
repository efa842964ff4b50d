/**
 * region: one GPU buffer, given out in parts of 16 bytes and more, that grows.
 *
 * All that kernels write stands in regions, one of all floats and some of keys and values (kv-regions.ts), which are bound whole:
 * what is bound twice to one call must not be written to. A region cannot be larger than a binding, 128 MiB at least.
 *
 * A device that has not the memory to grow says so later; whoever reads then is told (faults.ts).
 */
import { grouped, MemoryError } from "../../errors.ts";
import { type Recorder, USAGE } from "./recorder.ts";

const ALIGNMENT = 16;
const FIRST_BYTES = 1 << 16;

/** Bytes that so many take. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

interface Free {
  offset: number;
  bytes: number;
}

export class Region {
  readonly #recorder: Recorder;
  readonly #maxBytes: number;
  #buffer: GPUBuffer;
  /** By offset; neighbours are joined. */
  #free: Free[];
  readonly #held = new Map<number, number>();

  /** @param maxBytes Of the largest binding. */
  constructor(recorder: Recorder, maxBytes: number) {
    this.#recorder = recorder;
    this.#maxBytes = Math.floor(maxBytes / ALIGNMENT) * ALIGNMENT;
    this.#buffer = this.#create(FIRST_BYTES);
    this.#free = [{ offset: 0, bytes: FIRST_BYTES }];
  }

  /** Another one after each `allocate`. */
  get buffer(): GPUBuffer {
    return this.#buffer;
  }

  /** @returns Offset in bytes. @throws {MemoryError} If the region would have to be larger than a binding. */
  allocate(length: number): number {
    const bytes = Math.max(ALIGNMENT, aligned(length));
    let index = this.#free.findIndex((free) => free.bytes >= bytes);
    if (index < 0) {
      this.#grow(bytes);
      index = this.#free.length - 1;
    }
    const free = this.#free[index];
    const { offset } = free;
    free.offset += bytes;
    free.bytes -= bytes;
    if (free.bytes === 0) this.#free.splice(index, 1);
    this.#held.set(offset, bytes);
    return offset;
  }

  free(offset: number): void {
    const bytes = this.#held.get(offset);
    if (bytes === undefined) throw new TypeError("Cannot free: not held by this backend, or freed before");
    this.#held.delete(offset);
    const index = this.#free.findIndex((free) => free.offset > offset);
    const at = index < 0 ? this.#free.length : index;
    this.#free.splice(at, 0, { offset, bytes });
    this.#join(at);
    if (at > 0) this.#join(at - 1);
  }

  close(): void {
    this.#recorder.destroy(this.#buffer);
  }

  #join(index: number): void {
    const [free, next] = [this.#free[index], this.#free[index + 1]];
    if (next === undefined || free.offset + free.bytes !== next.offset) return;
    free.bytes += next.bytes;
    this.#free.splice(index + 1, 1);
  }

  /** Leaves `bytes` free at the end. */
  #grow(bytes: number): void {
    const before = this.#buffer;
    const last = this.#free.at(-1);
    const tail = last !== undefined && last.offset + last.bytes === before.size ? last.bytes : 0;
    const least = before.size - tail + bytes;
    if (least > this.#maxBytes) {
      throw new MemoryError(
        `Cannot allocate: ${grouped(least)} bytes are needed in one buffer, this device binds ${grouped(this.#maxBytes)}`,
      );
    }
    const size = Math.min(this.#maxBytes, Math.max(2 * before.size, least));
    this.#buffer = this.#create(size);
    this.#recorder.encode((encoder) => encoder.copyBufferToBuffer(before, 0, this.#buffer, 0, before.size));
    this.#recorder.destroy(before);
    if (tail > 0) last!.bytes += size - before.size;
    else this.#free.push({ offset: before.size, bytes: size - before.size });
  }

  #create(size: number): GPUBuffer {
    return this.#recorder.createBuffer(size, USAGE.storage | USAGE.copySource | USAGE.copyTarget);
  }
}

/** Room for what kernels leave each other and for results, in a region; grows to the largest need. */
export class Scratch {
  readonly #region: Region;
  #offset: number;
  #words: number;

  constructor(region: Region, words: number) {
    this.#region = region;
    this.#offset = region.allocate(words * 4);
    this.#words = words;
  }

  /** Room for so many words, until the next call. @returns Where, in words. */
  of(words: number): number {
    if (words > this.#words) {
      if (this.#words > 0) this.#region.free(this.#offset);
      this.#words = 0;
      this.#offset = this.#region.allocate(words * 4);
      this.#words = words;
    }
    return this.#offset / 4;
  }
}
