/** From JSON to a plan: checked, bounded, without circles, frozen. */
import { expectInteger } from "../../../errors.ts";
import { Fingerprint } from "../../../format/fingerprint.ts";
import { expectArray, Fields } from "../../pipeline/fields.ts";
import { LIMITS, type Plan, type SourceSpec } from "../plan.ts";
import { checkNames } from "./check.ts";
import { expectDense, readNode, readNodeFields } from "./read-node.ts";
import { readTable, readVocabulary } from "./read-table.ts";
import { readValue } from "./read-value.ts";
import { expectNewName, Reader, readRecord, recordNames } from "./reader.ts";

/**
 * Checks a plan and fills in defaults. What it gives is frozen, and as JSON always the same text for the same plan:
 * fields in one order, names sorted, modifiers that change nothing left out.
 *
 * @throws {TypeError | RangeError} If the JSON is not a plan; the message names the path inside it, as in
 *   `"plan.lin[1].source" must be one of base, expert, got "exprt"`.
 */
export function readPlan(json: unknown): Plan {
  const fields = new Fields("plan", json);
  const reader = new Reader();
  const sources = readSources(reader, fields);
  for (const [name, count] of readRecord(fields, "inputs", LIMITS.names, [], (path, count) =>
    expectInteger(path, count, 1, LIMITS.inputs),
  )) {
    reader.inputs.set(name, count);
  }
  for (const [name, table] of readRecord(fields, "tables", LIMITS.tables, [], (path, table) =>
    readTable(reader, path, table),
  )) {
    reader.tables.set(name, table);
  }
  // All names first: values and rows may use one another in any order.
  reader.values = recordNames(fields, "let", LIMITS.names, []);
  reader.rows = recordNames(fields, "rows", LIMITS.names, [...reader.sources.keys()]);
  const values = readRecord(fields, "let", LIMITS.names, [], (path, value) =>
    readValue(reader, path, value, 1),
  );
  const rows = readRecord(fields, "rows", LIMITS.names, [], (path, row) => readNode(reader, path, row, 1));
  const node = expectDense(reader, "plan", readNodeFields(reader, "plan", fields, 1));
  fields.done();
  const plan: Plan = Object.freeze({
    sources,
    ...optional("inputs", reader.inputs),
    ...optional("tables", reader.tables),
    ...optional("let", values),
    ...optional("rows", rows),
    ...node,
  });
  checkNames(plan);
  return plan;
}

/** 16 hexadecimal digits: equal for plans that are equal, defaults filled in. */
export function planFingerprint(plan: Plan): string {
  const hash = new Fingerprint();
  hash.addText("plan 1");
  hash.addText(JSON.stringify(readPlan(plan)));
  return hash.toString();
}

function readSources(reader: Reader, fields: Fields): readonly (string | SourceSpec)[] {
  const path = fields.path("sources");
  const list = expectArray(path, fields.raw("sources"), LIMITS.sources);
  if (list.length === 0) throw new RangeError(`"${path}" must have a source`);
  const sources = list.map((source, index) => {
    const spec = readSource(reader, `${path}[${index}]`, source);
    reader.sources.set(spec.name, spec);
    return Object.keys(spec).length === 1 ? spec.name : spec;
  });
  return Object.freeze(sources);
}

function readSource(reader: Reader, path: string, json: unknown): SourceSpec {
  const taken = [...reader.sources.keys()];
  if (typeof json === "string") return { name: expectNewName(path, json, taken) };
  const fields = new Fields(path, json);
  const name = expectNewName(fields.path("name"), fields.raw("name"), taken);
  const vocabulary = readVocabulary(fields, "vocabulary");
  const vocab = fields.integer("vocab", 0, LIMITS.vocab, 0);
  const extra = fields.integer("extra", 0, 4096, 0);
  fields.done();
  return Object.freeze({
    name,
    ...(vocabulary !== "" && { vocabulary }),
    ...(vocab > 0 && { vocab }),
    ...(extra > 0 && { extra }),
  });
}

function optional<T>(name: string, entries: ReadonlyMap<string, T>): Record<string, unknown> {
  return entries.size === 0 ? {} : { [name]: Object.freeze(Object.fromEntries(entries)) };
}
