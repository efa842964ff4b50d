/** staging: buffers that results are read through, used again. */

const LEAST_BYTES = 256;
/** Those that are free and too small would pile up. */
const MOST_FREE = 2;

export class Staging {
  readonly #create: (size: number) => GPUBuffer;
  #free: GPUBuffer[] = [];
  #closed = false;

  constructor(create: (size: number) => GPUBuffer) {
    this.#create = create;
  }

  /** The smallest that is large enough, or a new one. */
  take(bytes: number): GPUBuffer {
    const fitting = this.#free.filter(({ size }) => size >= bytes).sort((a, b) => a.size - b.size)[0];
    if (fitting !== undefined) {
      this.#free.splice(this.#free.indexOf(fitting), 1);
      return fitting;
    }
    for (const one of this.#free.splice(MOST_FREE)) one.destroy();
    let size = LEAST_BYTES;
    while (size < bytes) size *= 2;
    return this.#create(size);
  }

  /** Takes one back that is not mapped. */
  give(buffer: GPUBuffer): void {
    if (this.#closed) buffer.destroy();
    else this.#free.push(buffer);
  }

  close(): void {
    this.#closed = true;
    for (const one of this.#free.splice(0)) one.destroy();
  }
}
