import type { Backend, Floats, KvCache } from "../backend/backend.ts";
import { stride } from "../backend/backend.ts";
import { expectInteger, MemoryError } from "../errors.ts";
import type { Head } from "../model/head/head.ts";
import type { Llama, Part } from "../model/llama.ts";
import { type Ahead, AheadStates } from "./ahead.ts";
import { drawFrom, drawnRows, undrawn } from "./drawn-rows.ts";
import { lazyRows } from "./lazy-rows.ts";
import type { Lease } from "./lease.ts";
import { placedRows } from "./placed-rows.ts";
import {
  type Ask,
  type CheckedCall,
  checkAsk,
  checkCall,
  checkTruncation,
  expectChain,
  type LastCall,
} from "./session-checks.ts";
import { checkTargets, computeNll } from "./session-nll.ts";
import { RowCopies, rowsAt } from "./session-rows.ts";
import type { DrawnRows, Rows, Session } from "./source.ts";
import { TreeRoom } from "./tree-room.ts";
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
  readonly ahead: Ahead;
  readonly nll: Session["nll"];
  /** Absent where rows are made in this process. */
  readonly draw: Session["draw"];
  readonly #host: SessionHost;
  readonly #backend: Backend;
  readonly #lease: Lease | undefined;
  readonly #cache: KvCache;
  #rows: Floats;
  #rowCount = 1;
  /** Null where rows are made in this process. */
  readonly #copies: RowCopies | null;
  /** Whether rows stay where they are made, if that is not here. */
  leavesRows = false;
  #length: number;
  #closed = false;
  readonly #treeRoom: TreeRoom;
  #last: LastCall | null = null;
  readonly #states: AheadStates;
  /** Of the rows of a call that are not made yet, (some, D). */
  #lastStates: Floats | null = null;
  /** Rows are of one call and are gone with the next. */
  #calls = 0;

  /** @throws {MemoryError} If `capacity` positions do not fit into memory. */
  static open(host: SessionHost, capacity: number, lease?: Lease): LocalSession {
    const { backend, model } = host;
    return new LocalSession(host, capacity, 0, lease, () => backend.kvCache(model.config, capacity));
  }

  /** A session that begins with the first `length` positions of `prefix`. @throws {MemoryError} As `open`. */
  static openAfter(
    host: SessionHost,
    capacity: number,
    prefix: { readonly keys: KvCache; readonly length: number },
    lease?: Lease,
  ): LocalSession {
    const { keys, length } = prefix;
    return new LocalSession(host, capacity, length, lease, () => host.backend.forkKv(keys, length, capacity));
  }

  private constructor(
    host: SessionHost,
    capacity: number,
    length: number,
    lease: Lease | undefined,
    openCache: () => KvCache,
  ) {
    const { backend, model } = host;
    this.capacity = capacity;
    this.model = model;
    this.#host = host;
    this.#backend = backend;
    this.#lease = lease;
    this.#length = length;
    this.#copies = host.rowsBackend ? new RowCopies(backend, host.rowsBackend) : null;
    this.#treeRoom = new TreeRoom(backend, model.config);
    this.#states = new AheadStates(backend, model.config.hidden);
    this.ahead = {
      run: (tokens) => this.#runAhead(tokens),
      headBytes: model.headBytes,
      // Rows of another device are drawn from as they are.
      drawsOwn: !host.rowsBackend && model.answers?.draws === "own",
      openHead: () => model.openDraftHead(),
    };
    if (host.rowsBackend && backend.drawKernels)
      this.draw = (tokens, tasks, parents, scan) => this.#draw(tokens, { tasks, scan }, parents);
    if (model.hasLikelihood) this.nll = (tokens, targets) => this.#nll(tokens, targets);
    this.#rows = this.#relieved(() => backend.floats(stride(model.vocab)));
    try {
      this.#cache = this.#relieved(openCache);
    } catch (error) {
      backend.free(this.#rows);
      throw error;
    }
    lease?.hold(backend, this);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get length(): number {
    return this.#length;
  }

  get vocab(): number {
    return this.model.vocab;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const work = this.prepare(this.check(tokens, rows, parents), true);
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
   * @param isAlone Nobody else's rows are made in the same pass.
   * @param ask What is drawn from the rows instead of giving them.
   * @throws {MemoryError} If it is not there; no token is lost then.
   */
  prepare(call: CheckedCall, isAlone = false, ask?: Ask): Work {
    const { tokens, rows, tree } = call;
    if (ask !== undefined) checkAsk(ask, this.model.vocab);
    const answers = this.#answers(call, isAlone);
    // The layers of these were run ahead. One token at least is left: a pass has columns.
    const known = tree === null ? this.#states.matching(tokens, tokens.length - 1) : 0;
    const columns = tokens.length - known;
    const start = this.#length + known;
    this.#calls++;
    const waiting = this.#relieved(() => {
      this.#makeRoom(rows);
      this.#backend.claimKv(this.#cache, start, columns);
      if (answers !== null) this.#makeStateRoom(rows);
      return tree && this.#treeRoom.claim(tree.slots);
    });
    this.#states.keep(known);
    const freshRows = Math.min(rows, columns);
    const knownRows = rows - freshRows;
    const path: number[] = [];
    const size = stride(this.model.vocab);
    const { hidden } = this.model.config;
    if (answers !== null && knownRows > 0) {
      const states = this.#states.states(known - knownRows, knownRows);
      this.#backend.copy(this.#lastStates!, states, knownRows * hidden);
    }
    return {
      columns,
      part: (from, to) => {
        const firstRow = columns - freshRows;
        const wanted = Math.max(0, to - Math.max(from, firstRow));
        const firstWanted = knownRows + Math.max(0, from - firstRow);
        const runs =
          tree && waiting
            ? tree.runs(from, to, start, waiting, path)
            : [{ columns: to - from, position: start + from }];
        const part = { cache: this.#cache, tokens: tokens.slice(known + from, known + to), runs };
        if (answers !== null) {
          const states = this.#backend.slice(this.#lastStates!, firstWanted * hidden, wanted * hidden);
          return { ...part, rows: 0, out: this.#backend.slice(this.#rows, 0, 0), states };
        }
        const withKnown = from === 0 && knownRows > 0;
        const first = withKnown ? 0 : firstWanted;
        const outRows = withKnown ? knownRows + wanted : wanted;
        return {
          ...part,
          rows: wanted,
          out: this.#backend.slice(this.#rows, first * size, outRows * size),
          ...(withKnown && { known: this.#states.states(known - knownRows, knownRows) }),
        };
      },
      finish: async () => {
        this.#last = { start: this.#length, tree };
        this.#length += tokens.length;
        this.#states.keep(0);
        if (ask !== undefined && this.draw !== undefined) return await this.#drawn(ask);
        const made = await this.#read(rows);
        const given = ask === undefined ? (here: Rows) => here : undrawn;
        if (answers === null) return given(made);
        const state = (index: number) => this.#backend.slice(this.#lastStates!, index * hidden, hidden);
        const make = (index: number) =>
          answers.rows(state(index), 1, this.#backend.slice(this.#rows, index * size, size));
        return given(lazyRows({ rows: made, answers, state, make }));
      },
    };
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectOpen();
    checkTruncation(this.#length, this.#last, length, path);
    const tree = this.#last?.tree;
    if (tree)
      for (let i = 0; i < path.length; i++) this.#treeRoom.keep(tree, path[i], this.#cache, length + i);
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
    const prefix = { keys: this.#cache, length: this.#length };
    return LocalSession.openAfter(this.#host, capacity, prefix, this.#lease);
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
    this.#lease?.release(this);
    this.#backend.free(this.#cache);
    this.#treeRoom.free();
    this.#backend.free(this.#rows);
    if (this.#lastStates !== null) this.#backend.free(this.#lastStates);
    this.#copies?.free();
    this.#states.free();
  }

  async #draw(tokens: ArrayLike<number>, ask: Ask, parents?: ArrayLike<number>): Promise<DrawnRows> {
    const work = this.prepare(this.check(tokens, ask.tasks.length, parents), false, ask);
    compute(this.model, [work]);
    return (await work.finish()) as DrawnRows;
  }

  async #drawn(ask: Ask): Promise<DrawnRows> {
    const { vocab } = this.model;
    const count = ask.tasks.length;
    const expectCurrent = this.#currentCall();
    const x = this.#backend.slice(this.#rows, 0, count * stride(vocab));
    const load = async () => {
      expectCurrent();
      return await this.#read(count);
    };
    const draws = await drawFrom(this.#backend.drawKernels!(), x, vocab, ask);
    // What is in doubt was looked at again, in rows that a next call overwrites.
    expectCurrent();
    return drawnRows(vocab, draws.drawn, load, draws.scanned);
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

  /**
   * What answers for the rows of a call instead of them. A head that draws by its own noise always does, so that a text
   * has it from the first token to the last; others where a row would take a read of the head for itself.
   */
  #answers({ rows, tree }: CheckedCall, isAlone: boolean): Head | null {
    const { answers } = this.model;
    if (answers === null || rows === 0 || this.#host.rowsBackend !== undefined) return null;
    if (answers.draws === "own") return answers;
    return isAlone && rows === 1 && tree === null ? answers : null;
  }

  #makeStateRoom(rows: number): void {
    const length = rows * this.model.config.hidden;
    if (this.#lastStates !== null && this.#lastStates.length >= length) return;
    if (this.#lastStates !== null) this.#backend.free(this.#lastStates);
    this.#lastStates = null;
    this.#lastStates = this.#backend.floats(length);
  }

  #makeRoom(rows: number): void {
    if (rows <= this.#rowCount) return;
    const larger = this.#backend.floats(rows * stride(this.model.vocab));
    this.#backend.free(this.#rows);
    this.#rows = larger;
    this.#rowCount = rows;
  }

  async #read(count: number): Promise<Rows> {
    const { vocab } = this.model;
    const expectCurrent = this.#currentCall();
    const place = { backend: this.#backend, vocab, count, floats: () => this.#rows, expectCurrent };
    if (this.#copies === null) return rowsAt(place);
    if (this.leavesRows) return placedRows(place);
    // Rows of another device are copied at once; those of this process are looked at when asked.
    const made = this.#backend.slice(this.#rows, 0, count * stride(vocab));
    const copies = await this.#copies.of(made, expectCurrent);
    return rowsAt({ backend: this.#host.rowsBackend!, vocab, count, floats: () => copies, expectCurrent });
  }

  /** What throws once the session was called again. */
  #currentCall(): () => void {
    const call = this.#calls;
    return () => {
      if (this.#closed || this.#calls !== call)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
    };
  }

  #expectOpen(): void {
    this.#lease?.renew();
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
