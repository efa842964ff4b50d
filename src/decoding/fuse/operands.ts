import type { Id, Instruction } from "./program.ts";

export interface Operands {
  readonly all: readonly Id[];
  /** Those of them that it reads as rows, each once. */
  readonly rows: readonly Id[];
}

/** What an instruction is computed from. */
export function operandsOf(instruction: Instruction): Operands {
  switch (instruction.op) {
    case "lin":
    case "mix": {
      const rows = instruction.terms.map(({ row }) => row);
      const numbers = instruction.terms.flatMap(({ weight, scale, offset }) => [weight, scale, offset]);
      const bounds = instruction.op === "lin" ? instruction.bounds.flat() : [];
      const judges = bounds.flatMap((bound) => (bound.kind === "floor" ? [bound] : []));
      const read = [...new Set([...rows, ...judges.map(({ row }) => row)])];
      const given = numbers.filter((id) => id !== null);
      return { all: [...read, ...given, ...judges.map(({ floor }) => floor)], rows: read };
    }
    case "scatter":
      return { all: [instruction.row, instruction.weight], rows: [instruction.row] };
    case "project":
      return { all: [instruction.row, instruction.partition], rows: [instruction.row] };
    case "gather":
    case "multiply":
    case "topK":
    case "nth":
    case "summary":
      return { all: [instruction.row], rows: [instruction.row] };
    case "minP":
    case "topP":
    case "relTop":
      return { all: [instruction.row, instruction.summary], rows: [instruction.row] };
    case "route":
      return { all: [instruction.by, ...instruction.rows], rows: [] };
    case "calculate":
      return { all: instruction.operands, rows: [] };
    case "statistic":
    case "norm":
      return { all: [instruction.summary], rows: [] };
    case "token":
      return {
        all: [instruction.row, instruction.token],
        rows: instruction.what === "rank" ? [instruction.row] : [],
      };
    case "distance":
      return { all: [instruction.a, instruction.b], rows: [instruction.a, instruction.b] };
    case "smooth":
      return { all: [instruction.value, instruction.rate], rows: [] };
    case "alpha":
      return { all: [instruction.match], rows: [] };
    case "draw":
      return { all: instruction.weights, rows: [] };
    case "match": {
      const rows = [
        ...new Set([instruction.base, ...instruction.experts.flatMap(({ expert, anti }) => [expert, anti])]),
      ];
      return { all: rows, rows };
    }
    default:
      return { all: [], rows: [] };
  }
}
