/** From the arguments of a fusion to a model that can decode. */

import { readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import type { Plan } from "../decoding/fuse.ts";
import { fuseModels } from "../engine/fused-model.ts";
import { type LoadOptions, loadModel, type Model } from "../node.ts";
import { readInput } from "./input.ts";
import type { PlanArguments } from "./plan-arguments.ts";

/** A model with all that it holds open. */
export interface OpenModel {
  readonly model: Model;
  close(): void;
}

/** @throws {TypeError | RangeError} If the file is no plan; the message names the file, and the path in the plan. */
export async function readPlanArgument({ file, plan }: PlanArguments): Promise<Plan> {
  if (plan !== undefined) return plan;
  const json = await readInput(file!);
  try {
    return readPlanOrPreset(JSON.parse(json));
  } catch (error) {
    if (error instanceof Error) error.message = `Cannot read "${file}": ${error.message}`;
    throw error;
  }
}

/**
 * Loads the sources of a plan, a file that several of them name once, and fuses them.
 *
 * @throws {TypeError | RangeError} If a source has no file, or a file no source; before anything is loaded.
 */
export async function openPlan(
  plan: Plan,
  { sources, prefixes }: PlanArguments,
  options: LoadOptions,
): Promise<OpenModel> {
  const names = plan.sources.map((source) => (typeof source === "string" ? source : source.name));
  expectSources(names, sources);
  const loaded = new Map<string, Model>();
  const close = () => {
    for (const model of loaded.values()) model.close();
  };
  try {
    for (const file of sources.values()) {
      if (!loaded.has(file)) loaded.set(file, await loadModel(file, options));
    }
    const models = Object.fromEntries(
      names.map((name) => [name, { source: loaded.get(sources.get(name)!)!, prefix: prefixes.get(name) }]),
    );
    const [first] = sources.keys();
    const model = fuseModels(plan, models, { base: sources.has("base") ? "base" : first });
    return { model, close };
  } catch (error) {
    close();
    throw error;
  }
}

function expectSources(names: readonly string[], sources: ReadonlyMap<string, string>): void {
  const all = names.join(", ");
  const unknown = [...sources.keys()].find((name) => !names.includes(name));
  if (unknown !== undefined) throw new RangeError(`"--source" must be of ${all}, got "${unknown}"`);
  const missing = names.find((name) => !sources.has(name));
  if (missing !== undefined) {
    throw new TypeError(`"--source" must be given for each of ${all}, as in ${missing}=model.gguf`);
  }
}
