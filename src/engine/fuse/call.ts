/**
 * call: the rows of one call of a fused session.
 *
 *     repeat:  steps of the plan, as far as the rows that are there lead
 *              every source whose rows were missed, once for all nodes that missed them
 *
 * A step is computed in one go: until it is, nothing runs that could move the rows it reads. One that misses a row is begun
 * anew when the row is there, which costs a look at the rows before; only routes do that. One that waits for numbers from a
 * device goes on when they are there, and before any source runs.
 */
import type { Floats } from "../../backend/backend.ts";
import { type LateRowKernels, PENDING, type Pending, type StepKernels } from "../../backend/fuse-kernels.ts";
import { type FuseAudit, type FuseContext, type FuseState, type Program, Step } from "../../decoding/fuse.ts";
import { MemoryError } from "../../errors.ts";
import type { CallNodes, FusedMember, MemberCall } from "./member.ts";

/** What a row left behind: the memory for the next one, and how it came about; or why there is none. */
export interface Trace {
  readonly state?: FuseState;
  readonly audit?: FuseAudit;
  readonly error?: Error;
}

/** What the steps of a session have in common. */
export interface StepSettings {
  readonly program: Program;
  readonly kernels: StepKernels<unknown>;
  /** The same, if their answers must be waited for. */
  readonly late: LateRowKernels<unknown> | null;
  readonly seed: number;
  readonly promptLength: number;
  readonly audit: boolean;
  /** What the host gives for the row after `tokens`, of which the last `step` are output. */
  given(tokens: () => number[], step: number): Pick<FuseContext, "inputs" | "tables">;
}

/** Where a call stands: the session before it. */
export interface CallPlace {
  readonly members: readonly FusedMember[];
  readonly text: readonly number[];
  /** By the number of tokens before the row; holes where nobody asked. */
  readonly traces: readonly (Trace | undefined)[];
}

/** Where rows go. */
export interface RowsOut {
  /** (vocab) The row that is filled next. */
  readonly row: Float32Array;
  /** Where on the device the row of `node` is to stay; null: it is not wanted. Absent: rows are read. */
  place?(node: number): Floats | null;
  /** The row is that of `node`; or there is none, for this reason. One that stays may be told of twice, as `judge` does. */
  emit(node: number, error: Error | undefined): void;
}

/** A row that a step reads is not there yet. */
const MISSING = null;

export class FusedCall {
  readonly nodes: CallNodes;
  /** By node, where a row was computed. */
  readonly traces: (Trace | undefined)[] = [];
  readonly #settings: StepSettings;
  readonly #place: CallPlace;
  readonly #out: RowsOut;
  /** Of each node: 1 without a parent. */
  readonly #depths: number[] = [];
  /** Nodes without a row, in order. */
  #open: readonly number[];
  /** Nodes whose steps missed the row of a source, by its name. */
  readonly #missed = new Map<string, Set<number>>();
  /** Whether sources were fed, where no row is asked for. */
  #fed: boolean;
  /** Steps that wait for numbers, by node. */
  readonly #waiting = new Map<number, Step<unknown>>();
  /** Of rows that stay on the device, by node: throw what is wrong with them. */
  readonly #judges = new Map<number, () => void>();

  /** @param rows Of the last nodes. */
  constructor(settings: StepSettings, place: CallPlace, nodes: CallNodes, rows: number, out: RowsOut) {
    this.nodes = nodes;
    this.#settings = settings;
    this.#place = place;
    this.#out = out;
    for (const parent of nodes.parents) this.#depths.push(parent < 0 ? 1 : this.#depths[parent] + 1);
    const first = nodes.tokens.length - rows;
    const all = [...nodes.tokens.keys()];
    this.#open = all.filter((node) => node >= first || this.#leavesMemory(node));
    this.#fed = this.#open.length > 0 || all.length === 0;
  }

  /** The kernels that steps wait for; null: they wait for none. */
  get awaited(): LateRowKernels<unknown> | null {
    return this.#waiting.size > 0 ? this.#settings.late : null;
  }

  /**
   * Computes what can be; gives the calls of sources that are needed to go on. None, and none to wait for: all rows are there.
   */
  advance(): MemberCall[] {
    this.#open = this.#open.filter((node) => !this.#tryRow(node));
    if (this.#waiting.size > 0) return [];
    if (this.#open.length > 0) return this.#calls(this.#open);
    if (this.#fed) return [];
    // Nobody asked for a row, but the next call will: read along what is sure to be needed then.
    const isMissing = this.#stepAt(this.nodes.tokens.length - 1) === MISSING;
    if (this.#waiting.size > 0) return [];
    this.#fed = true;
    return isMissing ? this.#calls([]) : [];
  }

  /** Looks for rows that stay on the device and are none, when its kernels have settled; so are those that build on them. */
  judge(): void {
    for (const [node, judge] of this.#judges) {
      const error = this.#traceBefore(node)?.error ?? errorOf(judge);
      if (error === undefined) continue;
      this.traces[node] = { error };
      this.#out.emit(node, error);
    }
  }

  /** Gives back what steps hold that will not go on. */
  close(): void {
    for (const step of this.#waiting.values()) step.close();
    this.#waiting.clear();
  }

  /** Of a node: how many tokens are before the row that follows it. */
  #position(node: number): number {
    return this.nodes.start + this.#depths[node];
  }

  /** Whether rows behind it need what its row leaves. */
  #leavesMemory(node: number): boolean {
    const { program, promptLength } = this.#settings;
    return program.memory > 0 && this.#position(node) >= promptLength;
  }

  #calls(open: readonly number[]): MemberCall[] {
    // With memory, rows wait for the row before: what one needs, those behind it will, so it is computed at once.
    const together = this.#settings.program.memory > 0;
    return this.#place.members.flatMap((member) => {
      const missed = this.#missed.get(member.input.name);
      if (missed === undefined) return [];
      const wanted = open.filter((node) => together || missed.has(node));
      if (open.length > 0 && (wanted.length === 0 || member.covers(wanted))) return [];
      return [member.run(this.#place.text, this.nodes, wanted)];
    });
  }

  /** @returns Whether the row is there now, or known to be none. */
  #tryRow(node: number): boolean {
    const trace = this.#stepAt(node);
    if (trace === MISSING) return false;
    this.traces[node] = trace;
    this.#out.emit(node, trace.error);
    return true;
  }

  /** The plan's step after `node`, into the row that is filled next. MISSING: rows are, and were noted. */
  #stepAt(node: number): Trace | typeof MISSING {
    const before = this.#traceBefore(node);
    if (before === MISSING || before.error !== undefined) return before;
    const { program, kernels, audit } = this.#settings;
    let step = this.#waiting.get(node);
    this.#waiting.delete(node);
    try {
      step ??= new Step(program, kernels, { ...this.#context(node), state: before.state, audit });
      for (;;) {
        const trace = this.#traceOf(step, node);
        if (trace !== PENDING) return trace;
        const { needs } = step;
        if (needs.length === 0) {
          this.#waiting.set(node, step);
          return MISSING;
        }
        const there = needs.find((name) => this.#member(name).covers([node]));
        if (there === undefined) {
          for (const name of needs) this.#note(name, node);
          step.close();
          return MISSING;
        }
        // One at a time: taking a row may move the others.
        step.provide({ [there]: this.#member(there).row(node) });
      }
    } catch (error) {
      step?.close();
      return { error: expectOfRow(error) };
    }
  }

  /** Has the row filled, or left where it is. */
  #traceOf(step: Step<unknown>, node: number): Trace | Pending {
    const { late } = this.#settings;
    if (late === null || this.#out.place === undefined) {
      const fused = step.poll(this.#out.row);
      return fused && { state: fused.state, audit: fused.audit };
    }
    const to = this.#out.place(node);
    const left = step.leave((row) => {
      if (to !== null) late.copy(row, to);
      return late.judge(row);
    });
    if (left === PENDING) return PENDING;
    this.#judges.set(node, left.value);
    return { state: left.state, audit: left.audit };
  }

  #note(name: string, node: number): void {
    this.#missed.set(name, (this.#missed.get(name) ?? new Set()).add(node));
  }

  #member(name: string): FusedMember {
    return this.#place.members.find(({ input }) => input.name === name)!;
  }

  /** Everything of a step that depends on its place. */
  #context(node: number): FuseContext {
    const { seed, promptLength } = this.#settings;
    const position = this.#position(node);
    const step = Math.max(0, position - promptLength);
    return {
      step,
      position,
      seed,
      last: this.nodes.tokens[node],
      ...this.#settings.given(() => this.#tokensTo(node), step),
    };
  }

  #tokensTo(node: number): number[] {
    const path: number[] = [];
    for (let at = node; at >= 0; at = this.nodes.parents[at]) path.unshift(this.nodes.tokens[at]);
    return [...this.#place.text.slice(0, this.nodes.start), ...path];
  }

  /** Of the row before; nothing at the first of the output. */
  #traceBefore(node: number): Trace | typeof MISSING {
    const { program, promptLength } = this.#settings;
    const position = this.#position(node);
    if (program.memory === 0 || position <= promptLength) return {};
    const parent = this.nodes.parents[node];
    return (parent < 0 ? this.#place.traces[position - 1] : this.traces[parent]) ?? MISSING;
  }
}

/** What is wrong with a row is told to who looks at it. @throws `error` If it is not of the row, as lack of memory. */
function expectOfRow(error: unknown): Error {
  const isRange = error instanceof RangeError && !(error instanceof MemoryError);
  if (isRange || error instanceof TypeError) return error;
  throw error;
}

/** Undefined if the row is one. */
function errorOf(judge: () => void): Error | undefined {
  try {
    judge();
    return undefined;
  } catch (error) {
    return expectOfRow(error);
  }
}
