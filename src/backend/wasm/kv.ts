/** kv: keys and values in linear memory, in the pages of assembly/layer/kv.ts, and the tables the kernels find them by. */
import type { KvCache, KvShape } from "../backend.ts";
import { KV_PAGE, KvPages, type PageStore, pageCount } from "../kv-pages.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";

export interface WasmKvCache extends KvCache {
  /** Addresses of the pages, (pages of the capacity) u32. */
  readonly table: number;
  readonly pages: KvPages<number>;
}

export class KvMemory {
  readonly #kernels: Exports;
  readonly #arena: Arena;

  constructor(kernels: Exports, arena: Arena) {
    this.#kernels = kernels;
    this.#arena = arena;
  }

  bytes(shape: KvShape, capacity: number): number {
    return (
      pageCount(capacity) * this.#arena.sizeOf(pageBytes(shape)) + this.#arena.sizeOf(tableBytes(capacity))
    );
  }

  open(shape: KvShape, capacity: number): WasmKvCache {
    return this.#cache(shape, capacity, KvPages.open(this.#poolOf(shape), capacity));
  }

  fork(cache: WasmKvCache, length: number, capacity: number): WasmKvCache {
    return this.#cache(cache, capacity, cache.pages.fork(length, capacity));
  }

  claim({ table, pages }: WasmKvCache, position: number, columns: number): void {
    pages.claim(position, columns, (index, page) => this.#write(table + index * 4, [page]));
  }

  free({ table, pages }: WasmKvCache): void {
    this.#arena.free(table);
    pages.close();
  }

  #cache({ layers, kvHeads, headDim }: KvShape, capacity: number, pages: KvPages<number>): WasmKvCache {
    try {
      const table = this.#arena.allocate(tableBytes(capacity));
      this.#write(table, pages.pages);
      return { layers, kvHeads, headDim, capacity, table, pages };
    } catch (error) {
      pages.close();
      throw error;
    }
  }

  #write(address: number, pages: readonly number[]): void {
    new Uint32Array(this.#kernels.memory.buffer, address, pages.length).set(pages);
  }

  #poolOf(shape: KvShape): PagePool {
    return new PagePool(this.#kernels.memory, this.#arena, pageBytes(shape));
  }
}

/** Pages of one size, which are their addresses. */
class PagePool implements PageStore<number> {
  readonly #memory: WebAssembly.Memory;
  readonly #arena: Arena;
  readonly #bytes: number;

  constructor(memory: WebAssembly.Memory, arena: Arena, bytes: number) {
    this.#memory = memory;
    this.#arena = arena;
    this.#bytes = bytes;
  }

  promise(count: number): void {
    this.#arena.promise(this.#bytes, count);
  }

  release(count: number): void {
    this.#arena.release(this.#bytes, count);
  }

  take(): number {
    return this.#arena.take(this.#bytes);
  }

  free(page: number): void {
    this.#arena.free(page);
  }

  copy(to: number, from: number): void {
    new Uint8Array(this.#memory.buffer).copyWithin(to, from, from + this.#bytes);
  }
}

/** The layout of assembly/layer/kv.ts. */
function pageBytes({ layers, kvHeads, headDim }: KvShape): number {
  return KV_PAGE * layers * kvHeads * (headDim * 4 + 8);
}

function tableBytes(capacity: number): number {
  return pageCount(capacity) * 4;
}
