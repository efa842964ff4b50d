/** What a step has computed so far, and what it waits for. */

import type { PlacedRow, StepKernels } from "../../../backend/fuse-kernels.ts";
import type { CheckedContext } from "../context.ts";
import type { Id, Program } from "../program.ts";
import type { CheckedRow } from "../rows.ts";

/** A row is missing that this depends on, or a kernel's answer: PENDING is the same. */
export const MISSING = null;
export type Missing = typeof MISSING;

interface TakenRow<R> {
  readonly row: R;
  readonly extra: readonly number[];
}

export class Results<R> {
  readonly program: Program;
  readonly kernels: StepKernels<R>;
  readonly context: CheckedContext;
  /** For the next step, filled in as values are computed. */
  readonly memory: (number | null)[];
  /** Sources whose rows are asked for. */
  readonly needs = new Set<number>();
  readonly taken = new Map<number, TakenRow<R>>();
  readonly #compute: (results: Results<R>, id: Id) => unknown;
  /** By instruction; undefined: not tried, MISSING: tried in vain. */
  readonly #values: unknown[];
  /** What kernels made; a route may name a row a second time. */
  readonly #rows = new Set<R>();
  /** Tokens of each vocabulary, and what told. */
  readonly #sizes = new Map<string, { readonly vocab: number; readonly from: string }>();

  constructor(
    program: Program,
    kernels: StepKernels<R>,
    context: CheckedContext,
    compute: (results: Results<R>, id: Id) => unknown,
  ) {
    this.program = program;
    this.kernels = kernels;
    this.context = context;
    this.memory = [...context.memory];
    this.#compute = compute;
    this.#values = new Array(program.instructions.length);
  }

  /** The result of an instruction, computed now if it was not; MISSING if a row is. */
  demand(id: Id): unknown {
    if (this.#values[id] === undefined) this.#values[id] = this.#compute(this, id);
    return this.#values[id];
  }

  /** Of several: all are asked for, also if one is missing. */
  all<T>(ids: readonly Id[]): T[] | Missing {
    const values = ids.map((id) => this.demand(id));
    return values.includes(MISSING) ? MISSING : (values as T[]);
  }

  /** Of one that was demanded before, with success. */
  get<T>(id: Id): T {
    return this.#values[id] as T;
  }

  isComputed(id: Id): boolean {
    return this.#values[id] !== undefined && this.#values[id] !== MISSING;
  }

  source(index: number): TakenRow<R> | Missing {
    const row = this.taken.get(index);
    if (row === undefined) this.needs.add(index);
    return row ?? MISSING;
  }

  take(index: number, { values, vocab, extra }: CheckedRow<ArrayLike<number> | PlacedRow>): void {
    const { name, vocabulary } = this.program.sources[index];
    this.expectSize(vocabulary, vocab, `"rows.${name}"`);
    this.taken.set(index, { row: this.own(this.kernels.take(values, vocab, `rows.${name}`)), extra });
    this.needs.clear();
    this.retry();
  }

  /** What was tried in vain may be there now. */
  retry(): void {
    this.#values.forEach((value, id) => {
      if (value === MISSING) this.#values[id] = undefined;
    });
  }

  /** Remembers a row, to be given back by `close`. */
  own(row: R): R {
    this.#rows.add(row);
    return row;
  }

  close(): void {
    for (const row of this.#rows) this.kernels.free(row);
    this.#rows.clear();
  }

  /** Tokens of the row that an instruction makes; some row of its vocabulary must be there. */
  vocab(id: Id): number {
    return this.#sizes.get(this.program.vocabularies.get(id)!)!.vocab;
  }

  expectSize(vocabulary: string, vocab: number, from: string): void {
    const known = this.#sizes.get(vocabulary);
    if (known === undefined) this.#sizes.set(vocabulary, { vocab, from });
    else if (known.vocab !== vocab) {
      throw new RangeError(`${from} must have ${known.vocab} tokens, as ${known.from} has, got ${vocab}`);
    }
  }
}
