/**
 * kv-regions: where keys and values of all caches stand: of some layers in a region each.
 *
 *     layers 0 … a − 1    region 0
 *     layers a … b − 1    region 1   …
 *
 * A kernel looks at one layer, hence binds one region: no buffer is larger than a binding, and together they may be. What is promised
 * to a cache counts against what its regions can grow to, so that none finds that out in the middle of a text.
 */
import { grouped, MemoryError } from "../../errors.ts";
import type { Recorder } from "./recorder.ts";
import { Region } from "./region.ts";

/** What caches are to have, if the device has it; regions are as few as that takes. */
const WANTED_BYTES = 8 * 2 ** 30;

/** Some layers of a cache. */
export interface LayerGroup {
  readonly region: number;
  readonly first: number;
  readonly layers: number;
}

export class KvRegions {
  readonly #recorder: Recorder;
  /** Made when a cache needs them. */
  readonly #regions: Region[] = [];
  readonly #maxBytes: number;
  /** Bytes of the region that has most, promised and held. */
  #promised = 0;

  /** @param maxBytes Of a binding. */
  constructor(recorder: Recorder, maxBytes: number) {
    this.#recorder = recorder;
    this.#maxBytes = maxBytes;
  }

  /** Layers of a cache, by the regions they are in; as even as can be. */
  groupsOf(layers: number): readonly LayerGroup[] {
    const count = Math.min(layers, Math.ceil(WANTED_BYTES / this.#maxBytes));
    const start = (region: number) => Math.floor((region * layers) / count);
    return Array.from({ length: count }, (_, region) => ({
      region,
      first: start(region),
      layers: start(region + 1) - start(region),
    }));
  }

  at(region: number): Region {
    while (this.#regions.length <= region) this.#regions.push(new Region(this.#recorder, this.#maxBytes));
    return this.#regions[region];
  }

  /** Sets room aside. @param bytes Of the region that needs most. @throws {MemoryError} If it cannot grow to that. */
  promise(bytes: number): void {
    this.expectRoom(this.#promised + bytes);
    this.#promised += bytes;
  }

  /** @throws {MemoryError} If a region cannot have so many bytes, be there other caches or not. */
  expectRoom(bytes: number): void {
    if (bytes <= this.#maxBytes) return;
    throw new MemoryError(
      `Cannot allocate keys and values: ${grouped(bytes)} bytes are needed in one buffer, this device binds ${grouped(this.#maxBytes)}`,
    );
  }

  release(bytes: number): void {
    this.#promised -= bytes;
  }

  close(): void {
    for (const region of this.#regions) region.close();
  }
}
