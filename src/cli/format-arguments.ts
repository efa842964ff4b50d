/** What a text must be: `--json-schema` and `--regex`. */
import { compileGrammar, type GrammarSpec, type Model } from "../node.ts";
import { readInput } from "./input.ts";
import type { Values } from "./values.ts";

export interface FormatArguments {
  /** Path of a JSON schema; "-" is standard input. */
  schemaFile?: string;
  regex?: string;
}

/** @throws {TypeError} If both are given, or one beside what would keep the text from ending. */
export function formatArguments(values: Values): FormatArguments {
  const given = ["json-schema", "regex"].filter((name) => values.has(name));
  if (given.length > 1) throw new TypeError('"--json-schema" and "--regex" must not be given both');
  if (given.length > 0 && values.has("ignore-eos")) {
    throw new TypeError(`"--ignore-eos" must be left out beside "--${given[0]}", which ends by itself`);
  }
  if (given.length === 0) return {};
  return { schemaFile: values.text("json-schema"), regex: values.text("regex") };
}

/** The specification, read before a model is loaded for it; undefined: the text may be anything. */
export async function readFormat({ schemaFile, regex }: FormatArguments): Promise<GrammarSpec | undefined> {
  if (regex !== undefined) return { regex, name: "--regex" };
  if (schemaFile === undefined) return undefined;
  const json = await readInput(schemaFile);
  try {
    return { jsonSchema: JSON.parse(json), name: schemaFile };
  } catch (error) {
    if (error instanceof Error) error.message = `Cannot read "${schemaFile}": ${error.message}`;
    throw error;
  }
}

export function constraintOf(format: GrammarSpec | undefined, model: Model) {
  if (format === undefined) return {};
  const grammar = compileGrammar(format, model);
  return { constraint: () => grammar.open() };
}
