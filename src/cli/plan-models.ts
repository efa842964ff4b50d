/** From the arguments of a fusion to a model that can decode. */

import { readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import type { Plan } from "../decoding/fuse.ts";
import { expectGiven, fuseWithGiven, type Given, needsOf, readGiven } from "../engine/fuse/given.ts";
import type { LoadOptions, Model } from "../node.ts";
import { readInput } from "./input.ts";
import { openSources } from "./open-models.ts";
import { type PlanArguments, planOfPreset } from "./plan-arguments.ts";

/** A model with all that it holds open. */
export interface OpenModel {
  readonly model: Model;
  close(): void;
}

/** @throws {TypeError | RangeError} If a file is no plan; the message names the file, and the path in the plan. */
export async function readPlanArgument({
  file,
  plan,
  preset,
}: Pick<PlanArguments, "file" | "plan" | "preset">): Promise<Plan> {
  if (plan !== undefined) return plan;
  if (preset === undefined) return readJson(file!, readPlanOrPreset);
  const options: Record<string, unknown> = { ...preset.options };
  for (const [key, path] of preset.files) options[key] = await readJson(path, (json) => json);
  return planOfPreset(preset.name, options);
}

/**
 * What files give to a plan beside models. A file `.txt` is a text that a table is made of.
 *
 * @throws {TypeError | RangeError} If one is not what the plan needs, or one is missing; the message names it.
 */
export async function readPlanInputs(plan: Plan, files: PlanArguments["inputs"]): Promise<Given> {
  const json: Record<string, unknown> = {};
  for (const [name, file] of files) {
    json[name] = file.endsWith(".txt")
      ? { texts: [await readInput(file)] }
      : await readJson(file, (value) => value);
  }
  try {
    const given = readGiven(plan, json, "--input");
    expectGiven(plan, given, "--input");
    return given;
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replace(/^"--input\./, '"--input ');
    throw error;
  }
}

/**
 * Loads the sources of a plan, a file that several of them name once, and fuses them.
 *
 * @throws {TypeError | RangeError} If something that the plan needs has no file, or a file is of nothing it needs; before
 *   anything is loaded.
 */
export async function openPlan(
  plan: Plan,
  { sources, prefixes, inputs, keys }: PlanArguments,
  options: LoadOptions,
): Promise<OpenModel> {
  const given = await readPlanInputs(plan, inputs);
  expectSources(plan, sources, given);
  const opened = new Map<string, Model>();
  const close = () => {
    for (const model of opened.values()) model.close();
  };
  try {
    const found = await openSources(sources, keys, options, opened);
    const models = Object.fromEntries(
      [...found].map(([name, source]) => [name, { source, prefix: prefixes.get(name) }]),
    );
    const [first] = sources.keys();
    const base = sources.has("base") ? "base" : first;
    return { model: await fuseWithGiven(plan, models, given, { base }), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** What the plan needs, as options of the command. */
export function needsText(plan: Plan): string {
  const needs = needsOf(plan).map(({ name, kind, what, isMade }) => {
    const option = `--${kind === "source" ? "source" : "input"} ${name}=FILE`;
    return [option, isMade ? `${what}; made of the models' tokens, unless given` : what];
  });
  const width = Math.max(...needs.map(([option]) => option.length));
  const lines = ["needs", ...needs.map(([option, what]) => `  ${option.padEnd(width)}  ${what}`)];
  if (plan.sources.length > 1) {
    lines.push("a source may also be a row that is always the same, --input NAME=FILE, if one is a model");
  }
  return lines.join("\n");
}

/** @throws {TypeError | RangeError} If a source has no file, or a file no source. */
export function expectSources(plan: Plan, sources: ReadonlyMap<string, string>, { rows }: Given): void {
  const names = plan.sources.map((source) => (typeof source === "string" ? source : source.name));
  const all = names.join(", ");
  const unknown = [...sources.keys()].find((name) => !names.includes(name));
  if (unknown !== undefined) throw new RangeError(`"--source" must be of ${all}, got "${unknown}"`);
  const missing = names.find((name) => !sources.has(name) && !rows.has(name));
  if (missing !== undefined) {
    throw new TypeError(`"--source" must be given for each of ${all}, as in ${missing}=model.gguf`);
  }
  if (sources.size === 0) throw new TypeError(`"--source" must be given for one of ${all}: a model`);
}

async function readJson<T>(file: string, read: (json: unknown) => T): Promise<T> {
  const text = await readInput(file);
  try {
    return read(JSON.parse(text));
  } catch (error) {
    if (error instanceof Error) error.message = `Cannot read "${file}": ${error.message}`;
    throw error;
  }
}
