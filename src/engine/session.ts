import type { Backend, Floats, KvCache } from "../backend/backend.ts";
import { stride } from "../backend/backend.ts";
import { expectInteger, grouped } from "../errors.ts";
import { CHUNK, type Llama } from "../model/llama.ts";
import type { Rows, Session } from "./source.ts";

/** One sequence on a model of this process. Sessions share the model's weights and working memory. */
export class LocalSession implements Session {
  readonly capacity: number;
  readonly #backend: Backend;
  readonly #model: Llama;
  readonly #caches: readonly KvCache[];
  #rows: Floats;
  #rowCount = 1;
  #length = 0;
  #closed = false;

  /** @throws {RangeError} If `capacity` positions do not fit into memory. */
  constructor(backend: Backend, model: Llama, capacity: number) {
    this.capacity = capacity;
    this.#backend = backend;
    this.#model = model;
    backend.reserve(sessionBytes(backend, model, capacity));
    this.#rows = backend.floats(stride(model.vocab));
    try {
      this.#caches = model.openCaches(capacity);
    } catch (error) {
      // Enough bytes are free, but not in one piece.
      backend.free(this.#rows);
      throw error;
    }
  }

  get length(): number {
    return this.#length;
  }

  async forward(tokens: ArrayLike<number>, rows = Math.min(1, tokens.length)): Promise<Rows> {
    this.#check(tokens, rows);
    this.#makeRoom(rows);
    const { vocab } = this.#model;
    const firstRow = tokens.length - rows;
    for (let at = 0; at < tokens.length; at += CHUNK) {
      const chunk = Array.prototype.slice.call(tokens, at, at + CHUNK) as number[];
      const wanted = Math.max(0, at + chunk.length - Math.max(at, firstRow));
      const first = Math.max(0, at - firstRow);
      const out = this.#backend.slice(this.#rows, first * stride(vocab), wanted * stride(vocab));
      this.#model.forward(this.#caches, chunk, this.#length, wanted, out);
      this.#length += chunk.length;
    }
    return this.#read(rows);
  }

  truncate(length: number): void {
    this.#expectOpen();
    this.#length = expectInteger("length", length, 0, this.#length);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const cache of this.#caches) this.#backend.free(cache);
    this.#backend.free(this.#rows);
  }

  /** Everything is checked before anything is appended. */
  #check(tokens: ArrayLike<number>, rows: number): void {
    this.#expectOpen();
    const { vocab } = this.#model;
    for (let i = 0; i < tokens.length; i++) expectInteger(`tokens[${i}]`, tokens[i], 0, vocab - 1);
    expectInteger("rows", rows, 0, tokens.length);
    if (this.#length + tokens.length > this.capacity) {
      throw new RangeError(
        `Cannot append ${grouped(tokens.length)} tokens: the session holds ${grouped(this.#length)} of at most ${grouped(this.capacity)}`,
      );
    }
  }

  #makeRoom(rows: number): void {
    if (rows <= this.#rowCount) return;
    const larger = this.#backend.floats(rows * stride(this.#model.vocab));
    this.#backend.free(this.#rows);
    this.#rows = larger;
    this.#rowCount = rows;
  }

  async #read(count: number): Promise<Rows> {
    const { vocab } = this.#model;
    const backend = this.#backend;
    const at = (index: number) => {
      expectInteger("index", index, 0, count - 1);
      return backend.slice(this.#rows, index * stride(vocab), vocab);
    };
    // A backend on another device hands its rows over here; one in this process is looked at when asked.
    const values = count === 0 ? new Float32Array(0) : await backend.read(this.#rows);
    const remote = backend.name === "webgpu";
    return {
      count,
      vocab,
      row: (index) => {
        const floats = at(index);
        if (!remote) return backend.read(floats) as Float32Array;
        return values.subarray(index * stride(vocab), index * stride(vocab) + vocab);
      },
      argmax: (index) => backend.argmax(at(index), vocab) as number,
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
  const { layers, kvHeads, headDim } = model.config;
  // Allocations are rounded up to 64 bytes each.
  return layers * (backend.kvBytes(capacity, kvHeads, headDim) + 64) + stride(model.vocab) * 4 + 64;
}
