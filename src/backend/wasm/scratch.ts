/** Memory for the arguments and results of one call: it grows to the largest need, and is never zeroed. */
import type { Arena } from "./arena.ts";

export class Scratch {
  readonly #memory: WebAssembly.Memory;
  readonly #arena: Arena;
  #address = 0;
  #bytes = 0;

  constructor(memory: WebAssembly.Memory, arena: Arena) {
    this.#memory = memory;
    this.#arena = arena;
  }

  /** The address of `bytes`, 64-byte aligned; what was there before is gone, and the memory may have moved. */
  of(bytes: number): number {
    if (bytes > this.#bytes) {
      if (this.#bytes > 0) this.#arena.free(this.#address);
      this.#bytes = 0;
      this.#address = this.#arena.allocate(bytes);
      this.#bytes = bytes;
    }
    return this.#address;
  }

  view(): DataView {
    return new DataView(this.#memory.buffer, this.#address, this.#bytes);
  }
}
