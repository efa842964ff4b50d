/** What a plan does, and what it costs: passes over the vocabulary, and numbers between them. */
import { compilePlan } from "./compile/compile.ts";
import { operandsOf } from "./operands.ts";
import type { Plan } from "./plan.ts";
import type { Id, Instruction, Program } from "./program.ts";
import { planFingerprint } from "./read/read-plan.ts";

/** Bytes of a logit, f32. */
const LOGIT_BYTES = 4;
/** Values of α in one sweep, and what they cost beside the exponentials. */
const SWEEP_EXPS = 4;

/** An instruction over whole rows. */
export interface PassOperation {
  readonly id: Id;
  readonly op: Instruction["op"];
  readonly path: string;
  /** The result has its largest value where its first row has it, whatever the numbers are. */
  readonly keepsArgmax: boolean;
  /** Sums exponentials over the vocabulary. */
  readonly needsLse: boolean;
  /** Per token of the vocabulary. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly exps: number;
}

export interface Pass {
  readonly operations: readonly PassOperation[];
  /** Distinct rows, as operations of one pass can share a reading. Per token of the vocabulary. */
  readonly bytesRead: number;
}

/** Operations of one pass need only what passes before have made. */
export function passesOf(program: Program): readonly Pass[] {
  const passAt: number[] = [];
  const passes: { operations: PassOperation[]; rows: Set<Id> }[] = [];
  program.instructions.forEach((instruction, id) => {
    const operands = operandsOf(instruction);
    const ready = Math.max(0, ...operands.all.map((operand) => passAt[operand]));
    const overRows = isPass(instruction);
    passAt[id] = ready + (overRows ? 1 : 0);
    if (!overRows) return;
    while (passes.length < passAt[id]) passes.push({ operations: [], rows: new Set() });
    const pass = passes[passAt[id] - 1];
    pass.operations.push(operationOf(program, instruction, id, operands.rows.length));
    for (const row of operands.rows) pass.rows.add(row);
  });
  return passes.map(({ operations, rows }) => ({ operations, bytesRead: rows.size * LOGIT_BYTES }));
}

/**
 * @example
 * ```ts
 * console.log(explainPlan(fusePreset("contrastive")));
 * ```
 */
export function explainPlan(plan: Plan): string {
  const program = compilePlan(plan);
  const passes = passesOf(program);
  const lines = passes.flatMap(({ operations, bytesRead }, index) => [
    `pass ${index + 1}: ${bytesRead} B read per token of the vocabulary`,
    ...operations.map(describe),
  ]);
  const numbers = program.instructions.filter(
    (instruction) => !isPass(instruction) && !["source", "dense", "number"].includes(instruction.op),
  );
  return [
    `plan ${planFingerprint(plan)} of ${program.sources.map(({ name }) => name).join(", ")}`,
    ...lines,
    `between them: ${numbers.length} numbers, ${program.memory} remembered`,
  ].join("\n");
}

function describe(operation: PassOperation): string {
  const { op, path, bytesRead, bytesWritten, exps, needsLse, keepsArgmax } = operation;
  const facts = [
    `${bytesRead} B in`,
    bytesWritten > 0 ? `${bytesWritten} B out` : "",
    exps > 0 ? `${exps} exp` : "",
    needsLse ? "log-sum-exp" : "",
    keepsArgmax ? "keeps the argmax" : "",
  ];
  return `  ${op.padEnd(9)} ${path.padEnd(24)} ${facts.filter((fact) => fact !== "").join(", ")}`.trimEnd();
}

function operationOf(program: Program, instruction: Instruction, id: Id, rows: number): PassOperation {
  const makesRow = program.vocabularies.has(id);
  return {
    id,
    op: instruction.op,
    path: instruction.path,
    keepsArgmax: keepsArgmax(program, instruction),
    needsLse: needsLse(program, instruction, id),
    bytesRead: rows * LOGIT_BYTES,
    bytesWritten: makesRow ? LOGIT_BYTES : 0,
    exps: expsOf(program, instruction, id),
  };
}

function needsLse(program: Program, instruction: Instruction, id: Id): boolean {
  if (instruction.op === "summary") return expsOf(program, instruction, id) > 0;
  return ["mix", "match", "distance", "topP"].includes(instruction.op);
}

/** Exponentials per token. */
function expsOf(program: Program, instruction: Instruction, id: Id): number {
  switch (instruction.op) {
    case "mix":
      return instruction.terms.length;
    case "project":
    case "topP":
      return 1;
    case "distance":
      return 4;
    case "match":
      return SWEEP_EXPS * instruction.experts.length;
    case "summary": {
      const groups = program.groups.get(id)!;
      return (
        (groups.has("partition") || groups.has("probabilities") ? 1 : 0) +
        (groups.has("probabilities") ? 1 : 0)
      );
    }
    default:
      return 0;
  }
}

/** One row, scaled by a constant above 0 and cut by its own floors, none of which lies above its maximum. */
function keepsArgmax(program: Program, instruction: Instruction): boolean {
  if (instruction.op !== "lin" || instruction.terms.length !== 1) return false;
  const [{ row, weight }] = instruction.terms;
  const constant = program.instructions[weight];
  if (constant.op !== "number" || constant.value <= 0) return false;
  return instruction.bounds.every((bound) =>
    bound.some((one) => one.kind === "floor" && one.row === row && !isStrictAtOne(program, one.floor)),
  );
}

/** Of min-p 1 without ties, not even the largest is left. */
function isStrictAtOne(program: Program, floor: Id): boolean {
  const instruction = program.instructions[floor];
  return instruction.op === "minP" && instruction.strict && instruction.minP === 1;
}

/** Whether it goes over the vocabulary; a min-p floor is a number, read off a maximum. */
function isPass(instruction: Instruction): boolean {
  return PASSES.has(instruction.op) || (instruction.op === "token" && instruction.what === "rank");
}

const PASSES: ReadonlySet<Instruction["op"]> = new Set<Instruction["op"]>([
  "lin",
  "mix",
  "scatter",
  "project",
  "gather",
  "multiply",
  "summary",
  "match",
  "topK",
  "topP",
  "relTop",
  "nth",
  "distance",
]);
