/**
 * memory: what a backend holds, counted in bytes against a ceiling, and handles that know when theirs is gone.
 */
import { expectInteger, grouped, MemoryError } from "../../errors.ts";
import type { Floats } from "../backend.ts";

/** Bytes that were counted, as the typed arrays they are used through. Made and freed by `Memory`. */
export class Allocation<T> {
  readonly bytes: number;
  readonly #what: string;
  #data: T | undefined;

  constructor(what: string, bytes: number, data: T) {
    this.#what = what;
    this.bytes = bytes;
    this.#data = data;
  }

  /** @throws {TypeError} If it has been freed, as for a detached ArrayBuffer. */
  get data(): T {
    if (this.#data === undefined) throw new TypeError(`Cannot use ${this.#what}: already freed`);
    return this.#data;
  }

  /** Lets the arrays go, whoever still holds this. */
  drop(): void {
    this.#data = undefined;
  }
}

export class Memory {
  readonly maxBytes: number;
  #used = 0;
  #closed = false;
  readonly #live = new Set<Allocation<unknown>>();

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  get usedBytes(): number {
    return this.#used;
  }

  /** @throws {MemoryError} If `bytes` more would pass the ceiling. */
  reserve(bytes: number): void {
    if (this.#closed) throw new TypeError("Cannot allocate: backend is closed");
    const left = this.maxBytes - this.#used;
    if (bytes > left) {
      throw new MemoryError(
        `Cannot allocate: ${grouped(bytes)} bytes are needed, ${grouped(left)} of ${grouped(this.maxBytes)} are left`,
      );
    }
  }

  /** @param make Creates the arrays, which together take `bytes`; not called if they would pass the ceiling. */
  allocate<T>(what: string, bytes: number, make: () => T): Allocation<T> {
    this.reserve(bytes);
    const allocation = new Allocation(what, bytes, this.make(what, bytes, make));
    this.#live.add(allocation);
    this.#used += bytes;
    return allocation;
  }

  /** Counts `bytes` that are yet to be made. @throws {MemoryError} If they would pass the ceiling. */
  claim(bytes: number): void {
    this.reserve(bytes);
    this.#used += bytes;
  }

  /** Counts `bytes` no longer that were claimed. */
  release(bytes: number): void {
    this.#used -= bytes;
  }

  /** Creates arrays of `bytes` that are counted already. */
  make<T>(what: string, bytes: number, make: () => T): T {
    try {
      return make();
    } catch (cause) {
      throw new MemoryError(`Cannot allocate: this host refused ${grouped(bytes)} bytes for ${what}`, {
        cause,
      });
    }
  }

  /** @throws {TypeError} If it is not held: freed before, or another memory's. */
  free(allocation: Allocation<unknown>): void {
    if (!this.#live.delete(allocation))
      throw new TypeError("Cannot free: not held by this backend, or freed before");
    this.#used -= allocation.bytes;
    allocation.drop();
  }

  close(): void {
    for (const allocation of this.#live) allocation.drop();
    this.#live.clear();
    this.#used = 0;
    this.#closed = true;
  }
}

/** f32 values, or a part of some. */
export class HeldFloats implements Floats {
  readonly length: number;
  readonly isSlice: boolean;
  readonly allocation: Allocation<Float32Array>;
  readonly #start: number;

  static allocate(memory: Memory, length: number): HeldFloats {
    expectInteger("length", length, 0, Number.MAX_SAFE_INTEGER / 4);
    const allocation = memory.allocate("floats", length * 4, () => new Float32Array(length));
    return new HeldFloats(allocation, 0, length, false);
  }

  private constructor(allocation: Allocation<Float32Array>, start: number, length: number, isSlice: boolean) {
    this.allocation = allocation;
    this.#start = start;
    this.length = length;
    this.isSlice = isSlice;
  }

  slice(start: number, length: number): HeldFloats {
    expectInteger("start", start, 0, this.length);
    expectInteger("length", length, 0, this.length - start);
    return new HeldFloats(this.allocation, this.#start + start, length, true);
  }

  /** The values, to read and to write. */
  get values(): Float32Array {
    return this.allocation.data.subarray(this.#start, this.#start + this.length);
  }
}

/**
 * The values behind a handle.
 *
 * @param name  Of the argument, for the error.
 * @param count How many the operation touches.
 * @throws {RangeError} If there are fewer. The other backends do not look: an architecture is tried here first.
 */
export function valuesOf(x: Floats, name: string, count = 0): Float32Array {
  if (!(x instanceof HeldFloats)) throw new TypeError(`"${name}" must be floats of a reference backend`);
  if (x.length < count) {
    throw new RangeError(`"${name}" must hold ${grouped(count)} values, got ${grouped(x.length)}`);
  }
  return x.values;
}
