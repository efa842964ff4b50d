/** Rows: the sums, choices and sources of a plan. */
import { expectInteger } from "../../../errors.ts";
import { expectArray, Fields } from "../../pipeline/fields.ts";
import { LIMITS, type Modifiers, NORMS, type Node, type Norm, type NormName, type Term } from "../plan.ts";
import { readSupports } from "./read-support.ts";
import { oneWord, readValue } from "./read-value.ts";
import { expectName, type Reader } from "./reader.ts";

const WORDS = ["source", "lin", "mix", "route", "map", "table"] as const;
const MODES = ["exact", "sampled"] as const;

export function readNode(reader: Reader, path: string, json: unknown, depth: number): Node {
  const fields = new Fields(path, json);
  const node = readNodeFields(reader, path, fields, depth);
  fields.done();
  return Object.freeze(expectDense(reader, path, node));
}

/** A sparse table is no row of its own: it is added to one. */
export function expectDense(reader: Reader, path: string, node: Node): Node {
  if (!isSparse(reader, node)) return node;
  throw new RangeError(`"${path}" must not be a sparse table: such a table is added to rows, in "lin"`);
}

/** Leaves `done` to the caller, as the whole plan is a row too, with more fields. */
export function readNodeFields(
  reader: Reader,
  path: string,
  fields: Fields,
  depth: number,
  norm: Norm = "raw",
): Node {
  reader.enter(path, depth);
  const node = readWord(reader, fields, oneWord(fields, path, WORDS), depth);
  return { ...node, ...readModifiers(reader, fields, depth, norm) };
}

function readWord(reader: Reader, fields: Fields, word: (typeof WORDS)[number], depth: number): Node {
  const path = fields.path(word);
  switch (word) {
    case "source":
      return { source: reader.rowName(fields, "source") };
    case "lin":
      return { lin: readTerms(reader, path, fields.raw("lin"), depth, "raw") };
    case "mix": {
      const mix = readTerms(reader, path, fields.raw("mix"), depth, "logsoftmax");
      expectShares(path, mix);
      return { mix, mode: fields.choice("mode", MODES, "exact") };
    }
    case "route": {
      const list = expectArray(path, fields.raw("route"), LIMITS.terms);
      if (list.length < 2) throw new RangeError(`"${path}" must have at least 2 rows, got ${list.length}`);
      const route = list.map((row, index) => readNode(reader, `${path}[${index}]`, row, depth + 1));
      const by = readValue(reader, fields.path("by"), fields.raw("by"), depth + 1);
      if (typeof by === "number") expectInteger(fields.path("by"), by, 0, route.length - 1);
      return { route: Object.freeze(route), by };
    }
    case "map": {
      const map = readNode(reader, path, fields.raw("map"), depth + 1);
      return { map, through: tableName(reader, fields, "through", ["projection", "gather", "factors"]) };
    }
    case "table":
      return { table: tableName(reader, fields, "table", ["dense", "sparse", "graph"]) };
  }
}

/** Those that change nothing are left out. A raw term in a mix is the one whose norm must be said. */
function readModifiers(reader: Reader, fields: Fields, depth: number, missing: Norm): Modifiers {
  const temperature = fields.number("temperature", 1e-3, 1e3, 1);
  const support = fields.has("support")
    ? readSupports(reader, fields.path("support"), fields.raw("support"), depth + 1)
    : [];
  const norm = readNorm(fields, missing);
  return {
    ...(temperature !== 1 && { temperature }),
    ...(support.length > 0 && { support }),
    ...((norm !== "raw" || missing !== "raw") && { norm }),
  };
}

/** A z-score as usual is read as its name. */
function readNorm(fields: Fields, missing: Norm): Norm {
  const path = fields.path("norm");
  const json = fields.raw("norm");
  if (typeof json !== "object") return fields.choice("norm", NORMS, missing as NormName);
  const outer = new Fields(path, json);
  const inner = new Fields(outer.path("zscore"), outer.raw("zscore"));
  const epsilon = inner.number("epsilon", 0, 1, 0);
  const ddof = inner.integer("ddof", 0, 1, 1);
  inner.done();
  outer.done();
  return epsilon === 0 && ddof === 1 ? "zscore" : Object.freeze({ zscore: Object.freeze({ epsilon, ddof }) });
}

function readTerms(reader: Reader, path: string, json: unknown, depth: number, norm: Norm): readonly Term[] {
  const list = expectArray(path, json, LIMITS.terms);
  if (list.length === 0) throw new RangeError(`"${path}" must have a row`);
  const terms = list.map((term, index) => {
    const fields = new Fields(`${path}[${index}]`, term);
    const node = readNodeFields(reader, `${path}[${index}]`, fields, depth + 1, norm);
    const weight = readValue(
      reader,
      fields.path("weight"),
      fields.raw("weight") ?? 1,
      depth + 1,
      LIMITS.weight,
    );
    fields.done();
    return Object.freeze({ ...node, weight });
  });
  terms.forEach((term, index) => {
    if (!isSparse(reader, term)) return;
    if (norm === "logsoftmax") expectDense(reader, `${path}[${index}]`, term);
    if (term.support !== undefined || !["raw", "maxnorm"].includes((term.norm ?? "raw") as string)) {
      throw new RangeError(
        `"${path}[${index}]" must be raw or maxnorm, without a support, as its table is sparse`,
      );
    }
  });
  if (terms.every((term) => isSparse(reader, term))) {
    throw new RangeError(`"${path}" must have a row that is not a sparse table`);
  }
  return Object.freeze(terms);
}

/** Of weights that are constants; computed ones are looked at in each step. */
function expectShares(path: string, mix: readonly Term[]): void {
  const wrong = mix.findIndex(({ weight }) => typeof weight === "number" && weight < 0);
  if (wrong >= 0) {
    throw new RangeError(`"${path}[${wrong}].weight" must not be negative, got ${mix[wrong].weight}`);
  }
  if (mix.every(({ weight }) => weight === 0)) throw new RangeError(`"${path}" must have a weight above 0`);
}

function isSparse(reader: Reader, node: Node): boolean {
  if (!("table" in node)) return false;
  const table = reader.tables.get(node.table)!;
  const kind = table.kind === "given" ? table.like : table.kind;
  return kind === "sparse" || kind === "graph";
}

function tableName(reader: Reader, fields: Fields, field: string, kinds: readonly string[]): string {
  const name = expectName(fields.path(field), fields.raw(field), [...reader.tables.keys()]);
  const table = reader.tables.get(name)!;
  const kind = table.kind === "given" ? table.like : table.kind;
  if (kinds.includes(kind)) return name;
  throw new RangeError(
    `"${fields.path(field)}" must name a table of kind ${kinds.join(" or ")}, got "${name}" of kind ${kind}`,
  );
}
