/** Instructions that make numbers. */

import type { Summary } from "../../../backend/fuse-kernels.ts";
import { STAGE, uniform } from "../../../philox.ts";
import { CALCULATIONS } from "../calculate.ts";
import { type MatchResult, solveMatch } from "../match.ts";
import type { Instruction, NumberInstruction } from "../program.ts";
import { MISSING, type Missing, type Results } from "./results.ts";

type Of<Op extends Instruction["op"]> = Extract<Instruction, { op: Op }>;

export function computeNumber<R>(
  results: Results<R>,
  instruction: NumberInstruction & { path: string },
): number | Missing {
  const { context } = results;
  switch (instruction.op) {
    case "number":
      return instruction.value;
    case "calculate": {
      const operands = results.all<number>(instruction.operands);
      return operands === MISSING ? MISSING : CALCULATIONS[instruction.operation](operands);
    }
    case "statistic":
      return statistic(results, instruction);
    case "norm":
      return normPart(results, instruction);
    case "token":
      return ofToken(results, instruction);
    case "nth": {
      const row = results.demand(instruction.row) as R | Missing;
      return row === MISSING ? MISSING : (results.kernels.topK(row, instruction.n)?.value ?? MISSING);
    }
    case "extra":
      return results.source(instruction.source)?.extra[instruction.column] ?? MISSING;
    case "distance": {
      const rows = results.all<R>([instruction.a, instruction.b]);
      return rows === MISSING
        ? MISSING
        : (results.kernels.distance(rows[0], rows[1])?.[instruction.name] ?? MISSING);
    }
    case "input":
      return context.inputs[instruction.name][instruction.at];
    case "schedule":
      return instruction.points.findLast(([step]) => step <= context.step)![1];
    case "smooth":
      return smooth(results, instruction);
    case "alpha": {
      const found = results.demand(instruction.match) as MatchResult | Missing;
      if (found === MISSING) return MISSING;
      return found.expert === instruction.at ? found.alpha : 0;
    }
    case "draw": {
      const weights = results.all<number>(instruction.weights);
      if (weights === MISSING) return MISSING;
      const total = expectShares(instruction.path, weights);
      const u = uniform(context.seed, context.position, STAGE.mixture, instruction.item);
      return drawIndex(weights, u * total);
    }
  }
}

function statistic<R>(results: Results<R>, { summary, name }: Of<"statistic">): number | Missing {
  const found = results.demand(summary) as Summary | Missing;
  if (found === MISSING) return MISSING;
  if (name !== "max") return found[name]!;
  return found.top / (results.program.instructions[summary] as Of<"summary">).temperature;
}

function normPart<R>(results: Results<R>, { part, norm, summary }: Of<"norm">): number | Missing {
  const found = results.demand(summary) as Summary | Missing;
  if (found === MISSING) return MISSING;
  if (norm === "logsoftmax") return -found.logPartition!;
  if (norm === "maxnorm") {
    const max = found.top / (results.program.instructions[summary] as Of<"summary">).temperature;
    return max > 0 ? 1 / max : 0;
  }
  const { epsilon = 0, ddof = 1 } = typeof norm === "object" ? norm.zscore : {};
  const count = found.count!;
  const deviation = found.deviation! * Math.sqrt((count - 1) / Math.max(1, count - ddof));
  const scale = deviation > 0 ? 1 / (deviation + epsilon) : 0;
  return part === "scale" ? scale : -found.mean! * scale;
}

function ofToken<R>(results: Results<R>, { what, row, token, path }: Of<"token">): number | Missing {
  const operands = results.all<unknown>([row, token]);
  if (operands === MISSING) return MISSING;
  const id = operands[1] as number;
  const vocab = results.vocab(row);
  if (!Number.isInteger(id) || id < 0 || id >= vocab) {
    throw new RangeError(`"${path}.token" must be a token below ${vocab}, got ${id}`);
  }
  return results.kernels[what === "rank" ? "rank" : "at"](operands[0] as R, id);
}

/** With rate 0 the value before stays, and nothing is computed for another. */
function smooth<R>(results: Results<R>, { value, rate, slot }: Of<"smooth">): number | Missing {
  const before = results.context.memory[slot];
  const given = before === null ? 1 : (results.demand(rate) as number | Missing);
  if (given === MISSING) return MISSING;
  const pace = Math.min(1, Math.max(0, given));
  if (before !== null && pace === 0) return before;
  const now = results.demand(value) as number | Missing;
  if (now === MISSING) return MISSING;
  results.memory[slot] = before === null ? now : before + pace * (now - before);
  return results.memory[slot];
}

export function computeMatch<R>(results: Results<R>, match: Of<"match">): MatchResult | Missing {
  const rows = results.all<R>([match.base, ...match.experts.flatMap(({ expert, anti }) => [expert, anti])]);
  if (rows === MISSING) return MISSING;
  const experts = match.experts.map((_, index) => ({
    expert: rows[1 + 2 * index],
    anti: rows[2 + 2 * index],
  }));
  return solveMatch(results.kernels, { base: rows[0], experts }, match.solver, match.limit);
}

/** The sum of weights of which none is negative. */
export function expectShares(path: string, weights: readonly number[]): number {
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight < Infinity));
  if (wrong >= 0) {
    throw new RangeError(
      `"${path}.mix[${wrong}].weight" must be finite and not negative, got ${weights[wrong]}`,
    );
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total > 0) return total;
  throw new RangeError(`"${path}.mix" must have a weight above 0`);
}

/** The index at which the sum of weights passes `goal`; the last with a weight, should rounding leave it behind. */
function drawIndex(weights: readonly number[], goal: number): number {
  let sum = 0;
  for (let index = 0; index < weights.length; index++) {
    sum += weights[index];
    if (weights[index] > 0 && sum > goal) return index;
  }
  return weights.findLastIndex((weight) => weight > 0);
}
