import type { LateRowKernels } from "../../backend/fuse-kernels.ts";
import type { WebGpuBackend } from "../../backend/webgpu/index.ts";
import type { FuseAudit } from "../../decoding/fuse.ts";
import { expectInteger } from "../../errors.ts";
import { type Draws, drawnRows, undrawn } from "../drawn-rows.ts";
import {
  type Ask,
  type CheckedCall,
  checkAsk,
  checkCall,
  checkTruncation,
  expectChain,
  type LastCall,
} from "../session-checks.ts";
import type { Call, DrawnRows, Rows, Session, SessionOptions } from "../source.ts";
import { FusedCall, type Trace } from "./call.ts";
import { forwardFused } from "./forward.ts";
import { deviceNow, type Fusion } from "./fusion.ts";
import { LeftRows } from "./left-rows.ts";
import { FusedMember } from "./member.ts";
import { FusedRows } from "./rows.ts";

/** A call of `forward`, or of `draw`. */
export interface FusedQuestion extends CheckedCall {
  readonly ask?: Ask;
}

/** A call, and where its rows stay; null: they are read. */
export interface BegunCall {
  readonly call: FusedCall;
  readonly left: LeftRows | null;
}

/** What one session was opened for. */
export type FusedOptions = Readonly<
  Required<Omit<SessionOptions, "signal" | "lease">> & Pick<SessionOptions, "signal" | "lease">
>;

/**
 * One sequence on a fused source, with a session on each of its sources.
 *
 * A row is a function of the plan, the tokens before it, the seed, and where the output began. What plans remember from row
 * to row begins with the first row of the output, and each row behind it is computed whether it is asked for or not; rows
 * within the prompt are each as if the output began there.
 *
 * Where rows are fused on a device, `draw` leaves them there. A step reads the token (32 bytes, or a list), 16 bytes that say
 * whether the row is one, and, before, what the plan itself has to know of rows: nothing for sums with given weights, 48 bytes
 * in all; 28 bytes of each row with a floor, 44 of each in a mixture of laws, 136 in all for two; 564 for Dynamic Logits Fusion
 * on its grid, 612 in all.
 */
export class FusedSession implements Session {
  readonly capacity: number;
  readonly fusion: Fusion;
  readonly #options: FusedOptions;
  readonly #members: readonly FusedMember[];
  readonly #rows: FusedRows;
  /** Of the last call whose rows stayed where they were fused. */
  #left: LeftRows | null = null;
  /** Without the nodes of a tree. */
  #text: number[];
  /** By the number of tokens before the row. */
  #traces: (Trace | undefined)[];
  #last: (LastCall & { readonly call: FusedCall }) | null = null;
  #closed = false;
  #isBusy = false;
  /** Rows are of one call and are gone with the next. */
  #calls = 0;

  /** @throws {MemoryError | RangeError} If a source has no room for it; nothing is held then. */
  static open(fusion: Fusion, options: FusedOptions): FusedSession {
    const open = fusion.inputs.map((input, index) => () => FusedMember.open(input, index, options));
    return new FusedSession(fusion, options, open, [], []);
  }

  private constructor(
    fusion: Fusion,
    options: FusedOptions,
    open: readonly (() => FusedMember)[],
    text: number[],
    traces: (Trace | undefined)[],
  ) {
    this.capacity = options.capacity;
    this.fusion = fusion;
    this.#options = options;
    this.#text = text;
    this.#traces = traces;
    this.#rows = new FusedRows(fusion.backend, fusion.vocab);
    const members: FusedMember[] = [];
    try {
      for (const one of open) members.push(one());
    } catch (error) {
      for (const member of members) member.close();
      this.#rows.free();
      throw error;
    }
    this.#members = members;
    // Of rows that are held here.
    options.lease?.hold(fusion.backend, this);
  }

  get length(): number {
    return this.#last?.tree ? this.#text.length + this.#last.call.nodes.tokens.length : this.#text.length;
  }

  get vocab(): number {
    return this.fusion.vocab;
  }

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const question = this.check({ session: this, tokens, rows, parents });
    const [answer] = await forwardFused([{ session: this, question }]);
    return answer;
  }

  /** Absent where rows are fused in this process. */
  get draw(): Session["draw"] {
    if (deviceNow(this.fusion) === null) return undefined;
    return async (tokens, tasks, parents, scan) => {
      const question = this.check({ session: this, tokens, parents, tasks, scan });
      const [answer] = await forwardFused([{ session: this, question }]);
      return answer as DrawnRows;
    };
  }

  /** @throws {RangeError | TypeError} If `forward`, or `draw`, must refuse a call. Changes nothing. */
  check({ tasks, scan, ...call }: Call): FusedQuestion {
    this.#expectIdle("append");
    const { vocab } = this.fusion;
    if (tasks === undefined) return checkCall(this, vocab, this.#last, call);
    const ask = { tasks, scan };
    const checked = checkCall(this, vocab, this.#last, { ...call, rows: tasks.length });
    checkAsk(ask, vocab);
    return { ...checked, ask };
  }

  /** Begins a checked call. @throws {MemoryError} If there is no room for its rows. */
  begin({ tokens, rows, tree, ask }: FusedQuestion): BegunCall {
    this.#expectOpen();
    const { program, given } = this.fusion;
    const device = deviceNow(this.fusion);
    const late = device && (device.lateFuseKernels() as LateRowKernels<unknown>);
    this.#calls++;
    const left = ask === undefined || device === null ? null : this.#leftOn(device);
    left?.clear(rows);
    this.#rows.clear(left === null ? rows : 0);
    this.#isBusy = true;
    const nodes = {
      start: this.#text.length,
      tokens,
      parents: tokens.map((_, node) => tree?.parent(node) ?? node - 1),
    };
    const first = tokens.length - rows;
    const call = new FusedCall(
      { program, kernels: late ?? this.fusion.kernels, late, given, ...this.#options },
      { members: this.#members, text: this.#text, traces: this.#traces },
      nodes,
      rows,
      {
        row: this.#rows.scratch,
        ...(left && { place: (node: number) => (node < first ? null : left.at(node - first)) }),
        emit: (node, error) => {
          this.#expectOpen();
          if (node < first) return;
          if (error !== undefined) (left ?? this.#rows).fail(node - first, error);
          else if (left === null) this.#rows.write(node - first);
        },
      },
    );
    return { call, left };
  }

  /** What was asked of rows that stay on their device. Null: none do. @throws {UnsupportedError} If it is gone. */
  async drawLeft({ call, left }: BegunCall, { ask }: FusedQuestion): Promise<Draws | null> {
    if (left === null || ask === undefined) return null;
    // In one submission.
    const [draws] = await Promise.all([left.draw(ask), left.device.lateFuseKernels().settle()]);
    this.#expectOpen();
    call.judge();
    return left.told(draws);
  }

  /** Appends what was computed. */
  end({ call, left }: BegunCall, question: FusedQuestion, draws: Draws | null): Rows {
    const { tokens, rows, tree, ask } = question;
    this.#isBusy = false;
    const { start } = call.nodes;
    this.#last = { start, tree, call };
    if (tree === null) {
      for (const member of this.#members) member.settle();
      tokens.forEach((token, node) => {
        this.#append(token, call.traces[node]);
      });
    }
    if (left !== null && draws !== null) {
      const load = this.#loader(call, left, question);
      return drawnRows(this.vocab, draws.drawn, load, draws.scanned);
    }
    const made = this.#rows.read(rows, this.#currentCall());
    return ask === undefined ? made : undrawn(made);
  }

  /** Gives the rows of a call here; those that went away with their device are computed again, where its models are now. */
  #loader(call: FusedCall, left: LeftRows, { tokens, rows, tree }: FusedQuestion): () => Promise<Rows> {
    const expectCurrent = this.#currentCall();
    return once(async () => {
      expectCurrent();
      try {
        const values = await left.read(rows);
        expectCurrent();
        this.#rows.copy(values, left.failures);
        return this.#rows.read(rows, expectCurrent);
      } catch (error) {
        if (left.device.failure === null || this.#last?.call !== call) throw error;
        expectCurrent();
        this.truncate(call.nodes.start);
        return await this.forward(tokens, rows, tree === null ? undefined : call.nodes.parents);
      }
    });
  }

  /** Forgets a call that failed. */
  undo(): void {
    this.#isBusy = false;
    if (this.#closed) return;
    for (const member of this.#members) member.undo();
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    this.#expectIdle("truncate");
    const last = this.#last;
    checkTruncation(this.length, last, length, path);
    this.#last = null;
    if (!last?.tree) {
      this.#cut(length + path.length);
      for (const member of this.#members) member.truncate(length + path.length);
      return;
    }
    const { start, tokens } = last.call.nodes;
    // Behind where the call began, the path begins with nodes of the stem.
    const stem = Array.from({ length: Math.max(0, length - start) }, (_, node) => node);
    const kept = [...stem, ...Array.from(path)];
    this.#cut(Math.min(length, start));
    for (const node of kept) this.#append(tokens[node], last.call.traces[node]);
    for (const member of this.#members) {
      member.keep(start, kept);
      member.truncate(this.#text.length);
    }
  }

  fork({
    capacity = this.capacity,
    seed = this.#options.seed,
  }: {
    capacity?: number;
    seed?: number;
  } = {}): FusedSession {
    this.#expectIdle("fork");
    expectChain("fork", this.#last);
    expectInteger("capacity", capacity, Math.max(1, this.length), this.fusion.contextLength);
    expectSeed(seed);
    const open = this.#members.map((member) => () => member.fork({ capacity, seed }));
    const options = { ...this.#options, capacity, seed };
    return new FusedSession(this.fusion, options, open, [...this.#text], [...this.#traces]);
  }

  audits(): readonly FuseAudit[] {
    const traces = this.#traces.slice(this.#options.promptLength);
    return traces.flatMap((trace) => (trace?.audit === undefined ? [] : [trace.audit]));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.lease?.release(this);
    for (const member of this.#members) member.close();
    this.#rows.free();
    this.#left?.free();
  }

  /** Room for rows that stay on a device. @throws {MemoryError} If there is none. */
  #leftOn(device: WebGpuBackend): LeftRows {
    if (this.#left?.device === device) return this.#left;
    this.#left?.free();
    this.#left = null;
    this.#left = new LeftRows(device, this.vocab);
    return this.#left;
  }

  /** What throws once the session was called again. */
  #currentCall(): () => void {
    const number = this.#calls;
    return () => {
      if (this.#closed || this.#calls !== number)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
    };
  }

  #append(token: number, trace: Trace | undefined): void {
    this.#text.push(token);
    if (trace?.audit !== undefined || this.fusion.program.memory > 0) this.#traces[this.#text.length] = trace;
  }

  #cut(length: number): void {
    this.#text.length = length;
    // The row after the last token that stays is the same as before.
    this.#traces.length = Math.min(this.#traces.length, length + 1);
  }

  #expectOpen(): void {
    this.#options.lease?.renew();
    if (this.#closed) throw new RangeError("Cannot use session: it is closed");
  }

  #expectIdle(what: string): void {
    this.#expectOpen();
    if (this.#isBusy) throw new RangeError(`Cannot ${what}: a call of the session has not been answered`);
  }
}

/** The same promise each time. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

export function expectSeed(seed: number): number {
  return expectInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
}
