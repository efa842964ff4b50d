/** A plan as people write it: in full, or as a method by name. What the command line, the service and files take. */
import { Fields } from "../../pipeline/fields.ts";
import type { Plan } from "../plan.ts";
import { FUSE_PRESETS, type FusePresetName, type FusePresetOptions, fusePreset } from "../preset/presets.ts";
import { readPlan } from "./read-plan.ts";

/** `{ preset: "dlf", options: { solver: "continuous" } }` */
export type PresetSpec = {
  readonly [Name in FusePresetName]: { readonly preset: Name; readonly options?: FusePresetOptions<Name> };
}[FusePresetName];

const NAMES = Object.keys(FUSE_PRESETS) as FusePresetName[];

/**
 * @param json A `Plan` or a `PresetSpec`.
 * @throws {TypeError | RangeError} If it is neither; the message names the path, of a preset as in `"plan.options.alpha"`.
 */
export function readPlanOrPreset(json: unknown): Plan {
  if (typeof json !== "object" || json === null || !Object.hasOwn(json, "preset")) return readPlan(json);
  const fields = new Fields("plan", json);
  const preset = fields.choice("preset", NAMES);
  const options = fields.has("options") ? fields.raw("options") : {};
  fields.done();
  // Only for its check that these are an object.
  new Fields("plan.options", options);
  try {
    return fusePreset(preset, options as object);
  } catch (error) {
    throw inOptions(error, preset);
  }
}

/** What is wrong in a plan that a preset made is wrong in the options it made it from. */
function inOptions(error: unknown, preset: string): unknown {
  if (!(error instanceof Error)) return error;
  if (error.message.startsWith('"options')) {
    error.message = error.message.replace('"options', '"plan.options');
    return error;
  }
  const what = `"plan.options" must fit the preset "${preset}"`;
  // Anything else comes of a value inside a list that is not what the preset's are.
  if (!error.message.startsWith('"')) return new TypeError(`${what}, got a list of something else`);
  error.message = `${what}, with them ${error.message}`;
  return error;
}
