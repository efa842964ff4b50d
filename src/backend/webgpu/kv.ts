/**
 * kv: caches of keys and values, in pages of one GPU buffer; the kernels' layout is drawn in wgsl/kv.ts.
 */
import { expectInteger, UnsupportedError } from "../../errors.ts";
import type { KvCache, KvShape } from "../backend.ts";
import { KV_PAGE, KvPages, type PageStore, pageCount } from "../kv-pages.ts";
import type { Memory } from "../reference/memory.ts";
import { spread } from "./kernel.ts";
import type { Target } from "./recorder.ts";
import type { Region } from "./region.ts";
import { MOST_HEAD_DIM } from "./wgsl/attention.ts";
import { THREADS } from "./wgsl/layer.ts";

/** Byte offset of a page in the region. */
type Page = number;

interface KvHost extends Target {
  readonly memory: Memory;
  /** Where pages and tables stand. */
  readonly region: Region;
}

export function pageBytes({ layers, kvHeads, headDim }: KvShape): number {
  return 2 * KV_PAGE * layers * kvHeads * (headDim * 2 + 4);
}

export function gpuKvBytes(shape: KvShape, capacity: number): number {
  const { layers, kvHeads, headDim } = shape;
  for (const [name, size] of Object.entries({ capacity, layers, kvHeads, headDim })) {
    expectInteger(name, size, 0, 2 ** 32);
  }
  return pageCount(capacity) * pageBytes(shape);
}

/** Pages of one shape, counted when they are promised and placed when they are taken. */
class GpuPages implements PageStore<Page> {
  readonly #host: KvHost;
  readonly #bytes: number;

  constructor(host: KvHost, shape: KvShape) {
    this.#host = host;
    this.#bytes = pageBytes(shape);
  }

  promise(count: number): void {
    this.#host.memory.claim(count * this.#bytes);
  }

  release(count: number): void {
    this.#host.memory.release(count * this.#bytes);
  }

  take(): Page {
    return this.#host.region.allocate(this.#bytes);
  }

  free(page: Page): void {
    this.#host.region.free(page);
    this.release(1);
  }

  copy(to: Page, from: Page): void {
    const { recorder, pipelines, region } = this.#host;
    const count = this.#bytes / 4;
    const [across, down] = spread(Math.ceil(count / THREADS));
    const buffers = { floats: this.#host.floats(), second: region.buffer };
    const params = { to: to / 4, source: from / 4, count, across };
    recorder.dispatch(pipelines.named("copyPage"), buffers, params, [across, down]);
  }
}

export class GpuKvCache implements KvCache {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly capacity: number;
  readonly #host: KvHost;
  readonly #pages: KvPages<Page>;
  /** Byte offset of the table of pages in the region. */
  readonly #table: number;
  #closed = false;

  static open(host: KvHost, shape: KvShape, capacity: number): GpuKvCache {
    gpuKvBytes(shape, capacity);
    if (shape.headDim > MOST_HEAD_DIM) {
      throw new UnsupportedError(
        `Cannot use WebGPU: heads must have at most ${MOST_HEAD_DIM} elements, got ${shape.headDim}`,
      );
    }
    return new GpuKvCache(host, shape, capacity, KvPages.open(new GpuPages(host, shape), capacity));
  }

  private constructor(host: KvHost, shape: KvShape, capacity: number, pages: KvPages<Page>) {
    this.layers = shape.layers;
    this.kvHeads = shape.kvHeads;
    this.headDim = shape.headDim;
    this.capacity = capacity;
    this.#host = host;
    this.#pages = pages;
    this.#table = host.region.allocate(4 * pageCount(capacity));
  }

  /** Word of the table of pages. */
  get table(): number {
    if (this.#closed) throw new TypeError("Cannot use KV cache: already freed");
    return this.#table / 4;
  }

  fork(length: number, capacity: number): GpuKvCache {
    const fork = new GpuKvCache(this.#host, this, capacity, this.#pages.fork(length, capacity));
    fork.#place(0, fork.#pages.pages);
    return fork;
  }

  claim(position: number, columns: number): void {
    const placed: Page[] = [];
    let first = -1;
    try {
      this.#pages.claim(position, columns, (index, page) => {
        if (first < 0) first = index;
        // Between new pages there may be some that stay.
        for (let at = first + placed.length; at < index; at++) placed.push(this.#pages.pageOf(at * KV_PAGE)!);
        placed.push(page);
      });
    } finally {
      if (placed.length > 0) this.#place(first, placed);
    }
  }

  free(): void {
    if (this.#closed) throw new TypeError("Cannot free: not held by this backend, or freed before");
    this.#closed = true;
    this.#host.region.free(this.#table);
    this.#pages.close();
  }

  /** Writes pages from `first` on to the table. */
  #place(first: number, pages: readonly Page[]): void {
    if (pages.length === 0) return;
    const { recorder, region } = this.#host;
    const words = Uint32Array.from(pages, (page) => page / 4);
    recorder.write(region.buffer, this.#table + 4 * first, words);
  }
}
