/**
 * given: what a plan needs beside models, from plain JSON: files of the command line, the configuration of a service.
 *
 *     input     0.5, or [0.2, 1.3]                      the same numbers for all rows
 *               { "byStep": [[0, 1], [1, 0]] }          those of the n-th row of the output; the last ones stay
 *               { "byToken": [[0, 1], …] }              those of the token before the row
 *     table     as in a plan; of the kind "dense" an array too
 *               { "texts": ["…"] }                      a graph: what followed what, by the base model
 *     source    [0.1, null, …]                          a row that is the same after any tokens; null is −∞
 *     either    { "positive": ["…"], "negative": ["…"] }    such a row: a concept, by the base model
 *
 * Everything is checked before a model is needed; what models compute comes then.
 */
import { LIMITS, type Table } from "../../decoding/fuse/plan.ts";
import { kindOfTable } from "../../decoding/fuse/program.ts";
import { readGivenTable } from "../../decoding/fuse/read/read-table.ts";
import type { Plan, Program } from "../../decoding/fuse.ts";
import { compilePlan } from "../../decoding/fuse.ts";
import { Fields, kindOf } from "../../decoding/pipeline/fields.ts";
import { expectNumber } from "../../errors.ts";
import type { PlanInputs } from "../fuse.ts";
import type { Model } from "../model.ts";
import { type ConceptTexts, conceptRow, expectTexts, transitionGraph } from "./concept.ts";
import { type FuseModelsOptions, fuseModels } from "./model.ts";
import { isSpoken } from "./tables.ts";
import type { GivenModel, ModelWithPrefix } from "./text.ts";

/** By the names that the plan has. */
export type GivenJson = Readonly<Record<string, unknown>>;

/** The largest f32. */
const MOST = 3.4028234663852886e38;
const MAX_INPUT = 1e6;

type Numbers = (tokens: readonly number[], step: number) => readonly number[];
type Row = readonly number[] | ConceptTexts;
type Graph = { readonly texts: readonly string[] };

/** What was given, by what it is for. */
export interface Given {
  /** As it came. */
  readonly json: GivenJson;
  readonly inputs: ReadonlyMap<string, Numbers>;
  readonly tables: ReadonlyMap<string, Table | ConceptTexts | Graph>;
  /** In place of sources. */
  readonly rows: ReadonlyMap<string, Row>;
}

/**
 * @param path What errors begin with, as in `inputs` of `"inputs.routing"`.
 * @throws {TypeError | RangeError} If a name is none of the plan's, or a value does not fit; the message names the path.
 */
export function readGiven(plan: Plan, json: GivenJson, path = "inputs"): Given {
  const program = compilePlan(plan);
  new Fields(path, json);
  const inputs = new Map<string, Numbers>();
  const tables = new Map<string, Table | ConceptTexts | Graph>();
  const rows = new Map<string, Row>();
  for (const [name, value] of Object.entries(json)) {
    const at = `${path}.${name.slice(0, 64)}`;
    const table = Object.hasOwn(program.tables, name) ? program.tables[name] : undefined;
    if (Object.hasOwn(program.inputs, name)) {
      inputs.set(name, readNumbers(at, value, program.inputs[name]));
    } else if (table?.kind === "given") tables.set(name, readTable(at, value, table));
    else if (program.sources.some((source) => source.name === name)) rows.set(name, readRow(at, value));
    else {
      const names = givenNames(program).join(", ");
      throw new RangeError(`"${path}" must be of ${names}, got "${name.slice(0, 64)}"`);
    }
  }
  return { json, inputs, tables, rows };
}

/** Everything that may be given, inputs first. */
function givenNames(program: Program): readonly string[] {
  const tables = Object.entries(program.tables).filter(([, { kind }]) => kind === "given");
  return [
    ...Object.keys(program.inputs),
    ...tables.map(([name]) => name),
    ...program.sources.map(({ name }) => name),
  ];
}

/** One thing that a plan needs to run. */
export interface Need {
  readonly name: string;
  readonly kind: "source" | "input" | "table";
  /** In words. */
  readonly what: string;
  /** Whether it is made of the models where it is not given. */
  readonly isMade: boolean;
}

export function needsOf(plan: Plan): readonly Need[] {
  const program = compilePlan(plan);
  const tables = Object.entries(program.tables).filter(([, { kind }]) => kind === "given");
  return [
    ...program.sources.map(({ name }): Need => ({ name, kind: "source", what: "a model", isMade: false })),
    ...Object.entries(program.inputs).map(([name, count]): Need => {
      return { name, kind: "input", what: count === 1 ? "a number" : `${count} numbers`, isMade: false };
    }),
    ...tables.map(([name, table]): Need => {
      const like = kindOfTable(table);
      return { name, kind: "table", what: `a table of the kind "${like}"`, isMade: isSpoken(name, like) };
    }),
  ];
}

/** @throws {TypeError} If an input or a table is missing that models do not make. */
export function expectGiven(plan: Plan, { inputs, tables }: Given, path = "inputs"): void {
  for (const { name, kind, what, isMade } of needsOf(plan)) {
    if (kind === "source" || isMade || inputs.has(name) || tables.has(name)) continue;
    throw new TypeError(`"${path}.${name}" must be given: ${what}`);
  }
}

/**
 * `fuseModels` with what was given; texts are read by the base model first.
 *
 * @throws As `fuseModels`, or if a text is longer than the base's context.
 */
export async function fuseWithGiven(
  plan: Plan,
  models: Readonly<Record<string, Model | ModelWithPrefix>>,
  given: Given,
  options: Pick<FuseModelsOptions, "base" | "name"> = {},
): Promise<Model> {
  const { json, inputs, tables, rows } = given;
  const sources: Record<string, GivenModel> = { ...models };
  const found: Record<string, Table> = {};
  const base = baseOf(plan, models, options.base);
  for (const [name, row] of rows) sources[name] = "positive" in row ? await conceptRow(base(), row) : row;
  for (const [name, table] of tables) {
    if ("positive" in table) found[name] = { kind: "dense", values: await conceptRow(base(), table) };
    else found[name] = "texts" in table ? await transitionGraph(base(), table.texts) : table;
  }
  expectGiven(plan, given);
  const entries = [...inputs];
  const numbers = (tokens: readonly number[], step: number): PlanInputs =>
    Object.fromEntries(entries.map(([name, at]) => [name, at(tokens, step)]));
  return fuseModels(plan, sources, {
    ...options,
    ...(tables.size > 0 && { tables: found }),
    ...(entries.length > 0 && {
      inputs: numbers,
      fingerprint: JSON.stringify(entries.map(([name]) => [name, json[name]])),
    }),
  });
}

function baseOf(
  plan: Plan,
  models: Readonly<Record<string, Model | ModelWithPrefix>>,
  asked: string | undefined,
): () => Model {
  return () => {
    const names = plan.sources.map((source) => (typeof source === "string" ? source : source.name));
    const name = asked ?? names.find((one) => Object.hasOwn(models, one)) ?? names[0];
    const model = Object.hasOwn(models, name) ? models[name] : undefined;
    if (model === undefined) throw new TypeError(`"sources.${name}" must be a model, got undefined`);
    return "source" in model ? model.source : model;
  };
}

function readNumbers(path: string, json: unknown, count: number): Numbers {
  const one = (at: string, value: unknown) => {
    const list = typeof value === "number" ? [value] : value;
    if (!Array.isArray(list)) {
      throw new TypeError(`"${at}" must be an array of ${count} numbers, got ${kindOf(value)}`);
    }
    if (list.length !== count) throw new RangeError(`"${at}" must have ${count} numbers, got ${list.length}`);
    list.forEach((number, index) => {
      expectNumber(`${at}[${index}]`, number, -MAX_INPUT, MAX_INPUT);
    });
    return Object.freeze([...list]) as readonly number[];
  };
  const isPlain = typeof json !== "object" || json === null || Array.isArray(json);
  if (isPlain) {
    const numbers = one(path, json);
    return () => numbers;
  }
  const fields = new Fields(path, json);
  const [field] = ["byStep", "byToken"].filter((name) => fields.has(name));
  if (field === undefined)
    throw new TypeError(`"${path}" must be an array, or have one of "byStep", "byToken"`);
  const at = fields.path(field);
  const list = fields.raw(field);
  fields.done();
  if (!Array.isArray(list) || list.length === 0 || list.length > LIMITS.vocab)
    throw new TypeError(`"${at}" must be an array of arrays, got ${kindOf(list)}`);
  const rows = list.map((row, index) => one(`${at}[${index}]`, row));
  if (field === "byStep") return (_, step) => rows[Math.min(step, rows.length - 1)];
  return (tokens) => {
    const token = tokens.at(-1) ?? 0;
    if (token < rows.length) return rows[token];
    throw new RangeError(`"${at}" must have numbers for token ${token}, got ${rows.length} rows`);
  };
}

function readTable(
  path: string,
  json: unknown,
  table: Extract<Table, { kind: "given" }>,
): Table | ConceptTexts | Graph {
  const like = kindOfTable(table);
  const isObject = typeof json === "object" && json !== null;
  if (like === "graph" && isObject && "texts" in json) {
    const fields = new Fields(path, json);
    const texts = fields.raw("texts");
    expectTexts(fields.path("texts"), texts);
    fields.done();
    return { texts };
  }
  if (like === "dense" && isObject && "positive" in json) return readConcept(path, json);
  const { to, vocabulary } = table;
  const full = like === "dense" && Array.isArray(json) ? { kind: "dense", values: json } : json;
  const read = readGivenTable(path, full, like);
  return {
    ...(to !== undefined && { to }),
    ...(vocabulary !== undefined && { vocabulary }),
    ...read,
  } as Table;
}

function readRow(path: string, json: unknown): Row {
  if (typeof json === "object" && json !== null && "positive" in json) return readConcept(path, json);
  if (!Array.isArray(json)) {
    throw new TypeError(`"${path}" must be an array of logits, or have "positive", got ${kindOf(json)}`);
  }
  if (json.length === 0 || json.length > LIMITS.vocab) {
    throw new RangeError(`"${path}" must have from 1 to ${LIMITS.vocab} logits, got ${json.length}`);
  }
  return json.map((logit, index) =>
    logit === null ? -Infinity : expectNumber(`${path}[${index}]`, logit, -MOST, MOST),
  );
}

function readConcept(path: string, json: object): ConceptTexts {
  const fields = new Fields(path, json);
  const [positive, negative] = [fields.raw("positive"), fields.raw("negative")];
  expectTexts(fields.path("positive"), positive);
  expectTexts(fields.path("negative"), negative);
  fields.done();
  return { positive, negative };
}
