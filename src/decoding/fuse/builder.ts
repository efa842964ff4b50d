/** Plans in TypeScript: the same JSON, with names that the compiler checks. */
import type {
  Node,
  Norm,
  Operation,
  Plan,
  SourceSpec,
  StatisticName,
  Support,
  Table,
  Value,
} from "./plan.ts";
import { readPlan } from "./read/read-plan.ts";

/** A row in a sum: its weight, or more. */
export type Weighted =
  | Value
  | { readonly weight?: Value; readonly temperature?: number; readonly norm?: Norm };

/** What is said of the result beside how it is combined. */
export interface ResultOptions {
  readonly support?: readonly Support[];
  readonly temperature?: number;
  readonly norm?: Norm;
}

/** Collects names; `lin`, `mix`, `route` and `row` end it with a plan. `Names` are those of rows so far. */
export class PlanBuilder<Names extends string> {
  readonly #declared: {
    readonly sources: (string | SourceSpec)[];
    readonly inputs: Record<string, number>;
    readonly tables: Record<string, Table>;
    readonly let: Record<string, Value>;
    readonly rows: Record<string, Node>;
  };

  constructor(sources: readonly (string | SourceSpec)[]) {
    this.#declared = { sources: [...sources], inputs: {}, tables: {}, let: {}, rows: {} };
  }

  /** Numbers that the host gives with each step. */
  input(name: string, count = 1): this {
    this.#declared.inputs[name] = count;
    return this;
  }

  table(name: string, table: Table): this {
    this.#declared.tables[name] = table;
    return this;
  }

  /** Names a value, which can then be used as a weight by that name. */
  let(name: string, value: Value): this {
    this.#declared.let[name] = value;
    return this;
  }

  /** Names a row, which can then be used as sources are. */
  define<Name extends string>(name: Name, node: Node): PlanBuilder<Names | Name> {
    this.#declared.rows[name] = node;
    return this as unknown as PlanBuilder<Names | Name>;
  }

  stat(stat: StatisticName, of: Names): Value {
    return { stat, of };
  }

  lin(weights: Partial<Readonly<Record<Names, Weighted>>>, options: ResultOptions = {}): Plan {
    return this.row({ lin: termsOf(weights), ...options });
  }

  mix(
    weights: Partial<Readonly<Record<Names, Weighted>>>,
    options: ResultOptions & { mode?: "exact" | "sampled" } = {},
  ): Plan {
    return this.row({ mix: termsOf(weights), ...options });
  }

  route(by: Value, rows: readonly (Names | Node)[], options: ResultOptions = {}): Plan {
    const route = rows.map((row): Node => (typeof row === "string" ? { source: row } : row));
    return this.row({ route, by, ...options });
  }

  /** @throws {TypeError | RangeError} As `readPlan`. */
  row(node: Node): Plan {
    return readPlan({ ...this.#declared, ...node });
  }
}

function termsOf(weights: Readonly<Partial<Record<string, Weighted>>>): Node[] {
  return Object.entries(weights).map(([source, weighted]) => {
    const modified = typeof weighted === "object" && !isValue(weighted);
    return { source, ...(modified ? weighted : { weight: weighted }) } as Node;
  });
}

function isValue(weighted: object): weighted is Exclude<Value, string | number> {
  return !("weight" in weighted || "temperature" in weighted || "norm" in weighted) || "stat" in weighted;
}

/**
 * @example
 * ```ts
 * const plan = buildPlan("base", "expert", "anti")
 *   .let("alpha", { match: { base: "base", experts: [{ expert: "expert", anti: "anti" }] } })
 *   .lin({ base: 1, expert: "alpha", anti: op("mul", -1, "alpha") }, { support: [{ minP: 0.02, of: "base" }] });
 * ```
 */
export function buildPlan<const Names extends string>(...sources: readonly Names[]): PlanBuilder<Names> {
  return new PlanBuilder(sources);
}

/** op("mul", -1, "alpha") is { mul: [-1, "alpha"] }. */
export function op(operation: Operation, ...operands: readonly Value[]): Value {
  return { [operation]: operands } as unknown as Value;
}
