/** What no part of a plan can see alone: circles of names, and rows of different vocabularies in one sum. */
import type { Node, Plan, SourceSpec, Support, Value } from "../plan.ts";
import { targetOfTable } from "../program.ts";

/** @throws {RangeError} If a name depends on itself, or rows of two vocabularies meet without a map. */
export function checkNames(plan: Plan): void {
  new Check(plan).all();
}

class Check {
  readonly #plan: Plan;
  readonly #sources: ReadonlyMap<string, SourceSpec>;
  /** Vocabulary of each named row that is done; of values, nothing. */
  readonly #done = new Map<string, string>();
  /** Names on the way to where we are. */
  readonly #open: string[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#sources = new Map(
      plan.sources.map((source) =>
        typeof source === "string" ? [source, { name: source }] : [source.name, source],
      ),
    );
  }

  all(): void {
    const { let: values = {}, rows = {} } = this.#plan;
    for (const name of Object.keys(rows)) this.#row(name);
    for (const name of Object.keys(values)) this.#value(`plan.let.${name}`, name);
    this.#node("plan", this.#plan);
    this.#sizes();
  }

  /** Sources of one vocabulary must agree on the ids in use, where they say. */
  #sizes(): void {
    const sizes = new Map<string, [vocab: number, name: string]>();
    for (const { name, vocabulary = "", vocab } of this.#sources.values()) {
      if (vocab === undefined) continue;
      const [before, first] = sizes.get(vocabulary) ?? [vocab, name];
      if (before !== vocab) {
        throw new RangeError(
          `"plan.sources" must have one "vocab" for one vocabulary, got ${before} of "${first}" and ${vocab} of "${name}"`,
        );
      }
      sizes.set(vocabulary, [vocab, name]);
    }
  }

  /** The vocabulary of a source or named row. */
  #row(name: string): string {
    const source = this.#sources.get(name);
    if (source !== undefined) return source.vocabulary ?? "";
    return this.#named(`rows.${name}`, () => this.#node(`plan.rows.${name}`, this.#plan.rows![name]));
  }

  #named(key: string, visit: () => string): string {
    const done = this.#done.get(key);
    if (done !== undefined) return done;
    const at = this.#open.indexOf(key);
    if (at >= 0) {
      const circle = [...this.#open.slice(at), key].join(" → ");
      throw new RangeError(`"plan.${key}" must not depend on itself, got ${circle}`);
    }
    this.#open.push(key);
    const vocabulary = visit();
    this.#open.pop();
    this.#done.set(key, vocabulary);
    return vocabulary;
  }

  #node(path: string, node: Node): string {
    const vocabulary = this.#word(path, node);
    node.support?.forEach((support, index) => {
      this.#support(`${path}.support[${index}]`, support, vocabulary);
    });
    return vocabulary;
  }

  #word(path: string, node: Node): string {
    if ("source" in node) return this.#row(node.source);
    if ("table" in node) return this.#plan.tables![node.table].vocabulary ?? "";
    if ("map" in node) {
      const table = this.#plan.tables![node.through];
      expectSame(`${path}.map`, table.vocabulary ?? "", this.#node(`${path}.map`, node.map));
      return targetOfTable(table);
    }
    if ("route" in node) {
      this.#value(`${path}.by`, node.by);
      return this.#same(`${path}.route`, node.route);
    }
    const word = "lin" in node ? "lin" : "mix";
    const terms = "lin" in node ? node.lin : node.mix;
    terms.forEach(({ weight = 1 }, index) => {
      this.#value(`${path}.${word}[${index}].weight`, weight);
    });
    return this.#same(`${path}.${word}`, terms);
  }

  #same(path: string, nodes: readonly Node[]): string {
    const [first, ...others] = nodes.map((node, index) => this.#node(`${path}[${index}]`, node));
    others.forEach((vocabulary, index) => {
      expectSame(`${path}[${index + 1}]`, first, vocabulary);
    });
    return first;
  }

  #support(path: string, support: Support, vocabulary: string): void {
    if ("any" in support) {
      support.any.forEach((one, index) => {
        this.#support(`${path}.any[${index}]`, one, vocabulary);
      });
    } else if ("of" in support && support.of !== undefined) {
      expectSame(`${path}.of`, vocabulary, this.#row(support.of));
    }
  }

  #value(path: string, value: Value): void {
    if (typeof value === "number") return;
    if (typeof value === "string") {
      this.#named(`let.${value}`, () => {
        this.#value(`plan.let.${value}`, this.#plan.let![value]);
        return "";
      });
    } else if ("stat" in value) {
      const vocabulary = this.#row(value.of);
      if ("to" in value) expectSame(`${path}.to`, vocabulary, this.#row(value.to));
      if ("token" in value) this.#value(`${path}.token`, value.token);
    } else if ("smooth" in value) {
      this.#value(`${path}.smooth`, value.smooth);
      this.#value(`${path}.rate`, value.rate);
    } else if ("match" in value) {
      const vocabulary = this.#row(value.match.base);
      value.match.experts.forEach(({ expert, anti }, index) => {
        expectSame(`${path}.match.experts[${index}].expert`, vocabulary, this.#row(expert));
        expectSame(`${path}.match.experts[${index}].anti`, vocabulary, this.#row(anti));
      });
    } else if (!("input" in value || "schedule" in value)) {
      const [[name, operands]] = Object.entries(value) as [string, readonly Value[]][];
      operands.forEach((operand, index) => {
        this.#value(`${path}.${name}[${index}]`, operand);
      });
    }
  }
}

function expectSame(path: string, expected: string, got: string): void {
  if (expected === got) return;
  throw new RangeError(
    `"${path}" must be of vocabulary "${expected}", got "${got}": a "map" leads from one to another`,
  );
}
