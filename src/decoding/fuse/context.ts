/** What a step is given beside rows, and what it leaves behind. */

import type { MatchTargets } from "../../backend/fuse-kernels.ts";
import { expectInteger } from "../../errors.ts";
import { Fields } from "../pipeline/fields.ts";
import { LIMITS, type Table, type TableKind } from "./plan.ts";
import { kindOfTable, type Program } from "./program.ts";
import { readGivenTable } from "./read/read-table.ts";

export interface FuseContext {
  /** Tokens of output before this row; schedules go by it. Default 0. */
  readonly step?: number;
  /** Of the token to be chosen; with the seed, the address of the randomness of sampled mixtures. Default 0. */
  readonly position?: number;
  /** Integer from 0 to 2^53 − 1. Default 0. */
  readonly seed?: number;
  /** The token before this row; graphs need it. */
  readonly last?: number;
  /** Numbers by the names in `plan.inputs`. */
  readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
  /** For tables of the plan that are `given`. Copied when first seen: do not change them. */
  readonly tables?: Readonly<Record<string, Table>>;
  /** (⌈vocab / 32⌉) for a support "bitmask": token id is allowed if bit id mod 32 of word ⌊id / 32⌋ is 1. */
  readonly bitmask?: Uint32Array;
  /** What the step before left. Default: none, as before the first one. */
  readonly state?: FuseState;
  /** Whether to tell how the row came about; entropies take a pass more over each row. */
  readonly audit?: boolean;
}

/** What a plan remembers: plain data that is never changed in place, so keep one per position to go back to it. */
export interface FuseState {
  /** One per `smooth` of the plan; null before its first value. */
  readonly memory: readonly (number | null)[];
}

/** How a row came about. Paths are those in the plan. */
export interface FuseAudit {
  /** Rows that went into the result or a decision, in order of the plan. */
  readonly sources: readonly string[];
  readonly weights: readonly { readonly path: string; readonly weights: readonly number[] }[];
  /** Which row was taken, from 0. */
  readonly routes: readonly { readonly path: string; readonly choice: number }[];
  readonly matches: readonly {
    readonly path: string;
    readonly expert: number;
    readonly alpha: number;
    readonly objective: number;
    readonly targets: readonly MatchTargets[];
  }[];
  /** Of each source's softmax, in nats. */
  readonly entropies: Readonly<Record<string, number>>;
  /** Of the result's. */
  readonly entropy: number;
}

export interface CheckedContext {
  readonly step: number;
  readonly position: number;
  readonly seed: number;
  readonly last: number | undefined;
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
  readonly tables: Readonly<Record<string, Table>>;
  readonly bitmask: Uint32Array | undefined;
  readonly memory: readonly (number | null)[];
}

/** @throws {TypeError | RangeError} If something that the plan declares is missing or does not fit. */
export function checkContext(program: Program, context: FuseContext): CheckedContext {
  const { step = 0, position = 0, seed = 0, last, bitmask, state } = context;
  return {
    step: expectInteger("step", step, 0, 2 ** 32 - 1),
    position: expectInteger("position", position, 0, 2 ** 32 - 1),
    seed: expectInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER),
    last: last === undefined ? undefined : expectInteger("last", last, 0, LIMITS.vocab - 1),
    inputs: checkInputs(program, context),
    tables: checkTables(program, context),
    bitmask,
    memory: checkMemory(program, state),
  };
}

function checkInputs(
  program: Program,
  { inputs = {} }: FuseContext,
): Readonly<Record<string, ArrayLike<number>>> {
  for (const [name, count] of Object.entries(program.inputs)) {
    if (!Object.hasOwn(inputs, name)) throw new TypeError(`"inputs.${name}" must be given, got undefined`);
    const length = inputs[name]?.length;
    if (length !== count) throw new RangeError(`"inputs.${name}" must have ${count} numbers, got ${length}`);
    for (let at = 0; at < count; at++) {
      if (!Number.isFinite(inputs[name][at])) {
        throw new RangeError(`"inputs.${name}[${at}]" must be finite, got ${inputs[name][at]}`);
      }
    }
  }
  return inputs;
}

/** Checked copies of given tables: some hold millions of numbers, and come with every step. */
const checkedTables = new WeakMap<object, Table>();

function checkTables(program: Program, { tables = {} }: FuseContext): Readonly<Record<string, Table>> {
  const found: Record<string, Table> = {};
  for (const [name, table] of Object.entries(program.tables)) {
    if (table.kind !== "given") {
      found[name] = table;
      continue;
    }
    const given: unknown = Object.hasOwn(tables, name) ? tables[name] : undefined;
    if (typeof given !== "object" || given === null) {
      throw new TypeError(`"tables.${name}" must be given, got ${given === null ? "null" : typeof given}`);
    }
    found[name] = checkedTable(`tables.${name}`, given, kindOfTable(table));
  }
  return found;
}

function checkedTable(path: string, given: object, kind: TableKind): Table {
  const known = checkedTables.get(given);
  if (known !== undefined && known.kind === kind) return known;
  const table = readGivenTable(path, given, kind);
  checkedTables.set(given, table);
  return table;
}

function checkMemory({ memory }: Program, state: FuseState | undefined): readonly (number | null)[] {
  if (state === undefined) return new Array(memory).fill(null);
  const values: unknown = new Fields("state", state).raw("memory");
  const fits = Array.isArray(values) && values.length === memory;
  if (fits && values.every((value) => value === null || Number.isFinite(value))) return state.memory;
  throw new RangeError(`"state.memory" must have ${memory} numbers or nulls, as the step before gave`);
}
