import type { Backend, Floats, KvCache } from "../backend/backend.ts";
import { stride } from "../backend/backend.ts";
import { expectInteger, MemoryError } from "../errors.ts";
import { CHUNK, type Llama, type Part } from "../model/llama.ts";
import { type Ahead, AheadStates } from "./ahead.ts";
import { lazyRows } from "./lazy-rows.ts";
import {
  type CheckedCall,
  checkCall,
  checkTruncation,
  expectChain,
  type LastCall,
} from "./session-checks.ts";
import { checkTargets, computeNll } from "./session-nll.ts";
import type { Rows, Session } from "./source.ts";
import type { Tree } from "./tree.ts";
import { compute, type Work } from "./work.ts";

/** What sessions of a model share. */
export interface SessionHost {
  readonly backend: Backend;
  readonly model: Llama;
  /** Where rows are looked at, if they are made on another device. Default: the backend. */
  readonly rowsBackend?: Backend;
  /** Gives back some memory that can be done without; false if there is none. Asked for when a session is short of it. */
  relieve?(): boolean;
}

/** One sequence on a model of this process. Sessions share the model's weights and working memory. */
export class LocalSession implements Session {
  readonly capacity: number;
  readonly model: Llama;
  /** Absent where rows are made on another device: heads that draft ask it for numbers at once. */
  readonly ahead: Ahead | undefined;
  readonly nll: Session["nll"];
  readonly #host: SessionHost;
  readonly #backend: Backend;
  readonly #cache: KvCache;
  #rows: Floats;
  #rowCount = 1;
  /** Copies of rows that were made on another device, in its own backend. */
  #copies: Floats | null = null;
  #length: number;
  #closed = false;
  /** Keys and values of a tree's nodes, by slot. */
  #waiting: KvCache | null = null;
  #last: LastCall | null = null;
  readonly #states: AheadStates;
  /** Of the last columns of a call whose row is not made yet, (CHUNK, D). */
  #lastStates: Floats | null = null;
  /** Rows are of one call and are gone with the next. */
  #calls = 0;

  /** @throws {MemoryError} If `capacity` positions do not fit into memory. */
  static open(host: SessionHost, capacity: number): LocalSession {
    const { backend, model } = host;
    return new LocalSession(host, capacity, 0, () => backend.kvCache(model.config, capacity));
  }

  /** A session that begins with the first `length` positions of `prefix`. @throws {MemoryError} As `open`. */
  static openAfter(host: SessionHost, capacity: number, prefix: KvCache, length: number): LocalSession {
    return new LocalSession(host, capacity, length, () => host.backend.forkKv(prefix, length, capacity));
  }

  private constructor(host: SessionHost, capacity: number, length: number, openCache: () => KvCache) {
    const { backend, model } = host;
    this.capacity = capacity;
    this.model = model;
    this.#host = host;
    this.#backend = backend;
    this.#length = length;
    this.#states = new AheadStates(backend, model.config.hidden);
    this.ahead = host.rowsBackend
      ? undefined
      : {
          run: (tokens) => this.#runAhead(tokens),
          headBytes: model.headBytes,
          openHead: () => model.openDraftHead(),
        };
    if (model.hasLikelihood) this.nll = (tokens, targets) => this.#nll(tokens, targets);
    this.#rows = this.#relieved(() => backend.floats(stride(model.vocab)));
    try {
      this.#cache = this.#relieved(openCache);
    } catch (error) {
      backend.free(this.#rows);
      throw error;
    }
  }

  get length(): number {
    return this.#length;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const call = this.check(tokens, rows, parents);
    const isLocal = this.#host.rowsBackend === undefined;
    const isLazy = isLocal && call.rows === 1 && call.tree === null && this.model.answers !== null;
    const work = this.prepare(call, isLazy);
    compute(this.model, [work]);
    return await work.finish();
  }

  /** @throws {RangeError | TypeError} If `forward` must refuse a call. Changes nothing. */
  check(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): CheckedCall {
    this.#expectOpen();
    return checkCall(this, this.model.vocab, this.#last, { tokens, rows, parents });
  }

  /**
   * Takes the memory for a checked call.
   *
   * @param isLazy The one row is made when it is asked for, of the state that is kept instead.
   * @throws {MemoryError} If it is not there; no token is lost then.
   */
  prepare({ tokens, rows, tree }: CheckedCall, isLazy = false): Work {
    // The layers of these were run ahead. One token at least is left: a pass has columns.
    const known = tree === null ? this.#states.matching(tokens, tokens.length - 1) : 0;
    const columns = tokens.length - known;
    const start = this.#length + known;
    this.#calls++;
    const waiting = this.#relieved(() => {
      this.#makeRoom(rows);
      this.#backend.claimKv(this.#cache, start, columns);
      if (isLazy) this.#lastStates ??= this.#backend.floats(CHUNK * this.model.config.hidden);
      return tree && this.#waitingRoom(tree.slots);
    });
    this.#states.keep(known);
    const freshRows = Math.min(rows, columns);
    const knownRows = rows - freshRows;
    const path: number[] = [];
    const size = stride(this.model.vocab);
    const { hidden } = this.model.config;
    let kept = 0;
    return {
      columns,
      part: (from, to) => {
        if (isLazy) {
          kept = to - from;
          return {
            cache: this.#cache,
            tokens: tokens.slice(known + from, known + to),
            runs: [{ columns: kept, position: start + from }],
            rows: 0,
            out: this.#backend.slice(this.#rows, 0, 0),
            states: this.#backend.slice(this.#lastStates!, 0, kept * hidden),
          };
        }
        const firstRow = columns - freshRows;
        const wanted = Math.max(0, to - Math.max(from, firstRow));
        const withKnown = from === 0 && knownRows > 0;
        const first = withKnown ? 0 : knownRows + Math.max(0, from - firstRow);
        const outRows = withKnown ? knownRows + wanted : wanted;
        return {
          cache: this.#cache,
          tokens: tokens.slice(known + from, known + to),
          runs:
            tree && waiting
              ? tree.runs(from, to, start, waiting, path)
              : [{ columns: to - from, position: start + from }],
          rows: wanted,
          out: this.#backend.slice(this.#rows, first * size, outRows * size),
          ...(withKnown && { known: this.#states.states(known - knownRows, knownRows) }),
        };
      },
      finish: async () => {
        this.#last = { start: this.#length, tree };
        this.#length += tokens.length;
        this.#states.keep(0);
        const made = this.#read(rows);
        if (!isLazy) return made;
        const state = this.#backend.slice(this.#lastStates!, (kept - 1) * hidden, hidden);
        const answers = this.model.answers!;
        return lazyRows(await made, answers, state, () => answers.rows(state, 1, this.#rows));
      },
    };
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectOpen();
    checkTruncation(this.#length, this.#last, length, path);
    const tree = this.#last?.tree;
    if (tree) for (let i = 0; i < path.length; i++) this.#keep(tree, path[i], length + i);
    this.#length = length + path.length;
    this.#last = null;
    this.#states.keep(0);
  }

  fork(options: { capacity?: number } = {}): Session {
    this.#expectOpen();
    expectChain("fork", this.#last);
    const least = Math.max(1, this.#length);
    const { contextLength } = this.model;
    const capacity = expectInteger("capacity", options.capacity ?? this.capacity, least, contextLength);
    // Behind the text pages may be taken over by the fork.
    this.#states.keep(0);
    return LocalSession.openAfter(this.#host, capacity, this.#cache, this.#length);
  }

  /**
   * Keys and values of the first `length` positions, which stay when the session goes on or is closed. Whoever has them
   * frees them. `length`: no further than where a tree branches.
   */
  shareKv(length: number): KvCache {
    this.#expectOpen();
    return this.#backend.forkKv(this.#cache, length, length);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#backend.free(this.#cache);
    if (this.#waiting !== null) this.#backend.free(this.#waiting);
    this.#backend.free(this.#rows);
    if (this.#lastStates !== null) this.#backend.free(this.#lastStates);
    if (this.#copies !== null) this.#host.rowsBackend?.free(this.#copies);
    this.#states.free();
  }

  async #nll(given: ArrayLike<number>, targets: ArrayLike<number>): Promise<Float64Array> {
    const { tokens } = this.check(given, 0);
    checkTargets(targets, tokens.length, this.model.vocab);
    const position = this.#length;
    const call = ++this.#calls;
    this.#states.keep(0);
    this.#relieved(() => this.#backend.claimKv(this.#cache, position, tokens.length));
    const expectCurrent = () => {
      if (!this.#closed && this.#calls === call && this.#length === position) return;
      throw new TypeError("Cannot go on with likelihoods: their session was called again, or closed");
    };
    const { backend, model } = this.#host;
    const parts = { backend, model, cache: this.#cache, position, tokens, targets, expectCurrent };
    const nlls = await computeNll(parts);
    this.#last = { start: position, tree: null };
    this.#length += tokens.length;
    return nlls;
  }

  async #runAhead(given: readonly number[]): Promise<Floats> {
    const { tokens } = this.check(given, 0);
    const known = this.#states.matching(tokens, tokens.length);
    const start = this.#length + known;
    const columns = tokens.length - known;
    const { hidden } = this.model.config;
    const states = this.#relieved(() => {
      this.#backend.claimKv(this.#cache, start, columns);
      return this.#states.extend(tokens, known);
    });
    const part = (from: number, to: number): Part => ({
      cache: this.#cache,
      tokens: tokens.slice(known + from, known + to),
      runs: [{ columns: to - from, position: start + from }],
      rows: 0,
      out: this.#backend.slice(this.#rows, 0, 0),
      states: this.#backend.slice(states, from * hidden, (to - from) * hidden),
    });
    compute(this.model, [{ columns, part }]);
    this.#states.ran(tokens);
    return this.#states.states(tokens.length - 1, 1);
  }

  /** Takes memory; where there is too little, after what can be done without was given back. */
  #relieved<T>(take: () => T): T {
    for (;;) {
      try {
        return take();
      } catch (error) {
        if (!(error instanceof MemoryError) || this.#host.relieve?.() !== true) throw error;
      }
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
    const call = this.#calls;
    const expectCurrent = () => {
      if (this.#closed || this.#calls !== call)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
    };
    // Rows of another device are copied at once; those of this process are looked at when asked.
    const { rowsBackend: backend = this.#backend } = this.#host;
    const rows =
      backend === this.#backend ? () => this.#rows : await this.#copied(backend, count, expectCurrent);
    const at = (index: number) => {
      expectCurrent();
      expectInteger("index", index, 0, count - 1);
      return backend.slice(rows(), index * stride(vocab), vocab);
    };
    return {
      count,
      vocab,
      row: (index) => backend.read(at(index)) as Float32Array,
      argmax: (index) => backend.argmax(at(index), vocab) as number,
      top: (index, some) =>
        backend.top(at(index), vocab, expectInteger("count", some, 0, vocab)) as ReturnType<Rows["top"]>,
      logSumExp: (index) => backend.logSumExp(at(index), vocab) as number,
      law: (index) => backend.lawKernels(at(index), vocab),
    };
  }

  /** Has `count` rows in the backend that looks at them. */
  async #copied(backend: Backend, count: number, expectCurrent: () => void): Promise<() => Floats> {
    const length = count * stride(this.model.vocab);
    const values = await this.#backend.read(this.#backend.slice(this.#rows, 0, length));
    expectCurrent();
    if (this.#copies === null || this.#copies.length < length) {
      if (this.#copies !== null) backend.free(this.#copies);
      this.#copies = null;
      this.#copies = backend.floats(length);
    }
    const copies = this.#copies;
    backend.write(copies, values);
    return () => copies;
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
