/**
 * A compiled plan: instructions in an order where operands come first, each with the path in the plan it came from.
 *
 * Instructions make either a row or a number. Those over rows are what an executor has kernels for (kernels.ts); numbers
 * between them are computed by `Step` (step.ts), which asks for what the result needs and for nothing else.
 */
import type { SummaryGroup } from "../../backend/fuse-kernels.ts";
import type { Match, Norm, Operation, StatisticName, Table, TableKind } from "./plan.ts";

/** Index of an instruction. */
export type Id = number;

/** value = weight · (scale · z / temperature + offset); scale and offset are those of a norm, if there is one. */
export interface TermOperand {
  readonly row: Id;
  readonly weight: Id;
  readonly temperature: number;
  readonly scale: Id | null;
  readonly offset: Id | null;
}

/** Tokens at or above a floor of a row, or of a mask. */
export type Bound =
  | { readonly kind: "floor"; readonly row: Id; readonly floor: Id }
  | { readonly kind: "allow" | "forbid"; readonly ids: readonly number[] }
  | { readonly kind: "bitmask" };

/** All must hold; of the inner ones, one. */
export type Bounds = readonly (readonly Bound[])[];

export type RowInstruction =
  | { readonly op: "source"; readonly source: number }
  | { readonly op: "dense"; readonly table: string }
  | { readonly op: "lin"; readonly terms: readonly TermOperand[]; readonly bounds: Bounds }
  | { readonly op: "mix"; readonly terms: readonly TermOperand[] }
  | {
      readonly op: "scatter";
      readonly row: Id;
      readonly table: string;
      readonly weight: Id;
      readonly norm: Norm;
      readonly temperature: number;
    }
  | {
      readonly op: "project";
      readonly row: Id;
      readonly temperature: number;
      readonly partition: Id;
      readonly table: string;
    }
  | { readonly op: "gather"; readonly row: Id; readonly table: string }
  | { readonly op: "multiply"; readonly row: Id; readonly table: string }
  | { readonly op: "route"; readonly by: Id; readonly rows: readonly Id[] };

/** A place in the order of a row: tokens above `floor` are in, and of those at it the ones up to `last`. */
export type FloorInstruction =
  | {
      readonly op: "minP";
      readonly row: Id;
      readonly summary: Id;
      readonly minP: number;
      readonly strict: boolean;
    }
  | { readonly op: "topK"; readonly row: Id; readonly k: number }
  | { readonly op: "topP"; readonly row: Id; readonly summary: Id; readonly topP: number }
  | {
      readonly op: "relTop";
      readonly row: Id;
      readonly summary: Id;
      readonly relTop: number;
      readonly compat: boolean;
    };

export type NumberInstruction =
  | { readonly op: "number"; readonly value: number }
  | { readonly op: "calculate"; readonly operation: Operation; readonly operands: readonly Id[] }
  /** Read off a summary. */
  | { readonly op: "statistic"; readonly summary: Id; readonly name: StatisticName }
  | { readonly op: "token"; readonly what: "logit" | "rank"; readonly row: Id; readonly token: Id }
  | { readonly op: "nth"; readonly row: Id; readonly n: number }
  | { readonly op: "extra"; readonly source: number; readonly column: number }
  | { readonly op: "distance"; readonly name: "kl" | "l1"; readonly a: Id; readonly b: Id }
  | { readonly op: "input"; readonly name: string; readonly at: number }
  | { readonly op: "schedule"; readonly points: readonly (readonly [number, number])[] }
  | { readonly op: "smooth"; readonly value: Id; readonly rate: Id; readonly slot: number }
  | { readonly op: "alpha"; readonly match: Id; readonly at: number }
  /** Scale or offset of a norm. */
  | { readonly op: "norm"; readonly part: "scale" | "offset"; readonly norm: Norm; readonly summary: Id }
  /** Index of the term of a sampled mixture, drawn by weight. */
  | { readonly op: "draw"; readonly weights: readonly Id[]; readonly item: number };

export type OtherInstruction =
  /** Statistics of a row at a temperature, as many groups as anything in the plan reads. */
  | { readonly op: "summary"; readonly row: Id; readonly temperature: number }
  | {
      readonly op: "match";
      readonly base: Id;
      readonly experts: readonly { readonly expert: Id; readonly anti: Id }[];
      readonly solver: Required<Match>["solver"];
      readonly limit: number;
    };

export type Instruction = (RowInstruction | FloorInstruction | NumberInstruction | OtherInstruction) & {
  readonly path: string;
};

export interface ProgramSource {
  readonly name: string;
  readonly vocabulary: string;
  /** Ids in use; 0: as many as rows have. */
  readonly vocab: number;
  readonly extra: number;
}

export interface Program {
  readonly sources: readonly ProgramSource[];
  readonly inputs: Readonly<Record<string, number>>;
  readonly tables: Readonly<Record<string, Table>>;
  readonly instructions: readonly Instruction[];
  /** Groups of each summary instruction. */
  readonly groups: ReadonlyMap<Id, ReadonlySet<SummaryGroup>>;
  /** The instruction whose row is the result. */
  readonly result: Id;
  /** Vocabulary of each instruction that makes a row. */
  readonly vocabularies: ReadonlyMap<Id, string>;
  /** Numbers that a step leaves for the next one. */
  readonly memory: number;
}

/** Kind of a table, whether it is in the plan or comes with the step. */
export function kindOfTable(table: Table): TableKind {
  return table.kind === "given" ? table.like : table.kind;
}

/** Vocabulary that a table leads to. */
export function targetOfTable(table: Table): string {
  if (kindOfTable(table) === "factors") return table.vocabulary ?? "";
  return ("to" in table ? table.to : undefined) ?? "";
}
