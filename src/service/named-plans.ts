/** Plans that are served under a name of their own, as if they were models. */

import { type PresetSpec, readPlanOrPreset } from "../decoding/fuse/read/read-preset.ts";
import type { Plan } from "../decoding/fuse.ts";
import { Fields, kindOf } from "../decoding/pipeline/fields.ts";
import { type GivenJson, needsOf, readGiven } from "../engine/fuse/given.ts";

export interface NamedPlan {
  /** In full, or a preset: `{ preset: "proxy-tuning", options: { alpha: 0.5 } }`. */
  readonly plan: Plan | PresetSpec;
  /** From the plan's sources to the names of models, or of other plans. Default: the same names. */
  readonly sources?: Readonly<Record<string, string>>;
  /** What sources read before the text: the same model may stand under two names. */
  readonly prefixes?: Readonly<Record<string, string>>;
  /** The source whose tokenizer reads prompts and writes text. Default: the one called "base", else the first. */
  readonly base?: string;
  /**
   * What the plan needs beside models, by name: numbers, tables, rows in place of sources, or texts to make them of
   * (engine/fuse/given.ts). A text stands for a file that holds this.
   */
  readonly inputs?: GivenJson;
}

/** A named plan that was checked: every source leads to a model. */
export interface ResolvedPlan {
  readonly plan: Plan;
  /** In the order of the plan. */
  readonly sources: Readonly<Record<string, string>>;
  readonly prefixes: Readonly<Record<string, string>>;
  readonly base: string;
  /** Texts in it are files that are still to be read. */
  readonly inputs: GivenJson;
}

/**
 * @param models Names of what is no plan.
 * @throws {TypeError | RangeError} If a plan is wrong, a source has no model, or a plan needs itself; names the path, as in
 *   `"plans.mixed.sources.expert" must be one of base, tuned, got "tunde"`.
 */
export function resolvePlans(
  models: readonly string[],
  plans: Readonly<Record<string, NamedPlan>>,
): ReadonlyMap<string, ResolvedPlan> {
  new Fields("plans", plans);
  const known = [...models, ...Object.keys(plans)];
  const resolved = new Map(
    Object.entries(plans).map(([name, json]): [string, ResolvedPlan] => {
      if (models.includes(name)) {
        throw new RangeError(`"plans.${name}" must have a name of its own, there is a model of that name`);
      }
      return [name, resolvePlan(`plans.${name}`, json, known)];
    }),
  );
  expectNoCircle(resolved);
  return resolved;
}

function resolvePlan(path: string, json: unknown, known: readonly string[]): ResolvedPlan {
  const fields = new Fields(path, json);
  const plan = readAt(path, fields.raw("plan"));
  const inputs = readInputs(fields, plan);
  // A row stands in place of a model.
  const names = namesOfSources(plan).filter((name) => !Object.hasOwn(inputs, name));
  const given = readTexts(fields, "sources", names);
  const prefixes = readTexts(fields, "prefixes", names);
  const sources = names.map((name) => {
    return [name, expectOneOf(`${path}.sources.${name}`, given[name] ?? name, known)];
  });
  const base = fields.has("base") ? fields.raw("base") : baseOf(names);
  fields.done();
  return {
    plan,
    sources: Object.fromEntries(sources),
    prefixes,
    base: expectOneOf(`${path}.base`, base, names),
    inputs,
  };
}

/** Files may hold anything, so what is in them is checked when they are read. */
function readInputs(fields: Fields, plan: Plan): GivenJson {
  const path = fields.path("inputs");
  const json = fields.raw("inputs") ?? {};
  new Fields(path, json);
  const inputs = json as GivenJson;
  const isFile = (name: string) => typeof inputs[name] === "string";
  const needs = needsOf(plan);
  const unknown = Object.keys(inputs).find((name) => !needs.some((need) => need.name === name));
  if (unknown !== undefined) {
    const names = needs.map(({ name }) => name).join(", ");
    throw new RangeError(`"${path}" may have ${names}, got "${unknown.slice(0, 64)}"`);
  }
  const here = Object.fromEntries(Object.entries(inputs).filter(([name]) => !isFile(name)));
  readGiven(plan, here, path);
  const missing = needs.find(
    ({ name, kind, isMade }) => kind !== "source" && !isMade && !Object.hasOwn(inputs, name),
  );
  if (missing === undefined) return inputs;
  throw new TypeError(`"${path}.${missing.name}" must be given: ${missing.what}`);
}

/** An optional object from name of source to text. */
function readTexts(fields: Fields, field: string, names: readonly string[]): Record<string, string> {
  const path = fields.path(field);
  const given = fields.raw(field) ?? {};
  new Fields(path, given);
  for (const [name, text] of Object.entries(given)) {
    if (!names.includes(name)) {
      throw new RangeError(`"${path}" may have ${names.join(", ")}, got "${name.slice(0, 64)}"`);
    }
    if (typeof text !== "string") {
      throw new TypeError(`"${path}.${name}" must be a text, got ${kindOf(text)}`);
    }
  }
  return given as Record<string, string>;
}

function namesOfSources({ sources }: Plan): readonly string[] {
  return sources.map((source) => (typeof source === "string" ? source : source.name));
}

/** The source that gives the tokenizer, where nobody says. */
function baseOf(names: readonly string[]): string {
  return names.includes("base") ? "base" : names[0];
}

/** Paths of a plan begin where it stands in the configuration. */
function readAt(path: string, json: unknown): Plan {
  try {
    return readPlanOrPreset(json);
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replace(/^"plan/, `"${path}.plan`);
    throw error;
  }
}

function expectOneOf(path: string, value: unknown, names: readonly string[]): string {
  if (typeof value !== "string") throw new TypeError(`"${path}" must be a name, got ${kindOf(value)}`);
  if (names.includes(value)) return value;
  throw new RangeError(`"${path}" must be one of ${names.join(", ")}, got "${value.slice(0, 64)}"`);
}

function expectNoCircle(plans: ReadonlyMap<string, ResolvedPlan>): void {
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): void => {
    const at = trail.indexOf(name);
    if (at >= 0) {
      const circle = [...trail.slice(at), name].join(" → ");
      throw new RangeError(`"plans.${name}" must not need itself, got ${circle}`);
    }
    if (done.has(name)) return;
    for (const next of Object.values(plans.get(name)?.sources ?? {})) visit(next, [...trail, name]);
    done.add(name);
  };
  for (const name of plans.keys()) visit(name, []);
}
