import type { Backend } from "../../backend/backend.ts";
import type { LateRowKernels } from "../../backend/fuse-kernels.ts";
import type { WebGpuBackend } from "../../backend/webgpu/index.ts";
import type { FuseAudit } from "../../decoding/fuse.ts";
import { expectInteger } from "../../errors.ts";
import {
  type CheckedCall,
  checkCall,
  checkTruncation,
  expectChain,
  type LastCall,
} from "../session-checks.ts";
import type { Call, Rows, Session, SessionOptions } from "../source.ts";
import { FusedCall, runCalls, type StepSettings, type Trace } from "./call.ts";
import type { FusedInput } from "./inputs.ts";
import { FusedMember } from "./member.ts";
import { FusedRows } from "./rows.ts";

/** What all sessions of one fused source have in common. */
export interface Fusion extends Pick<StepSettings, "program" | "kernels" | "given"> {
  /** Where rows are fused while it lasts: that of all sources. */
  readonly device: WebGpuBackend | null;
  readonly inputs: readonly FusedInput[];
  /** Where rows are held. */
  readonly backend: Backend;
  readonly vocab: number;
  readonly contextLength: number;
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
 */
export class FusedSession implements Session {
  readonly capacity: number;
  readonly fusion: Fusion;
  readonly #options: FusedOptions;
  readonly #members: readonly FusedMember[];
  readonly #rows: FusedRows;
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

  async forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<Rows> {
    const [answer] = await forwardFused([{ session: this, call: this.check({ tokens, rows, parents }) }]);
    return answer;
  }

  /** @throws {RangeError | TypeError} If `forward` must refuse a call. Changes nothing. */
  check(call: Omit<Call, "session">): CheckedCall {
    this.#expectIdle("append");
    return checkCall(this, this.fusion.vocab, this.#last, call);
  }

  /** Begins a checked call. @throws {MemoryError} If there is no room for its rows. */
  begin({ tokens, rows, tree }: CheckedCall): FusedCall {
    this.#expectOpen();
    const { program, given, device } = this.fusion;
    const isThere = device?.failure === null;
    const late = isThere ? (device.lateFuseKernels() as LateRowKernels<unknown>) : null;
    const kernels = late ?? this.fusion.kernels;
    this.#calls++;
    this.#rows.clear(rows);
    this.#isBusy = true;
    const nodes = {
      start: this.#text.length,
      tokens,
      parents: tokens.map((_, node) => tree?.parent(node) ?? node - 1),
    };
    const first = tokens.length - rows;
    return new FusedCall(
      { program, kernels, late, given, ...this.#options },
      { members: this.#members, text: this.#text, traces: this.#traces },
      nodes,
      rows,
      {
        row: this.#rows.scratch,
        emit: (node, error) => {
          this.#expectOpen();
          if (node < first) return;
          if (error === undefined) this.#rows.write(node - first);
          else this.#rows.fail(node - first, error);
        },
      },
    );
  }

  /** Appends what was computed. */
  end(call: FusedCall, { tokens, rows, tree }: CheckedCall): Rows {
    this.#isBusy = false;
    const { start } = call.nodes;
    this.#last = { start, tree, call };
    if (tree === null) {
      for (const member of this.#members) member.settle();
      tokens.forEach((token, node) => {
        this.#append(token, call.traces[node]);
      });
    }
    const number = this.#calls;
    return this.#rows.read(rows, () => {
      if (this.#closed || this.#calls !== number)
        throw new TypeError("Cannot read rows: their session was called again, or closed");
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

/** Calls of different sessions that were checked, computed together. */
export async function forwardFused(
  checked: readonly { readonly session: FusedSession; readonly call: CheckedCall }[],
): Promise<Rows[]> {
  for (;;) {
    const begun: FusedCall[] = [];
    const { device } = checked[0]?.session.fusion ?? { device: null };
    const wasWell = device?.failure === null;
    try {
      for (const { session, call } of checked) begun.push(session.begin(call));
      await runCalls(begun);
      return checked.map(({ session, call }, index) => session.end(begun[index], call));
    } catch (error) {
      for (const call of begun) call.close();
      for (const { session } of checked) session.undo();
      // A device that was lost takes its rows along: once more, where its models are now.
      if (!wasWell || device.failure === null) throw error;
    }
  }
}

export function expectSeed(seed: number): number {
  return expectInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
}
