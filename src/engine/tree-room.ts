/** tree-room: keys and values of a tree's nodes, by slot, until one path of it is kept. */
import type { Backend, KvCache, KvShape } from "../backend/backend.ts";
import type { Tree } from "./tree.ts";

export class TreeRoom {
  readonly #backend: Backend;
  readonly #shape: KvShape;
  #cache: KvCache | null = null;

  constructor(backend: Backend, shape: KvShape) {
    this.#backend = backend;
    this.#shape = shape;
  }

  /** A cache for `slots` nodes. It stays: who drafts one tree drafts many. @throws {MemoryError} */
  claim(slots: number): KvCache {
    if (this.#cache !== null && this.#cache.capacity < slots) this.free();
    this.#cache ??= this.#backend.kvCache(this.#shape, slots);
    this.#backend.claimKv(this.#cache, 0, slots);
    return this.#cache;
  }

  /** Moves a node to its place for good. Those of the stem are there. */
  keep(tree: Tree, node: number, to: KvCache, position: number): void {
    if (node < tree.stem || this.#cache === null) return;
    const source = tree.slot(node);
    for (let layer = 0; layer < to.layers; layer++) {
      this.#backend.copyKv(to, this.#cache, { layer, source, position, columns: 1 });
    }
  }

  free(): void {
    if (this.#cache !== null) this.#backend.free(this.#cache);
    this.#cache = null;
  }
}
