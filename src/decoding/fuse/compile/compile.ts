/** From a plan to a program. */
import type { Node, Norm, Plan, Term } from "../plan.ts";
import {
  type Bounds,
  type Id,
  kindOfTable,
  type Program,
  type ProgramSource,
  type TermOperand,
  targetOfTable,
} from "../program.ts";
import { readPlan } from "../read/read-plan.ts";
import { Instructions } from "./instructions.ts";
import { compileSupports } from "./supports.ts";
import { compileValue } from "./values.ts";

/**
 * @param plan Anything `readPlan` takes; it is checked again, as a plan may be written by hand.
 */
export function compilePlan(plan: Plan): Program {
  const compiler = new Compiler(readPlan(plan));
  const result = compiler.row(compiler.node("plan", compiler.plan));
  const { inputs = {}, tables = {} } = compiler.plan;
  return { sources: compiler.sources, inputs, tables, result, ...compiler.done() };
}

/** A row before it is combined: z → scale · z / temperature + offset. */
export interface View {
  readonly row: Id;
  readonly temperature: number;
  readonly scale: Id | null;
  readonly offset: Id | null;
}

export class Compiler extends Instructions {
  readonly plan: Plan;
  readonly sources: readonly ProgramSource[];
  readonly #values = new Map<string, Id>();
  readonly #rows = new Map<string, View>();
  #mixes = 0;

  constructor(plan: Plan) {
    super();
    this.plan = plan;
    this.sources = plan.sources.map((source) => ({
      vocabulary: "",
      vocab: 0,
      extra: 0,
      ...(typeof source === "string" ? { name: source } : source),
    }));
  }

  /** A source or a named row. */
  named(name: string): View {
    const known = this.#rows.get(name);
    if (known !== undefined) return known;
    const source = this.sources.findIndex((spec) => spec.name === name);
    const row =
      source < 0
        ? this.row(this.node(`plan.rows.${name}`, this.plan.rows![name]))
        : this.rowOf(this.sources[source].vocabulary, `plan.sources[${source}]`, { op: "source", source });
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
  row(view: View, path = this.pathOf(view.row)): Id {
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
      return this.rowOf(this.#table(node.table).vocabulary ?? "", path, { op: "dense", table: node.table });
    }
    const rows = node.route.map((row, index) => this.row(this.node(`${path}.route[${index}]`, row)));
    const by = compileValue(this, `${path}.by`, node.by);
    return this.rowOf(this.vocabularyOf(rows[0]), path, { op: "route", by, rows });
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
      row = this.rowOf(this.vocabularyOf(row), at(term), {
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
    return this.rowOf(this.vocabularyOf(terms[0].row), path, { op: "lin", terms, bounds });
  }

  #mix(path: string, terms: readonly Term[], sampled: boolean): Id {
    const operands = terms.map((term, index) => ({
      ...this.node(`${path}.mix[${index}]`, term),
      weight: compileValue(this, `${path}.mix[${index}].weight`, term.weight ?? 1),
    }));
    const vocabulary = this.vocabularyOf(operands[0].row);
    if (!sampled) return this.rowOf(vocabulary, path, { op: "mix", terms: operands });
    const weights = operands.map(({ weight }) => weight);
    const by = this.emit(path, { op: "draw", weights, item: this.#mixes++ });
    const rows = operands.map(({ weight: _, ...view }) => this.row(view));
    return this.rowOf(vocabulary, path, { op: "route", by, rows });
  }

  #map(path: string, node: Node, name: string): Id {
    const table = this.#table(name);
    const kind = kindOfTable(table);
    const view = this.node(`${path}.map`, node);
    const to = targetOfTable(table);
    if (kind === "gather" || kind === "factors") {
      const op = kind === "gather" ? "gather" : "multiply";
      return this.rowOf(to, path, { op, row: this.row(view), table: name });
    }
    // In probabilities: of a group of tokens that become one, the logits mean nothing, their sum does.
    const { row, temperature } = view.scale === null ? view : plain(this.row(view));
    const partition = this.statistic(path, row, "logPartition", temperature);
    return this.rowOf(to, path, { op: "project", row, temperature, partition, table: name });
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
