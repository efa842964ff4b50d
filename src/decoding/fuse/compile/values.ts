import type { Match, Operation, Value } from "../plan.ts";
import type { Id } from "../program.ts";
import type { Compiler } from "./compile.ts";

export function compileValue(compiler: Compiler, path: string, value: Value): Id {
  if (typeof value === "number") return compiler.number(value);
  if (typeof value === "string") return compiler.value(value);
  if ("stat" in value) return compileStatistic(compiler, path, value);
  if ("input" in value) return compiler.emit(path, { op: "input", name: value.input, at: value.at ?? 0 });
  if ("schedule" in value) return compiler.emit(path, { op: "schedule", points: value.schedule });
  if ("smooth" in value) return compileSmooth(compiler, path, value);
  if ("match" in value) return compileMatch(compiler, path, value);
  const [[operation, operands]] = Object.entries(value) as [Operation, readonly Value[]][];
  return compiler.emit(path, {
    op: "calculate",
    operation,
    operands: operands.map((operand, index) =>
      compileValue(compiler, `${path}.${operation}[${index}]`, operand),
    ),
  });
}

type Statistic = Extract<Value, { stat: string }>;

function compileStatistic(compiler: Compiler, path: string, value: Statistic): Id {
  switch (value.stat) {
    case "extra": {
      const source = compiler.sources.findIndex(({ name }) => name === value.of);
      return compiler.emit(path, { op: "extra", source, column: value.column ?? 0 });
    }
    case "kl":
    case "l1": {
      const [a, b] = [compiler.named(value.of).row, compiler.named(value.to).row];
      return compiler.emit(path, { op: "distance", name: value.stat, a, b });
    }
    case "nth":
      return compiler.emit(path, { op: "nth", row: compiler.named(value.of).row, n: value.n });
    case "logit":
    case "rank":
    case "probability": {
      const view = compiler.named(value.of);
      const token = compileValue(compiler, `${path}.token`, value.token);
      const what = value.stat === "rank" ? "rank" : "logit";
      const read = compiler.emit(path, { op: "token", what, row: view.row, token });
      if (value.stat !== "probability") return read;
      const partition = compiler.statistic(path, view.row, "logPartition");
      const log = compiler.emit(path, { op: "calculate", operation: "sub", operands: [read, partition] });
      return compiler.emit(path, { op: "calculate", operation: "exp", operands: [log] });
    }
    default:
      return compiler.statistic(path, compiler.named(value.of).row, value.stat, value.temperature ?? 1);
  }
}

/** One slot for one name or place, however often it is used. */
function compileSmooth(
  compiler: Compiler,
  path: string,
  { smooth, rate }: Extract<Value, { smooth: Value }>,
): Id {
  const value = compileValue(compiler, `${path}.smooth`, smooth);
  const pace = compileValue(compiler, `${path}.rate`, rate);
  return compiler.emit(path, { op: "smooth", value, rate: pace, slot: compiler.memorySlot(path) });
}

function compileMatch(compiler: Compiler, path: string, value: Extract<Value, { match: Match }>): Id {
  const { base, experts, solver = "grid21", limit = 2 } = value.match;
  const row = (name: string) => compiler.named(name).row;
  const match = compiler.emit(path, {
    op: "match",
    base: row(base),
    experts: experts.map(({ expert, anti }) => ({ expert: row(expert), anti: row(anti) })),
    solver,
    limit,
  });
  return compiler.emit(path, { op: "alpha", match, at: value.at ?? 0 });
}
