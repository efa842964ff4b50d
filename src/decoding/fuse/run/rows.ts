/** Instructions that make rows. */

import type { Floor, ResolvedBound, Scaled, Summary } from "../../../backend/fuse-kernels.ts";
import { log } from "../../../math.ts";
import { LIMITS } from "../plan.ts";
import type { Bound, FloorInstruction, Id, Instruction, RowInstruction, TermOperand } from "../program.ts";
import { expectIdsBelow, maskOf, sparseRow, type TableData } from "../tables.ts";
import { expectShares } from "./numbers.ts";
import { MISSING, type Missing, type Results } from "./results.ts";

type Of<Op extends Instruction["op"]> = Extract<Instruction, { op: Op }>;

export function computeRow<R>(
  results: Results<R>,
  instruction: RowInstruction & { path: string },
  id: Id,
): R | Missing {
  switch (instruction.op) {
    case "source":
      return results.source(instruction.source)?.row ?? MISSING;
    case "dense": {
      const { table } = instruction;
      const { values } = results.context.tables[table] as TableData<"dense">;
      results.expectSize(results.program.vocabularies.get(id)!, values.length, `"plan.tables.${table}"`);
      return results.kernels.take(values, values.length, `plan.tables.${table}`);
    }
    case "lin":
      return lin(results, instruction, id);
    case "mix":
      return mix(results, instruction, id);
    case "scatter":
      return scatter(results, instruction);
    case "project":
      return project(results, instruction, id);
    case "gather":
      return gather(results, instruction, id);
    case "multiply":
      return multiply(results, instruction, id);
    case "route":
      return route(results, instruction);
  }
}

/** Weights first: a row whose weight is 0 is not asked for. */
function lin<R>(results: Results<R>, { terms, bounds, path }: Of<"lin">, id: Id): R | Missing {
  const weights = results.all<number>(terms.map(({ weight }) => weight));
  const used = terms.filter((_, index) => weights !== MISSING && weights[index] !== 0);
  const operands = results.all(used.flatMap(operandsOf));
  const floors = results.all(
    bounds.flat().flatMap((bound) => (bound.kind === "floor" ? [bound.row, bound.floor] : [])),
  );
  if (weights === MISSING || operands === MISSING || floors === MISSING) return MISSING;
  const scaled = used.map((term) => {
    const weight = clampWeight(results.get(term.weight));
    const { row, scale, offset } = view(results, term);
    return { row, scale: weight * scale, offset: weight * offset };
  });
  if (scaled.length === 0) throw new RangeError(`"${path}.lin" must have a weight that is not 0`);
  const resolved = bounds.map((bound) => bound.map((one) => resolveBound(results, one, results.vocab(id))));
  return results.kernels.lin(results.vocab(id), scaled, resolved);
}

function mix<R>(results: Results<R>, { terms, path }: Of<"mix">, id: Id): R | Missing {
  const weights = results.all<number>(terms.map(({ weight }) => weight));
  if (weights === MISSING) return MISSING;
  const total = expectShares(path, weights);
  const used = terms.filter((_, index) => weights[index] > 0);
  if (results.all(used.flatMap(operandsOf)) === MISSING) return MISSING;
  const scaled = used.map((term) => {
    const { row, scale, offset } = view(results, term);
    return { row, scale, offset: offset + log(results.get<number>(term.weight) / total) };
  });
  return results.kernels.mix(results.vocab(id), scaled);
}

function operandsOf({ row, scale, offset }: TermOperand): Id[] {
  return [row, scale, offset].filter((id) => id !== null);
}

/** Of a term whose operands are there. */
function view<R>(results: Results<R>, { row, temperature, scale, offset }: TermOperand): Scaled<R> {
  return {
    row: results.get(row),
    scale: (scale === null ? 1 : results.get<number>(scale)) / temperature,
    offset: offset === null ? 0 : results.get<number>(offset),
  };
}

export function clampWeight(weight: number): number {
  return Math.min(LIMITS.weight, Math.max(-LIMITS.weight, weight));
}

function resolveBound<R>(results: Results<R>, bound: Bound, vocab: number): ResolvedBound<R> {
  if (bound.kind === "floor")
    return { kind: "floor", row: results.get(bound.row), floor: results.get(bound.floor) };
  if (bound.kind !== "bitmask")
    return { kind: "mask", words: maskOf(bound.ids, vocab, bound.kind === "allow") };
  const { bitmask } = results.context;
  const count = Math.ceil(vocab / 32);
  if (bitmask === undefined) return { kind: "mask", words: maskOf([], vocab, false) };
  if (bitmask.length >= count) return { kind: "mask", words: bitmask };
  throw new RangeError(`"bitmask" must have ${count} words for ${vocab} tokens, got ${bitmask.length}`);
}

function scatter<R>(results: Results<R>, instruction: Of<"scatter">): R | Missing {
  const operands = results.all<unknown>([instruction.row, instruction.weight]);
  if (operands === MISSING) return MISSING;
  const [row, weight] = operands as [R, number];
  if (weight === 0) return row;
  const { tables, last } = results.context;
  const table = tables[instruction.table] as TableData<"sparse" | "graph">;
  expectIdsBelow(instruction.table, table, results.vocab(instruction.row));
  const { ids, values, scale } = sparseRow(table, last, instruction.norm, instruction.temperature);
  return results.kernels.scatter(row, ids, values, clampWeight(weight) * scale);
}

function project<R>(results: Results<R>, instruction: Of<"project">, id: Id): R | Missing {
  const operands = results.all<unknown>([instruction.row, instruction.partition]);
  if (operands === MISSING) return MISSING;
  const [row, partition] = operands as [R, number];
  const { vocab, offsets, ids, values } = results.context.tables[
    instruction.table
  ] as TableData<"projection">;
  const rows = results.vocab(instruction.row);
  if (offsets.length !== rows + 1) {
    throw new RangeError(
      `"plan.tables.${instruction.table}" must have ${rows} rows, got ${offsets.length - 1}`,
    );
  }
  results.expectSize(results.program.vocabularies.get(id)!, vocab, `"plan.tables.${instruction.table}"`);
  const term = { row, scale: 1 / instruction.temperature, offset: -partition };
  return results.kernels.project(term, vocab, offsets, ids, values);
}

function gather<R>(results: Results<R>, { row, table }: Of<"gather">, id: Id): R | Missing {
  const from = results.demand(row) as R | Missing;
  if (from === MISSING) return MISSING;
  const data = results.context.tables[table] as TableData<"gather">;
  expectIdsBelow(table, data, results.vocab(row));
  results.expectSize(results.program.vocabularies.get(id)!, data.ids.length, `"plan.tables.${table}"`);
  return results.kernels.gather(from, data.ids);
}

function multiply<R>(results: Results<R>, { row, table }: Of<"multiply">, id: Id): R | Missing {
  const from = results.demand(row) as R | Missing;
  if (from === MISSING) return MISSING;
  const { values } = results.context.tables[table] as TableData<"factors">;
  results.expectSize(results.program.vocabularies.get(id)!, values.length, `"plan.tables.${table}"`);
  return results.kernels.multiply(from, values);
}

function route<R>(results: Results<R>, { by, rows, path }: Of<"route">): R | Missing {
  const choice = results.demand(by) as number | Missing;
  if (choice === MISSING) return MISSING;
  if (!Number.isInteger(choice) || choice < 0 || choice >= rows.length) {
    throw new RangeError(`"${path}.by" must be an integer from 0 to ${rows.length - 1}, got ${choice}`);
  }
  return results.demand(rows[choice]) as R | Missing;
}

export function computeFloor<R>(results: Results<R>, instruction: FloorInstruction): Floor | Missing {
  const { kernels } = results;
  if (instruction.op === "topK") {
    const row = results.demand(instruction.row) as R | Missing;
    return row === MISSING ? MISSING : kernels.topK(row, instruction.k);
  }
  const operands = results.all<unknown>([instruction.row, instruction.summary]);
  if (operands === MISSING) return MISSING;
  const [row, { top }] = operands as [R, Summary];
  const { temperature } = results.program.instructions[instruction.summary] as Of<"summary">;
  if (instruction.op === "topP") return kernels.topP(row, temperature, instruction.topP);
  // p ≥ ρ · max p, without an exp: z ≥ max z + temperature · ln ρ.
  if (instruction.op === "minP") {
    return { value: top + temperature * log(instruction.minP), last: instruction.strict ? -1 : Infinity };
  }
  const least = Math.floor(instruction.relTop * results.vocab(instruction.row));
  if (least === 0 && instruction.compat) return { value: -Infinity, last: Infinity };
  const nth = kernels.topK(row, Math.max(1, least));
  if (nth === MISSING) return MISSING;
  return { value: Math.min(nth.value, top + temperature * log(instruction.relTop)), last: Infinity };
}
