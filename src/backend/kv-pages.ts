/**
 * kv-pages: which pages hold a sequence's positions, who shares them, and who may count on more.
 *
 *     position p  →  slot p % KV_PAGE of page p / KV_PAGE
 *
 * A sequence is promised the pages of its whole capacity when it is opened and takes them as it grows, so that none runs
 * out of memory because of another. A fork holds the same pages. Whoever writes to a page that others hold gets a copy
 * first, and is alone with it; the last one left writes in place. For the page that a fork continues in, such copies are
 * promised with it (`spares`). One that goes back into pages before the fork and on from there has to ask.
 *
 * Source: paged attention, Kwon et al. 2023, arXiv:2309.06180.
 */

/** Positions of a page: what sequences share, and grow by. The kernels have the same number. */
export const KV_PAGE = 64;

/** Where pages come from. */
export interface PageStore<Page> {
  /** Sets memory for `count` pages aside. @throws {MemoryError} If it is not there for all of them; none is set aside then. */
  promise(count: number): void;
  /** Gives up memory set aside for `count` pages that were not taken. */
  release(count: number): void;
  /** Takes a page that was promised. @throws {MemoryError} If the host does not have the memory after all. */
  take(): Page;
  /** Gives a page back, and its memory. */
  free(page: Page): void;
  copy(to: Page, from: Page): void;
}

interface SharedPage<Page> {
  readonly page: Page;
  /** Sequences that hold it. */
  holders: number;
  /** Pages promised for copies of it. All holders but one can need one, so there are fewer than holders. */
  spares: number;
}

export class KvPages<Page> {
  readonly #store: PageStore<Page>;
  readonly #held: SharedPage<Page>[];
  /** Pages that this sequence may still take. */
  #promised: number;

  /** @throws {MemoryError} If there is no memory for `capacity` positions. */
  static open<Page>(store: PageStore<Page>, capacity: number): KvPages<Page> {
    const count = pageCount(capacity);
    store.promise(count);
    return new KvPages(store, [], count);
  }

  private constructor(store: PageStore<Page>, held: SharedPage<Page>[], promised: number) {
    this.#store = store;
    this.#held = held;
    this.#promised = promised;
  }

  /** Those taken so far, in order. */
  get pages(): Page[] {
    return this.#held.map(({ page }) => page);
  }

  /** The page of `position`; undefined where none has been taken. */
  pageOf(position: number): Page | undefined {
    return this.#held[Math.floor(position / KV_PAGE)]?.page;
  }

  /** Whether `position` can be written to: its page is there and nobody else's. */
  writable(position: number): boolean {
    return this.#held[Math.floor(position / KV_PAGE)]?.holders === 1;
  }

  /**
   * Makes `columns` positions from `position` on writable. What is before `position` keeps its contents.
   *
   * @param placed Called for each page that is new at its place.
   * @throws {MemoryError} If there is no memory for copies of pages from before a fork; no position has changed then.
   */
  claim(position: number, columns: number, placed: (index: number, page: Page) => void): void {
    for (let index = Math.floor(position / KV_PAGE); index * KV_PAGE < position + columns; index++) {
      const held = this.#held[index];
      if (held?.holders === 1) continue;
      const page = held === undefined ? this.#store.take() : this.#takeCopy(held, index * KV_PAGE < position);
      if (held === undefined) this.#promised--;
      this.#held[index] = { page, holders: 1, spares: 0 };
      placed(index, page);
    }
  }

  #takeCopy(held: SharedPage<Page>, withContents: boolean): Page {
    const promised = held.spares > 0;
    if (!promised) this.#store.promise(1);
    let page: Page;
    try {
      page = this.#store.take();
    } catch (error) {
      if (!promised) this.#store.release(1);
      throw error;
    }
    if (withContents) this.#store.copy(page, held.page);
    if (promised) held.spares--;
    held.holders--;
    return page;
  }

  /**
   * Another sequence of the same first `length` positions.
   * @throws {MemoryError} If there is no memory for the rest of `capacity` positions.
   */
  fork(length: number, capacity: number): KvPages<Page> {
    const shared = this.#held.slice(0, pageCount(length));
    const rest = pageCount(capacity) - shared.length;
    // The page that both go on in: its holders, the new one included, may all need a copy but for one.
    const last = length % KV_PAGE > 0 ? shared[shared.length - 1] : undefined;
    const copies = last === undefined ? 0 : last.holders - last.spares;
    this.#store.promise(rest + copies);
    for (const held of shared) held.holders++;
    if (last !== undefined) last.spares += copies;
    return new KvPages(this.#store, shared, rest);
  }

  close(): void {
    let unused = this.#promised;
    for (const held of this.#held) {
      held.holders--;
      if (held.holders === 0) this.#store.free(held.page);
      else if (held.spares === held.holders) {
        held.spares--;
        unused++;
      }
    }
    this.#store.release(unused);
    this.#held.length = 0;
    this.#promised = 0;
  }
}

/** Pages that `capacity` positions take. */
export function pageCount(capacity: number): number {
  return Math.ceil(capacity / KV_PAGE);
}
