/**
 * step: one position of a plan. Starts from the result and asks backwards for what it needs, each instruction once.
 *
 * A row that is not there yet does not stop the step: it goes on as far as it can, and then tells in `needs` which rows
 * are next. So a route that did not choose a model never asks for it, a weight of 0 neither, and rows that do not
 * depend on each other are asked for together.
 */

import {
  PENDING,
  type Pending,
  PlacedRow,
  type StepKernels,
  type Summary,
} from "../../backend/fuse-kernels.ts";
import { expectInteger } from "../../errors.ts";
import { checkContext, type FuseAudit, type FuseContext, type FuseState } from "./context.ts";
import type { Id, Program } from "./program.ts";
import { checkPlacedRow, checkRow, type SourceRow } from "./rows.ts";
import { auditOf } from "./run/audit.ts";
import { computeMatch, computeNumber } from "./run/numbers.ts";
import { MISSING, type Missing, Results } from "./run/results.ts";
import { computeFloor, computeRow } from "./run/rows.ts";

/** PlacedRow: where a device made it, for kernels that are there. */
export type RowsByName = Readonly<Record<string, SourceRow | PlacedRow>>;

export interface Fused {
  /** (vocab) logits; not normalised. The caller's own. */
  readonly row: Float64Array | Float32Array;
  /** For the next step. */
  readonly state: FuseState;
  /** If it was asked for. */
  readonly audit?: FuseAudit;
}

/** What came of a row that was left where it is. */
export interface Left<T> extends Omit<Fused, "row"> {
  readonly value: T;
}

/**
 * @example
 * ```ts
 * const step = new Step(program, referenceKernels, { step: 0 });
 * while (step.needs.length > 0) step.provide(await rowsOf(step.needs));
 * const { row, state } = step.finish();
 * ```
 *
 * With the kernels of a backend, rows are in its memory until `finish`, or until an error. A step that comes to neither is
 * to be closed.
 *
 * Kernels of a device answer late:
 *
 * ```ts
 * for (;;) {
 *   if (step.needs.length > 0) step.provide(await rowsOf(step.needs));
 *   const fused = step.poll();
 *   if (fused !== PENDING) return fused;
 *   if (step.needs.length === 0) await kernels.settle();
 * }
 * ```
 */
export class Step<R> {
  readonly #program: Program;
  readonly #results: Results<R>;
  readonly #withAudit: boolean;
  #fused: Fused | undefined;
  #isClosed = false;

  /** @throws {TypeError | RangeError} If the context does not have what the plan declares. */
  constructor(program: Program, kernels: StepKernels<R>, context: FuseContext = {}) {
    this.#program = program;
    this.#results = new Results(program, kernels, checkContext(program, context), compute);
    this.#withAudit = context.audit === true;
    this.#orClose(() => this.#results.demand(program.result));
  }

  /** Names of the rows it waits for; none: `finish` can be called. */
  get needs(): readonly string[] {
    return [...this.#results.needs].sort((a, b) => a - b).map((source) => this.#program.sources[source].name);
  }

  /**
   * Takes rows by name, as far as they are needed. They must not change before the step ends: kernels may read them where
   * they are.
   *
   * @throws {TypeError | RangeError} If a name is none of the plan's, or a row is not one; the message names the source.
   *   The step cannot be used afterwards.
   */
  provide(rows: RowsByName): void {
    this.#orClose(() => this.#provide(rows));
  }

  #provide(rows: RowsByName): void {
    const { sources } = this.#program;
    const names = sources.map(({ name }) => name);
    const unknown = Object.keys(rows).find((name) => !names.includes(name));
    if (unknown !== undefined) {
      throw new RangeError(`"rows" must be of ${names.join(", ")}, got "${unknown.slice(0, 64)}"`);
    }
    const { needs } = this.#results;
    for (;;) {
      const given = [...needs].filter((source) => Object.hasOwn(rows, names[source]));
      if (given.length === 0) return;
      for (const source of given) {
        const row = rows[names[source]];
        const check =
          row instanceof PlacedRow ? checkPlacedRow(sources[source], row) : checkRow(sources[source], row);
        this.#results.take(source, check);
      }
      this.#results.demand(this.#program.result);
    }
  }

  /**
   * The row, and what it leaves for the next step. Ends the step; called again, it gives the same.
   *
   * @param out (vocab) Where the row goes, instead of into an array of its own: a view of a backend's memory, perhaps, made
   *   right before.
   * @throws {RangeError} If a row is missing, which can still be provided, or no token is left.
   */
  finish(out?: Float32Array): Fused {
    const missing = this.needs[0];
    if (missing !== undefined) throw new RangeError(`Cannot fuse: the row of source "${missing}" is missing`);
    const fused = this.poll(out);
    if (fused === PENDING) throw new TypeError("Cannot fuse: kernels have not answered, wait for them");
    return fused;
  }

  /**
   * As `finish`, but PENDING if a row is missing, or an answer of kernels that answer late: to be asked again once the rows are
   * provided, and the kernels settled.
   */
  poll(out?: Float32Array): Fused | Pending {
    this.#fused ??= this.#end((row) => this.#read(row, out)) ?? undefined;
    return this.#fused ?? PENDING;
  }

  /**
   * As `poll`, once, for who goes on with the row where kernels have it. It is not known then whether it is one, and has a token.
   *
   * @param use Is given the row, before it is given back.
   */
  leave<T>(use: (row: R) => T): Left<T> | Pending {
    return this.#end((row) => {
      const rest = this.#rest();
      return rest === PENDING ? PENDING : { value: use(row), ...rest };
    });
  }

  /** Gives back the memory of a step that is not finished. */
  close(): void {
    this.#isClosed = true;
    this.#results.close();
  }

  /** Ends the step with what `finish` makes of the row, when both are there. */
  #end<T>(finish: (row: R) => T | Pending): T | Pending {
    if (this.#results.needs.size > 0) return PENDING;
    const made = this.#orClose(() => {
      this.#results.retry();
      const row = this.#results.demand(this.#program.result) as R | Missing;
      return row === MISSING ? PENDING : finish(row);
    });
    if (made !== PENDING) this.close();
    return made;
  }

  #read(row: R, out: Float32Array | undefined): Fused | Pending {
    const { kernels } = this.#results;
    const top = kernels.top(row);
    if (top === -Infinity) throw new RangeError("Cannot fuse: the plan leaves no token above −∞");
    const rest = this.#rest();
    const values = kernels.read(row);
    if (top === PENDING || values === PENDING || rest === PENDING) return PENDING;
    if (out !== undefined) expectInteger("out.length", out.length, values.length, values.length);
    out?.set(values);
    return { row: out ?? values.slice(), ...rest };
  }

  /** Beside the row. */
  #rest(): Omit<Fused, "row"> | Pending {
    const audit = this.#withAudit ? auditOf(this.#results) : undefined;
    return audit === PENDING
      ? PENDING
      : { state: { memory: [...this.#results.memory] }, ...(audit && { audit }) };
  }

  #orClose<T>(body: () => T): T {
    if (this.#isClosed) throw new TypeError("Cannot use the step: it has ended");
    try {
      return body();
    } catch (error) {
      this.close();
      throw error;
    }
  }
}

function compute<R>(results: Results<R>, id: Id): unknown {
  const instruction = results.program.instructions[id];
  switch (instruction.op) {
    case "source":
    case "dense":
    case "lin":
    case "mix":
    case "scatter":
    case "project":
    case "gather":
    case "multiply":
    case "route": {
      const row = computeRow(results, instruction, id);
      return row === MISSING ? MISSING : results.own(row);
    }
    case "minP":
    case "topK":
    case "topP":
    case "relTop":
      return computeFloor(results, instruction);
    case "summary":
      return summarize(results, instruction.row, instruction.temperature, id);
    case "match":
      return computeMatch(results, instruction);
    default: {
      const value = computeNumber(results, instruction);
      if (Number.isNaN(value)) throw new RangeError(`"${instruction.path}" must be a number, got NaN`);
      return value;
    }
  }
}

function summarize<R>(results: Results<R>, row: Id, temperature: number, id: Id): Summary | Missing {
  const values = results.demand(row) as R | Missing;
  const groups = results.program.groups.get(id)!;
  if (values === MISSING) return MISSING;
  const summary = results.kernels.summary(values, temperature, groups);
  if (summary === PENDING || summary.top > -Infinity) return summary;
  throw new RangeError(`"${results.program.instructions[row].path}" must leave a token above −∞`);
}
