import type { Backend, Floats, KvCache } from "../backend/backend.ts";
import { stride } from "../backend/backend.ts";
import { expectInteger, grouped } from "../errors.ts";
import type { Llama } from "../model/llama.ts";
import type { Rows, Session } from "./source.ts";
import { Tree } from "./tree.ts";
import { compute, type Work } from "./work.ts";

/** A call that was checked. */
interface CheckedCall {
  readonly tokens: readonly number[];
  readonly rows: number;
  readonly tree: Tree | null;
}

/** One sequence on a model of this process. Sessions share the model's weights and working memory. */
export class LocalSession implements Session {
  readonly capacity: number;
  readonly model: Llama;
  readonly #backend: Backend;
  readonly #cache: KvCache;
  #rows: Floats;
  #rowCount = 1;
  #length: number;
  #closed = false;
  /** Keys and values of a tree's nodes, by slot. */
  #waiting: KvCache | null = null;
  /** The last call, until something is truncated: `truncate` keeps nodes of it. */
  #last: { start: number; tree: Tree | null } | null = null;
  /** Rows are of one call and are gone with the next. */
  #calls = 0;

  /** @throws {MemoryError} If `capacity` positions do not fit into memory. */
  static open(backend: Backend, model: Llama, capacity: number): LocalSession {
    return new LocalSession(backend, model, capacity, 0, () => backend.kvCache(model.config, capacity));
  }

  private constructor(
    backend: Backend,
    model: Llama,
    capacity: number,
    length: number,
    openCache: () => KvCache,
  ) {
    this.capacity = capacity;
    this.model = model;
    this.#backend = backend;
    this.#length = length;
    this.#rows = backend.floats(stride(model.vocab));
    try {
      this.#cache = openCache();
    } catch (error) {
      backend.free(this.#rows);
      throw error;
    }
  }

  get length(): number {
    return this.#length;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const work = this.prepare(this.check(tokens, rows, parents));
    compute(this.model, [work]);
    return await work.finish();
  }

  /** @throws {RangeError | TypeError} If `forward` must refuse a call. Changes nothing. */
  check(
    tokens: ArrayLike<number>,
    rows = Math.min(1, tokens.length),
    parents?: ArrayLike<number>,
  ): CheckedCall {
    this.#expectOpen();
    const { vocab } = this.model;
    for (let i = 0; i < tokens.length; i++) expectInteger(`tokens[${i}]`, tokens[i], 0, vocab - 1);
    expectInteger("rows", rows, 0, tokens.length);
    if (this.#last?.tree)
      throw new RangeError("Cannot append: the session holds a tree, truncate it to a path first");
    const tree = parents === undefined ? null : Tree.read(parents, tokens.length);
    if (this.#length + tokens.length > this.capacity) {
      throw new RangeError(
        `Cannot append ${grouped(tokens.length)} tokens: the session holds ${grouped(this.#length)} of at most ${grouped(this.capacity)}`,
      );
    }
    return { tokens: Array.from(tokens), rows, tree };
  }

  /** Takes the memory for a checked call. @throws {MemoryError} If it is not there; no token is lost then. */
  prepare({ tokens, rows, tree }: CheckedCall): Work {
    const columns = tokens.length;
    const start = this.#length;
    this.#calls++;
    this.#makeRoom(rows);
    this.#backend.claimKv(this.#cache, start, columns);
    const waiting = tree && this.#waitingRoom(tree.slots);
    const path: number[] = [];
    const size = stride(this.model.vocab);
    return {
      columns,
      part: (from, to) => {
        const firstRow = columns - rows;
        const first = Math.max(0, from - firstRow);
        const wanted = Math.max(0, to - Math.max(from, firstRow));
        return {
          cache: this.#cache,
          tokens: tokens.slice(from, to),
          runs:
            tree && waiting
              ? tree.runs(from, to, start, waiting, path)
              : [{ columns: to - from, position: start + from }],
          rows: wanted,
          out: this.#backend.slice(this.#rows, first * size, wanted * size),
        };
      },
      finish: () => {
        this.#length = start + columns;
        this.#last = { start, tree };
        return this.#read(rows);
      },
    };
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectOpen();
    const end = this.#last?.tree ? this.#last.start + this.#last.tree.stem : this.#length;
    expectInteger("length", length, 0, end);
    this.#checkPath(length, path);
    const tree = this.#last?.tree;
    if (tree) for (let i = 0; i < path.length; i++) this.#keep(tree, path[i], length + i);
    this.#length = length + path.length;
    this.#last = null;
  }

  fork(options: { capacity?: number } = {}): Session {
    this.#expectOpen();
    if (this.#last?.tree)
      throw new RangeError("Cannot fork: the session holds a tree, truncate it to a path first");
    const least = Math.max(1, this.#length);
    const { contextLength } = this.model;
    const capacity = expectInteger("capacity", options.capacity ?? this.capacity, least, contextLength);
    return new LocalSession(this.#backend, this.model, capacity, this.#length, () =>
      this.#backend.forkKv(this.#cache, this.#length, capacity),
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#backend.free(this.#cache);
    if (this.#waiting !== null) this.#backend.free(this.#waiting);
    this.#backend.free(this.#rows);
  }

  #checkPath(length: number, path: ArrayLike<number>): void {
    if (path.length === 0) return;
    if (this.#last === null || length < this.#last.start) {
      throw new RangeError(
        `"path" must be empty: no token at or behind ${grouped(length)} is known to be a node of the last call`,
      );
    }
    const { start, tree } = this.#last;
    let parent = length - start - 1;
    for (let i = 0; i < path.length; i++) {
      const node = expectInteger(`path[${i}]`, path[i], 0, this.#length - start - 1);
      const found = tree === null ? node - 1 : tree.parent(node);
      if (found !== parent)
        throw new RangeError(`"path[${i}]" must be a child of ${parent}, got ${node}, a child of ${found}`);
      parent = node;
    }
  }

  /** Moves a node to its place for good. Those of the stem are there. */
  #keep(tree: Tree, node: number, position: number): void {
    if (node < tree.stem || this.#waiting === null) return;
    const source = tree.slot(node);
    for (let layer = 0; layer < this.#cache.layers; layer++) {
      this.#backend.copyKv(this.#cache, this.#waiting, { layer, source, position, columns: 1 });
    }
  }

  #makeRoom(rows: number): void {
    if (rows <= this.#rowCount) return;
    const larger = this.#backend.floats(rows * stride(this.model.vocab));
    this.#backend.free(this.#rows);
    this.#rows = larger;
    this.#rowCount = rows;
  }

  /** A cache for `slots` nodes. It stays: who drafts one tree drafts many. */
  #waitingRoom(slots: number): KvCache {
    if (this.#waiting !== null && this.#waiting.capacity < slots) {
      this.#backend.free(this.#waiting);
      this.#waiting = null;
    }
    this.#waiting ??= this.#backend.kvCache(this.model.config, slots);
    this.#backend.claimKv(this.#waiting, 0, slots);
    return this.#waiting;
  }

  async #read(count: number): Promise<Rows> {
    const { vocab } = this.model;
    const backend = this.#backend;
    const call = this.#calls;
    const at = (index: number) => {
      if (this.#closed || this.#calls !== call)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
      expectInteger("index", index, 0, count - 1);
      return backend.slice(this.#rows, index * stride(vocab), vocab);
    };
    // A backend on another device hands its rows over here; one in this process is looked at when asked.
    const remote = backend.name === "webgpu";
    const values = remote && count > 0 ? await backend.read(this.#rows) : new Float32Array(0);
    return {
      count,
      vocab,
      row: (index) => {
        const floats = at(index);
        if (!remote) return backend.read(floats) as Float32Array;
        return values.subarray(index * stride(vocab), index * stride(vocab) + vocab);
      },
      argmax: (index) => backend.argmax(at(index), vocab) as number,
      top: (index, some) =>
        backend.top(at(index), vocab, expectInteger("count", some, 0, vocab)) as ReturnType<Rows["top"]>,
      logSumExp: (index) => backend.logSumExp(at(index), vocab) as number,
    };
  }

  #expectOpen(): void {
    if (this.#closed) throw new RangeError("Cannot use session: it is closed");
  }
}

/** Bytes that a session of `capacity` positions takes. */
export function sessionBytes(
  backend: Backend,
  model: Pick<Llama, "config" | "vocab">,
  capacity: number,
): number {
  // Allocations are rounded up to 64 bytes each.
  return backend.kvBytes(model.config, capacity) + stride(model.vocab) * 4 + 64;
}
