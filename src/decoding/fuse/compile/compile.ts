/** From a plan to a program. Equal parts of a plan become one instruction, so nothing is computed twice. */
import type { SummaryGroup } from "../../../backend/fuse-kernels.ts";
import type { Node, Norm, Plan, StatisticName, Term } from "../plan.ts";
import {
  type Bounds,
  type Id,
  type Instruction,
  kindOfTable,
  type Program,
  type ProgramSource,
  type TermOperand,
} from "../program.ts";
import { readPlan } from "../read/read-plan.ts";
import { compileSupports } from "./supports.ts";
import { compileValue } from "./values.ts";

/**
 * @param plan Anything `readPlan` takes; it is checked again, as a plan may be written by hand.
 */
export function compilePlan(plan: Plan): Program {
  const compiler = new Compiler(readPlan(plan));
  const result = compiler.row(compiler.node("plan", compiler.plan));
  return compiler.program(result);
}

/** A row before it is combined: z → scale · z / temperature + offset. */
export interface View {
  readonly row: Id;
  readonly temperature: number;
  readonly scale: Id | null;
  readonly offset: Id | null;
}

/** `Instruction` without its path; Omit alone would merge the union. */
type Bare<T> = T extends unknown ? Omit<T, "path"> : never;

const GROUPS: Readonly<Record<StatisticName, SummaryGroup>> = {
  vocab: "extremes",
  max: "extremes",
  argmax: "extremes",
  mean: "moments",
  deviation: "moments",
  logPartition: "partition",
  entropy: "partition",
  maxProbability: "partition",
  minProbability: "partition",
  margin: "partition",
  squareEntropy: "partition",
  probabilityDeviation: "probabilities",
  probabilityKurtosis: "probabilities",
};

export class Compiler {
  readonly plan: Plan;
  readonly sources: readonly ProgramSource[];
  readonly #instructions: Instruction[] = [];
  readonly #known = new Map<string, Id>();
  readonly #groups = new Map<Id, Set<SummaryGroup>>();
  readonly #vocabularies = new Map<Id, string>();
  readonly #values = new Map<string, Id>();
  readonly #rows = new Map<string, View>();
  readonly #slots = new Map<string, number>();
  #mixes = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.sources = plan.sources.map((source) => ({
      vocabulary: "",
      vocab: 0,
      extra: 0,
      ...(typeof source === "string" ? { name: source } : source),
    }));
  }

  program(result: Id): Program {
    const { inputs = {}, tables = {} } = this.plan;
    return {
      sources: this.sources,
      inputs,
      tables,
      instructions: this.#instructions,
      groups: this.#groups,
      result,
      vocabularies: this.#vocabularies,
      memory: this.#slots.size,
    };
  }

  emit(path: string, instruction: Bare<Instruction>): Id {
    const key = JSON.stringify(instruction);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = this.#instructions.length;
    this.#instructions.push({ ...instruction, path } as Instruction);
    this.#known.set(key, id);
    return id;
  }

  number(value: number): Id {
    return this.emit("plan", { op: "number", value });
  }

  /** The slot of the state that belongs to a path. */
  memorySlot(path: string): number {
    const slot = this.#slots.get(path) ?? this.#slots.size;
    this.#slots.set(path, slot);
    return slot;
  }

  statistic(path: string, view: View, name: StatisticName, temperature = 1): Id {
    const row = this.row(view, path);
    return this.emit(path, {
      op: "statistic",
      name,
      summary: this.summary(path, row, temperature, GROUPS[name]),
    });
  }

  summary(path: string, row: Id, temperature: number, group: SummaryGroup): Id {
    const id = this.emit(path, { op: "summary", row, temperature });
    const groups = this.#groups.get(id) ?? new Set();
    this.#groups.set(id, groups.add(group));
    return id;
  }

  /** A source or a named row. */
  named(name: string): View {
    const known = this.#rows.get(name);
    if (known !== undefined) return known;
    const source = this.sources.findIndex((spec) => spec.name === name);
    const row =
      source < 0
        ? this.row(this.node(`plan.rows.${name}`, this.plan.rows![name]))
        : this.#rowOf(this.sources[source].vocabulary, `plan.sources[${source}]`, { op: "source", source });
    this.#rows.set(name, plain(row));
    return plain(row);
  }

  /** A named value. */
  value(name: string): Id {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    const id = compileValue(this, `plan.let.${name}`, this.plan.let![name]);
    this.#values.set(name, id);
    return id;
  }

  /** The row of a view, computed if it is not there as it is. */
  row(view: View, path = this.#instructions[view.row].path): Id {
    if (view.temperature === 1 && view.scale === null && view.offset === null) return view.row;
    return this.#lin(path, [{ ...view, weight: this.number(1) }], []);
  }

  node(path: string, node: Node): View {
    const { temperature = 1, support = [], norm = "raw" } = node;
    const self = (row: Id): View => ({ ...plain(row), temperature });
    // A sum whose supports look at other rows is computed and cut in one pass.
    const ownSupport = support.some(looksAtItself);
    if (
      "lin" in node &&
      support.length > 0 &&
      !ownSupport &&
      !node.lin.some((term) => this.#isSparse(term))
    ) {
      const bounds = compileSupports(this, `${path}.support`, support, null);
      return this.#normed(path, self(this.#sum(path, node.lin, bounds)), norm);
    }
    let view = self(this.#word(path, node));
    if (support.length > 0) {
      const bounds = compileSupports(this, `${path}.support`, support, view);
      view = self(this.#lin(path, [{ ...plain(view.row), weight: this.number(1) }], bounds));
    }
    return this.#normed(path, view, norm);
  }

  #word(path: string, node: Node): Id {
    if ("source" in node) return this.named(node.source).row;
    if ("lin" in node) return this.#sum(path, node.lin, []);
    if ("mix" in node) return this.#mix(path, node.mix, node.mode === "sampled");
    if ("map" in node) return this.#map(path, node.map, node.through);
    if ("table" in node) {
      return this.#rowOf(this.#table(node.table).vocabulary ?? "", path, { op: "dense", table: node.table });
    }
    const rows = node.route.map((row, index) => this.row(this.node(`${path}.route[${index}]`, row)));
    const by = compileValue(this, `${path}.by`, node.by);
    return this.#rowOf(this.#vocabularies.get(rows[0])!, path, { op: "route", by, rows });
  }

  /** Dense rows first, in one pass; what is sparse is added to their sum. */
  #sum(path: string, terms: readonly Term[], bounds: Bounds): Id {
    const at = (term: Term) => `${path}.lin[${terms.indexOf(term)}]`;
    const weight = (term: Term) => compileValue(this, `${at(term)}.weight`, term.weight ?? 1);
    const dense = terms.filter((term) => !this.#isSparse(term));
    const operands = dense.map((term) => ({ ...this.node(at(term), term), weight: weight(term) }));
    let row = this.#lin(path, operands, bounds);
    for (const term of terms) {
      if (!this.#isSparse(term)) continue;
      const { table, norm = "raw", temperature = 1 } = term as Extract<Term, { table: string }>;
      row = this.#rowOf(this.#vocabularies.get(row)!, at(term), {
        op: "scatter",
        row,
        table,
        weight: weight(term),
        norm,
        temperature,
      });
    }
    return row;
  }

  #lin(path: string, terms: readonly TermOperand[], bounds: Bounds): Id {
    return this.#rowOf(this.#vocabularies.get(terms[0].row)!, path, { op: "lin", terms, bounds });
  }

  #mix(path: string, terms: readonly Term[], sampled: boolean): Id {
    const operands = terms.map((term, index) => ({
      ...this.node(`${path}.mix[${index}]`, term),
      weight: compileValue(this, `${path}.mix[${index}].weight`, term.weight ?? 1),
    }));
    const vocabulary = this.#vocabularies.get(operands[0].row)!;
    if (!sampled) return this.#rowOf(vocabulary, path, { op: "mix", terms: operands });
    const weights = operands.map(({ weight }) => weight);
    const by = this.emit(path, { op: "draw", weights, item: this.#mixes++ });
    const rows = operands.map(({ weight: _, ...view }) => this.row(view));
    return this.#rowOf(vocabulary, path, { op: "route", by, rows });
  }

  #map(path: string, node: Node, name: string): Id {
    const table = this.#table(name);
    const view = this.node(`${path}.map`, node);
    const to = ("to" in table ? table.to : undefined) ?? "";
    if (kindOfTable(table) === "gather") {
      return this.#rowOf(to, path, { op: "gather", row: this.row(view), table: name });
    }
    // In probabilities: of a group of tokens that become one, the logits mean nothing, their sum does.
    const { row, temperature } = view.scale === null ? view : plain(this.row(view));
    const summary = this.summary(path, row, temperature, "partition");
    const partition = this.emit(path, { op: "statistic", name: "logPartition", summary });
    return this.#rowOf(to, path, { op: "project", row, temperature, partition, table: name });
  }

  #normed(path: string, view: View, norm: Norm): View {
    if (norm === "raw") return view;
    const group = norm === "logsoftmax" ? "partition" : norm === "maxnorm" ? "extremes" : "moments";
    const summary = this.summary(path, view.row, view.temperature, group);
    const part = (name: "scale" | "offset") => this.emit(path, { op: "norm", part: name, norm, summary });
    return {
      ...view,
      scale: norm === "logsoftmax" ? null : part("scale"),
      offset: norm === "maxnorm" ? null : part("offset"),
    };
  }

  #rowOf(vocabulary: string, path: string, instruction: Bare<Instruction>): Id {
    const id = this.emit(path, instruction);
    this.#vocabularies.set(id, vocabulary);
    return id;
  }

  #table(name: string) {
    return this.plan.tables![name];
  }

  #isSparse(node: Node): boolean {
    if (!("table" in node)) return false;
    const kind = kindOfTable(this.#table(node.table));
    return kind === "sparse" || kind === "graph";
  }
}

function plain(row: Id): View {
  return { row, temperature: 1, scale: null, offset: null };
}

function looksAtItself(support: NonNullable<Node["support"]>[number]): boolean {
  if ("any" in support) return support.any.some(looksAtItself);
  const judges = "minP" in support || "topK" in support || "topP" in support || "relTop" in support;
  return judges && support.of === undefined;
}
