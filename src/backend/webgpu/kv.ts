/**
 * kv: caches of keys and values, in pages of a few GPU buffers; the kernels' layout is drawn in wgsl/kv.ts.
 */
import { expectInteger, UnsupportedError } from "../../errors.ts";
import type { KvCache, KvShape } from "../backend.ts";
import { KV_PAGE, KvPages, type PageStore, pageCount } from "../kv-pages.ts";
import type { Memory } from "../reference/memory.ts";
import { spread } from "./kernel.ts";
import type { KvRegions, LayerGroup } from "./kv-regions.ts";
import type { Target } from "./recorder.ts";
import { aligned } from "./region.ts";
import { MOST_HEAD_DIM } from "./wgsl/attention.ts";
import { THREADS } from "./wgsl/layer.ts";

/** Byte offset of each of its parts: one per group of layers, in the group's region. */
type Page = readonly number[];

interface KvHost extends Target {
  readonly memory: Memory;
  /** Where pages and tables stand. */
  readonly regions: KvRegions;
}

/** Where kernels find a layer of a cache. */
export interface LayerPlace {
  readonly buffer: GPUBuffer;
  /** Those that stand in the buffer, and which one of them it is. */
  readonly layers: number;
  readonly layer: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Word of the table of pages. */
  readonly table: number;
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

/** @throws {MemoryError} If a cache of `capacity` positions could not be had, were it the only one. */
export function expectKvRoom(regions: KvRegions, shape: KvShape, capacity: number): void {
  const groups = regions.groupsOf(shape.layers);
  const page = Math.max(0, ...groups.map(({ layers }) => pageBytes({ ...shape, layers })));
  regions.expectRoom(pageCount(capacity) * page + tableBytes(capacity, page));
}

/** Bytes set aside for a table. It may stand where a page could, hence as much as that. */
function tableBytes(capacity: number, page: number): number {
  return aligned(4 * pageCount(capacity)) + page;
}

/** Pages of one shape, counted when they are promised and placed when they are taken. */
class GpuPages implements PageStore<Page> {
  readonly #host: KvHost;
  readonly #bytes: number;
  readonly groups: readonly LayerGroup[];
  readonly #groupBytes: readonly number[];
  /** Of a page, in the region that has most of it. */
  readonly mostBytes: number;

  constructor(host: KvHost, shape: KvShape) {
    this.#host = host;
    this.#bytes = pageBytes(shape);
    this.groups = host.regions.groupsOf(shape.layers);
    this.#groupBytes = this.groups.map(({ layers }) => pageBytes({ ...shape, layers }));
    this.mostBytes = Math.max(0, ...this.#groupBytes);
  }

  promise(count: number): void {
    const { memory, regions } = this.#host;
    regions.promise(count * this.mostBytes);
    try {
      memory.claim(count * this.#bytes);
    } catch (error) {
      regions.release(count * this.mostBytes);
      throw error;
    }
  }

  release(count: number): void {
    this.#host.memory.release(count * this.#bytes);
    this.#host.regions.release(count * this.mostBytes);
  }

  take(): Page {
    return this.groups.map(({ region }, i) => this.#host.regions.at(region).allocate(this.#groupBytes[i]));
  }

  free(page: Page): void {
    for (const [i, { region }] of this.groups.entries()) this.#host.regions.at(region).free(page[i]);
    this.release(1);
  }

  copy(to: Page, from: Page): void {
    const { recorder, pipelines, regions } = this.#host;
    for (const [i, { region }] of this.groups.entries()) {
      const count = this.#groupBytes[i] / 4;
      const [across, down] = spread(Math.ceil(count / THREADS));
      const buffers = { floats: this.#host.floats(), second: regions.at(region).buffer };
      const params = { to: to[i] / 4, source: from[i] / 4, count, across };
      recorder.dispatch(pipelines.named("copyPage"), buffers, params, [across, down]);
    }
  }
}

export class GpuKvCache implements KvCache {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly capacity: number;
  readonly #host: KvHost;
  readonly #store: GpuPages;
  readonly #pages: KvPages<Page>;
  /** Byte offset of the table of pages in each region. */
  readonly #tables: readonly number[];
  #closed = false;

  /** @throws {MemoryError} If there is no room for `capacity` positions. */
  static open(host: KvHost, shape: KvShape, capacity: number): GpuKvCache {
    gpuKvBytes(shape, capacity);
    if (shape.headDim > MOST_HEAD_DIM) {
      throw new UnsupportedError(
        `Cannot use WebGPU: heads must have at most ${MOST_HEAD_DIM} elements, got ${shape.headDim}`,
      );
    }
    const store = new GpuPages(host, shape);
    return GpuKvCache.#open(host, shape, store, KvPages.open(store, capacity), capacity);
  }

  static #open(host: KvHost, shape: KvShape, store: GpuPages, pages: KvPages<Page>, capacity: number) {
    try {
      return new GpuKvCache(host, shape, store, pages, capacity);
    } catch (error) {
      pages.close();
      throw error;
    }
  }

  private constructor(host: KvHost, shape: KvShape, store: GpuPages, pages: KvPages<Page>, capacity: number) {
    this.layers = shape.layers;
    this.kvHeads = shape.kvHeads;
    this.headDim = shape.headDim;
    this.capacity = capacity;
    this.#host = host;
    this.#store = store;
    this.#pages = pages;
    host.regions.promise(tableBytes(capacity, store.mostBytes));
    this.#tables = store.groups.map(({ region }) =>
      host.regions.at(region).allocate(4 * pageCount(capacity)),
    );
  }

  at(layer: number): LayerPlace {
    if (this.#closed) throw new TypeError("Cannot use KV cache: already freed");
    const { kvHeads, headDim } = this;
    const index = this.#store.groups.findLastIndex(({ first }) => first <= layer);
    const { region, first, layers } = this.#store.groups[index];
    const { buffer } = this.#host.regions.at(region);
    return { buffer, layers, layer: layer - first, kvHeads, headDim, table: this.#tables[index] / 4 };
  }

  fork(length: number, capacity: number): GpuKvCache {
    const pages = this.#pages.fork(length, capacity);
    const fork = GpuKvCache.#open(this.#host, this, this.#store, pages, capacity);
    fork.#place(0, pages.pages);
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
    const { regions } = this.#host;
    for (const [i, { region }] of this.#store.groups.entries()) regions.at(region).free(this.#tables[i]);
    regions.release(tableBytes(this.capacity, this.#store.mostBytes));
    this.#pages.close();
  }

  /** Writes pages from `first` on to the tables. */
  #place(first: number, pages: readonly Page[]): void {
    if (pages.length === 0) return;
    const { recorder, regions } = this.#host;
    for (const [i, { region }] of this.#store.groups.entries()) {
      const words = Uint32Array.from(pages, (page) => page[i] / 4);
      recorder.write(regions.at(region).buffer, this.#tables[i] + 4 * first, words);
    }
  }
}
