import type { Floats } from "../../backend/backend.ts";
import { stride } from "../../backend/backend.ts";
import type { WebGpuBackend } from "../../backend/webgpu/index.ts";
import { type Draws, drawFrom } from "../drawn-rows.ts";
import type { Ask } from "../session-checks.ts";

/** Fused rows of one call that stay on the device that fused them, for it to draw from; (count, stride(vocab)). */
export class LeftRows {
  readonly device: WebGpuBackend;
  readonly #vocab: number;
  #floats: Floats;
  #room = 1;
  /** By index, where a row is none: why. */
  readonly failures: (Error | undefined)[] = [];

  /** @throws {MemoryError} If there is no room for one row. */
  constructor(device: WebGpuBackend, vocab: number) {
    this.device = device;
    this.#vocab = vocab;
    this.#floats = device.floats(stride(vocab));
  }

  /** Makes room for `count` rows; those that were there are gone. @throws {MemoryError} If there is none. */
  clear(count: number): void {
    this.failures.length = 0;
    if (count <= this.#room) return;
    const larger = this.device.floats(count * stride(this.#vocab));
    this.device.free(this.#floats);
    this.#floats = larger;
    this.#room = count;
  }

  /** Where row `index` is to be. */
  at(index: number): Floats {
    return this.device.slice(this.#floats, index * stride(this.#vocab), this.#vocab);
  }

  fail(index: number, error: Error): void {
    this.failures[index] = error;
  }

  /** @throws {UnsupportedError} If the device is gone. */
  async draw(ask: Ask): Promise<Draws> {
    return await drawFrom(this.device.drawKernels(), this.#first(ask.tasks.length), this.#vocab, ask);
  }

  /** But for what was made of rows that are none. */
  told({ drawn, scanned }: Draws): Draws {
    return {
      drawn: drawn.map((one, index) => (this.failures[index] === undefined ? one : null)),
      scanned: this.failures.length === 0 ? scanned : null,
    };
  }

  /** The first `count`. @throws {UnsupportedError} If the device is gone. */
  async read(count: number): Promise<readonly Float32Array[]> {
    const size = stride(this.#vocab);
    const values = await this.device.read(this.#first(count));
    return Array.from({ length: count }, (_, i) => values.subarray(i * size, i * size + this.#vocab));
  }

  free(): void {
    this.device.free(this.#floats);
  }

  #first(count: number): Floats {
    return this.device.slice(this.#floats, 0, count * stride(this.#vocab));
  }
}
