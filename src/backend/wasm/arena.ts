/**
 * arena: allocation in the linear memory of one instance, from __heap_base up to a ceiling.
 *
 * Weights and buffers are few, large and long-lived, so a first-fit list of free ranges is all it takes. Memory grows by
 * what is needed, never shrinks, and is reused after `free`.
 *
 * What is promised to be there later has an address at all times, so that no allocation can break a promise by lying in
 * its way; but it moves up where memory would have to grow past it for something else.
 */
import { grouped, MemoryError } from "../../errors.ts";
import { Ranges } from "./ranges.ts";

const PAGE = 65_536;
const ALIGNMENT = 64;

export class Arena {
  readonly #memory: WebAssembly.Memory;
  readonly #maxBytes: number;
  /** The last address that whole pages below the ceiling reach. */
  readonly #limit: number;
  readonly #ranges: Ranges;
  /** Addresses promised, by size, the lowest last. */
  readonly #promised = new Map<number, number[]>();
  /** From here on nothing was ever written. */
  #touched: number;

  /** @param maxBytes ceiling of the whole memory, below 4 GiB. */
  constructor(memory: WebAssembly.Memory, base: number, maxBytes: number) {
    this.#memory = memory;
    this.#maxBytes = maxBytes;
    this.#limit = Math.floor(maxBytes / PAGE) * PAGE;
    this.#touched = align(base);
    this.#ranges = new Ranges(align(base), this.#limit);
  }

  /** Promises included. */
  get usedBytes(): number {
    return this.#ranges.used;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** Grows the memory at once, so that many allocations do not each move it. What was freed counts as there. */
  reserve(bytes: number): void {
    const { used, end } = this.#ranges;
    if (bytes > this.#limit - used) this.#refuse(bytes, this.#limit - used);
    this.#grow(Math.min(end + Math.max(bytes - (end - used), 0), this.#limit));
  }

  /** Bytes that an allocation of `bytes` takes. */
  sizeOf(bytes: number): number {
    return align(Math.max(bytes, 1));
  }

  /** Zeroed bytes, 64-byte aligned. */
  allocate(bytes: number): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`Cannot allocate: "bytes" must be an integer of at least 0, got ${bytes}`);
    }
    const size = this.sizeOf(bytes);
    const start = this.#placeLow(size);
    const written = this.#touched;
    try {
      this.#touch(start + size);
    } catch (error) {
      this.free(start);
      throw error;
    }
    // Beyond what was ever written the memory is zero as it came.
    if (start < written) {
      new Uint8Array(this.#memory.buffer, start, Math.min(size, written - start)).fill(0);
    }
    return start;
  }

  free(start: number): void {
    this.#ranges.free(start);
  }

  /** Makes sure that `take(bytes)` can be called `count` times. @throws {MemoryError} If there is no place for all of them. */
  promise(bytes: number, count: number): void {
    const size = this.sizeOf(bytes);
    const left = this.#limit - this.#ranges.used;
    if (size * count > left) this.#refuse(size * count, left);
    const starts = this.#placeAll(size, count);
    if (starts === null) this.#refuse(size * count, this.#limit - this.#ranges.end);
    this.#setPromised(size, [...this.#promisedOf(size), ...starts]);
  }

  /** Gives up `count` promises of `bytes`, those furthest up. */
  release(bytes: number, count: number): void {
    for (const start of this.#promisedOf(this.sizeOf(bytes)).splice(0, count)) this.free(start);
  }

  /** Bytes that were promised, 64-byte aligned, not zeroed. @throws {MemoryError} If the host does not have them after all. */
  take(bytes: number): number {
    const size = this.sizeOf(bytes);
    const starts = this.#promisedOf(size);
    this.#touch(starts[starts.length - 1] + size);
    return starts.pop()!;
  }

  /** A place for `size` bytes, as low as it can be. */
  #placeLow(size: number): number {
    const start = this.#ranges.place(size);
    if (start === null) this.#refuse(size, this.#limit - this.#ranges.end);
    if (start + size <= this.#memory.buffer.byteLength || this.#promised.size === 0) return start;
    this.free(start);
    return this.#placeBelowPromised(size) ?? this.#ranges.place(size)!;
  }

  /** A place for `size` bytes where promises were, which move up; null if they do not all find another. */
  #placeBelowPromised(size: number): number | null {
    const before = [...this.#promised];
    for (const [, starts] of before) for (const start of starts) this.free(start);
    const start = this.#ranges.place(size)!;
    const moved: [number, number[]][] = [];
    for (const [bytes, starts] of before) {
      const others = this.#placeAll(bytes, starts.length);
      if (others === null) {
        for (const [, placed] of moved) for (const each of placed) this.free(each);
        this.free(start);
        for (const [each, places] of before) for (const place of places) this.#ranges.placeAt(place, each);
        return null;
      }
      moved.push([bytes, others]);
    }
    for (const [bytes, starts] of moved) this.#setPromised(bytes, starts);
    return start;
  }

  /** Places for `count` times `size` bytes; null, and none taken, if there are not so many. */
  #placeAll(size: number, count: number): number[] | null {
    const starts: number[] = [];
    while (starts.length < count) {
      const start = this.#ranges.place(size);
      if (start === null) {
        for (const each of starts) this.free(each);
        return null;
      }
      starts.push(start);
    }
    return starts;
  }

  #promisedOf(size: number): number[] {
    return this.#promised.get(size) ?? [];
  }

  #setPromised(size: number, starts: number[]): void {
    this.#promised.set(
      size,
      starts.sort((a, b) => b - a),
    );
  }

  #refuse(bytes: number, left: number): never {
    throw new MemoryError(
      `Cannot allocate: ${grouped(bytes)} bytes are needed, ${grouped(Math.max(left, 0))} of ${grouped(this.#maxBytes)} are left`,
    );
  }

  /** Sees to it that there is memory up to `end`, to be written to. */
  #touch(end: number): void {
    this.#grow(end);
    this.#touched = Math.max(this.#touched, end);
  }

  #grow(end: number): void {
    const missing = Math.ceil((end - this.#memory.buffer.byteLength) / PAGE);
    if (missing <= 0) return;
    try {
      this.#memory.grow(missing);
    } catch {
      throw new MemoryError(
        `Cannot allocate: this host refused to grow the memory to ${grouped(end)} bytes, it has ${grouped(this.#memory.buffer.byteLength)}`,
      );
    }
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
