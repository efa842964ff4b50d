import { FUSE_PRESETS } from "../decoding/fuse/preset/presets.ts";
import { readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import type { Plan } from "../decoding/fuse.ts";
import { isServer } from "../engine/remote/connect.ts";
import type { Options } from "./option.ts";
import type { PlansArguments } from "./serve-plans.ts";
import type { Values } from "./values.ts";

const PRESET_PREFIX = "preset:";

/** Those of every command that runs a model. */
export const PLAN_OPTIONS: Options = {
  plan: {
    kind: "text",
    value: "PLAN",
    help: "fuse several models by a plan: a JSON file, or preset:NAME, or preset:NAME:key=value,...; a value may be JSON, \
or @FILE",
  },
  source: {
    kind: "texts",
    value: "NAME=FILE",
    help: 'a model of the plan, or the address of its server (http://host:8080, http://host/v1#model); once for each. \
The tokenizer is that of "base", else of the first; servers are lent that of the first file',
  },
  "source-key": {
    kind: "texts",
    value: "NAME=FILE",
    help: "a file with the key that the server of a source asks for",
  },
  prefix: {
    kind: "texts",
    value: "NAME=TEXT",
    help: "what a source reads before the text: the same model may stand under two names",
  },
  input: {
    kind: "texts",
    value: "NAME=FILE",
    help: "numbers, a table or a row that the plan needs, as JSON, or a text to make it of; --explain tells which",
  },
};

export interface PlanArguments {
  /** Path of a file with the plan; "-" is standard input. */
  file?: string;
  /** Or the plan of a preset. */
  plan?: Plan;
  /** Or a preset, with options that are read from files. */
  preset?: PresetFiles;
  /** Path or URL by name of source, in the order they were given. */
  sources: ReadonlyMap<string, string>;
  /** What they read before the text. */
  prefixes: ReadonlyMap<string, string>;
  /** Files by name of what the plan needs beside models. */
  inputs: ReadonlyMap<string, string>;
  /** Files with keys, by name of source. */
  keys: ReadonlyMap<string, string>;
}

export interface PresetFiles {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Paths by option. */
  readonly files: ReadonlyMap<string, string>;
}

/**
 * The models of a fusion and how they become one; undefined, if there is none.
 *
 * @throws {TypeError | RangeError} If a preset is unknown, an option of it wrong, or a source is not NAME=FILE.
 */
export function planArguments(values: Values): PlanArguments | undefined {
  values.expectBeside(["source", "source-key", "prefix", "input"], ["plan"]);
  const text = values.text("plan");
  if (text === undefined) return undefined;
  if (values.has("model")) {
    throw new TypeError(
      `"${values.label("model")}" must be left out beside "--plan", whose models are "--source"`,
    );
  }
  return { ...planArgument(text), ...sourceArguments(values) };
}

/**
 * NAME=PLAN, several times, of a command that serves plans under names.
 *
 * @throws {TypeError | RangeError} As `planArguments`.
 */
export function namedPlanArguments(values: Values): PlansArguments | undefined {
  values.expectBeside(["source", "source-key", "prefix", "input"], ["plan"]);
  const texts = pairs(values, "plan", "mixed=plan.json");
  if (texts.size === 0) return undefined;
  const plans = new Map([...texts].map(([name, text]) => [name, planArgument(text)]));
  return { plans, ...sourceArguments(values) };
}

/** What stands beside a plan. */
export function sourceArguments(
  values: Values,
): Pick<PlanArguments, "sources" | "prefixes" | "inputs" | "keys"> {
  const sources = pairs(values, "source", "base=model.gguf");
  const prefixes = pairs(values, "prefix", "base=TEXT");
  const inputs = pairs(values, "input", "graph=graph.json");
  const keys = pairs(values, "source-key", "base=key.txt");
  const locked = [...keys.keys()].find((name) => !isServer(sources.get(name) ?? ""));
  if (locked !== undefined)
    throw new TypeError(`"--source-key ${locked}=" needs "--source ${locked}=http://..." beside it`);
  const stray = [...prefixes.keys()].find((name) => !sources.has(name));
  if (stray !== undefined)
    throw new TypeError(`"--prefix ${stray}=" needs "--source ${stray}=FILE" beside it`);
  const typed = [...inputs].find(([, file]) => file === "-")?.[0];
  if (typed !== undefined) throw new TypeError(`"--input ${typed}=" must be a file, got standard input`);
  const both = [...inputs.keys()].find((name) => sources.has(name));
  if (both !== undefined)
    throw new TypeError(`"--input ${both}=" must be left out beside "--source ${both}="`);
  return { sources, prefixes, inputs, keys };
}

/** A plan as an option has it: a file, or `preset:` and what follows. */
export function planArgument(text: string): Pick<PlanArguments, "file" | "plan" | "preset"> {
  return text.startsWith(PRESET_PREFIX) ? presetArgument(text.slice(PRESET_PREFIX.length)) : { file: text };
}

/** NAME=VALUE, in the order given. */
function pairs(values: Values, option: string, example: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const text of values.texts(option)) {
    const [, name, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
    if (name === undefined) throw new TypeError(`"--${option}" must be like ${example}, got "${text}"`);
    if (found.has(name)) throw new TypeError(`"--${option}" must name each source once, got "${name}" again`);
    found.set(name, value);
  }
  return found;
}

/** `NAME` or `NAME:key=value,key=value`. */
function presetArgument(text: string): Pick<PlanArguments, "plan" | "preset"> {
  const [name, ...rest] = text.split(":");
  if (!Object.hasOwn(FUSE_PRESETS, name)) {
    throw new RangeError(
      `"--plan preset:" must be one of ${Object.keys(FUSE_PRESETS).join(", ")}, got "${name}"`,
    );
  }
  // A comma within JSON is followed by no key.
  const pairs =
    rest.length === 0
      ? []
      : rest
          .join(":")
          .split(/,(?=\w+=|$)/)
          .map(readOption);
  const files = new Map(
    pairs.flatMap(([key, value]): [string, string][] =>
      value.startsWith("@") ? [[key, value.slice(1)]] : [],
    ),
  );
  const options = Object.fromEntries(
    pairs.filter(([key]) => !files.has(key)).map(([key, value]) => [key, optionValue(key, value)]),
  );
  return files.size > 0 ? { preset: { name, options, files } } : { plan: planOfPreset(name, options) };
}

/** @throws {TypeError | RangeError} If an option is wrong; the message names the preset and the option. */
export function planOfPreset(name: string, options: Readonly<Record<string, unknown>>): Plan {
  try {
    return readPlanOrPreset({ preset: name, options });
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replace(/^"plan\./, `"--plan preset:${name} `);
    throw error;
  }
}

function readOption(text: string): [key: string, value: string] {
  const [, key, value] = /^(\w+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new TypeError(`"--plan" must have options like alpha=0.5 after the preset, got "${text}"`);
  }
  return [key, value];
}

function optionValue(key: string, value: string): unknown {
  if (!/^[[{]/.test(value)) return scalar(value);
  try {
    return JSON.parse(value);
  } catch (error) {
    throw new TypeError(`"--plan" must have JSON in the option ${key}: ${(error as Error).message}`);
  }
}

/** A number, true or false; anything else is a text. */
export function scalar(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}
