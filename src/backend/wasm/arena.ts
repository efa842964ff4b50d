/**
 * arena: allocation in the linear memory of one instance, from __heap_base up to a ceiling.
 *
 * Weights, caches and buffers are few, large and long-lived, so a first-fit list of free ranges is all it takes.
 * Memory grows by what is needed, never shrinks, and is reused after `free`.
 */
import { grouped, MemoryError } from "../../errors.ts";

const PAGE = 65_536;
const ALIGNMENT = 64;

interface Range {
  start: number;
  bytes: number;
}

export class Arena {
  readonly #memory: WebAssembly.Memory;
  readonly #maxBytes: number;
  /** The last address that whole pages below the ceiling reach. */
  readonly #limit: number;
  /** By address; neighbours are merged. */
  readonly #free: Range[] = [];
  readonly #sizes = new Map<number, number>();
  /** From here on nothing is in use. */
  #top: number;
  /** From here on nothing ever was. */
  #touched: number;
  #used: number;

  /** @param maxBytes ceiling of the whole memory, below 4 GiB. */
  constructor(memory: WebAssembly.Memory, base: number, maxBytes: number) {
    this.#memory = memory;
    this.#maxBytes = maxBytes;
    this.#limit = Math.floor(maxBytes / PAGE) * PAGE;
    this.#top = align(base);
    this.#touched = this.#top;
    this.#used = this.#top;
  }

  get usedBytes(): number {
    return this.#used;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** Grows the memory at once, so that many allocations do not each move it. What was freed counts as there. */
  reserve(bytes: number): void {
    this.#checkCeiling(bytes, this.#limit - this.#used);
    const freed = this.#top - this.#used;
    this.#grow(Math.min(this.#top + Math.max(bytes - freed, 0), this.#limit));
  }

  /** Zeroed bytes, 64-byte aligned. */
  allocate(bytes: number): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`Cannot allocate: "bytes" must be an integer of at least 0, got ${bytes}`);
    }
    const size = align(Math.max(bytes, 1));
    const index = this.#free.findIndex((range) => range.bytes >= size);
    let start: number;
    if (index >= 0) {
      const range = this.#free[index];
      start = range.start;
      range.start += size;
      range.bytes -= size;
      if (range.bytes === 0) this.#free.splice(index, 1);
      this.#clear(start, size);
    } else {
      this.#checkCeiling(size, this.#limit - this.#top);
      this.#grow(this.#top + size);
      start = this.#top;
      this.#top += size;
      // Beyond what was ever handed out the memory is zero as it came.
      if (start < this.#touched) this.#clear(start, Math.min(size, this.#touched - start));
      this.#touched = Math.max(this.#touched, this.#top);
    }
    this.#sizes.set(start, size);
    this.#used += size;
    return start;
  }

  free(start: number): void {
    const bytes = this.#sizes.get(start);
    if (bytes === undefined) throw new RangeError(`Cannot free: nothing is allocated at ${start}`);
    this.#sizes.delete(start);
    this.#used -= bytes;
    let at = this.#free.findIndex((range) => range.start > start);
    if (at < 0) at = this.#free.length;
    this.#free.splice(at, 0, { start, bytes });
    this.#merge(at);
    if (at > 0) this.#merge(at - 1);
    const last = this.#free[this.#free.length - 1];
    if (last.start + last.bytes === this.#top) {
      this.#top = last.start;
      this.#free.pop();
    }
  }

  #clear(start: number, bytes: number): void {
    new Uint8Array(this.#memory.buffer, start, bytes).fill(0);
  }

  /** Joins the free range at `index` with the next one if they touch. */
  #merge(index: number): void {
    const range = this.#free[index];
    const next = this.#free[index + 1];
    if (next === undefined || range.start + range.bytes !== next.start) return;
    range.bytes += next.bytes;
    this.#free.splice(index + 1, 1);
  }

  #checkCeiling(bytes: number, left: number): void {
    if (bytes > left) {
      throw new MemoryError(
        `Cannot allocate: ${grouped(bytes)} bytes are needed, ${grouped(Math.max(left, 0))} of ${grouped(this.#maxBytes)} are left`,
      );
    }
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
