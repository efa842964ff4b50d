import { FUSE_PRESETS } from "../decoding/fuse/preset/presets.ts";
import { readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import type { Plan } from "../decoding/fuse.ts";
import type { Options } from "./option.ts";
import type { Values } from "./values.ts";

const PRESET_PREFIX = "preset:";

/** Those of every command that runs a model. */
export const PLAN_OPTIONS: Options = {
  plan: {
    kind: "text",
    value: "PLAN",
    help: "fuse several models by a plan: a JSON file, or preset:NAME, or preset:NAME:key=value,...",
  },
  source: {
    kind: "texts",
    value: "NAME=FILE",
    help: 'a model of the plan; once for each. The tokenizer is that of "base", else of the first',
  },
  prefix: {
    kind: "texts",
    value: "NAME=TEXT",
    help: "what a source reads before the text: the same model may stand under two names",
  },
};

export interface PlanArguments {
  /** Path of a file with the plan; "-" is standard input. */
  file?: string;
  /** Or the plan of a preset. */
  plan?: Plan;
  /** Path or URL by name of source, in the order they were given. */
  sources: ReadonlyMap<string, string>;
  /** What they read before the text. */
  prefixes: ReadonlyMap<string, string>;
}

/**
 * The models of a fusion and how they become one; undefined, if there is none.
 *
 * @throws {TypeError | RangeError} If a preset is unknown, an option of it wrong, or a source is not NAME=FILE.
 */
export function planArguments(values: Values): PlanArguments | undefined {
  values.expectBeside(["source", "prefix"], ["plan"]);
  const text = values.text("plan");
  if (text === undefined) return undefined;
  if (values.has("model")) {
    throw new TypeError(
      `"${values.label("model")}" must be left out beside "--plan", whose models are "--source"`,
    );
  }
  const sources = pairs(values, "source", "base=model.gguf");
  const prefixes = pairs(values, "prefix", "base=TEXT");
  const stray = [...prefixes.keys()].find((name) => !sources.has(name));
  if (stray !== undefined)
    throw new TypeError(`"--prefix ${stray}=" needs "--source ${stray}=FILE" beside it`);
  const files = { sources, prefixes };
  if (!text.startsWith(PRESET_PREFIX)) return { file: text, ...files };
  return { plan: readPreset(text.slice(PRESET_PREFIX.length)), ...files };
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
function readPreset(text: string): Plan {
  const [name, ...rest] = text.split(":");
  if (!Object.hasOwn(FUSE_PRESETS, name)) {
    throw new RangeError(
      `"--plan preset:" must be one of ${Object.keys(FUSE_PRESETS).join(", ")}, got "${name}"`,
    );
  }
  const options = rest.length === 0 ? {} : Object.fromEntries(rest.join(":").split(",").map(readOption));
  try {
    return readPlanOrPreset({ preset: name, options });
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replace(/^"plan\./, `"--plan preset:${name} `);
    throw error;
  }
}

function readOption(text: string): [string, string | number | boolean] {
  const [, key, value] = /^(\w+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new TypeError(`"--plan" must have options like alpha=0.5 after the preset, got "${text}"`);
  }
  return [key, scalar(value)];
}

/** A number, true or false; anything else is a text. */
export function scalar(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}
