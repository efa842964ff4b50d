/** Plans of `edgewise serve`: from files on this machine to what the worker is configured with. */
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, relative, sep } from "node:path";
import { isServer } from "../engine/remote/connect.ts";
import type { NamedPlan } from "../service/app.ts";
import type { ServerModel } from "../service/server-models.ts";
import type { PlanArguments } from "./plan-arguments.ts";
import { expectSources, readPlanArgument, readPlanInputs } from "./plan-models.ts";

/** Plans by the names they are served under; sources, prefixes and inputs are those of all that have such names. */
export interface PlansArguments extends Pick<PlanArguments, "sources" | "prefixes" | "inputs" | "keys"> {
  readonly plans: ReadonlyMap<string, Pick<PlanArguments, "file" | "plan" | "preset">>;
}

/**
 * The plans as the worker takes them.
 *
 * @param nameOf The model that a file is served as.
 * @throws {TypeError | RangeError} If a plan is wrong, lacks something, or something is of no plan; names the option.
 */
export async function namedPlans(
  { plans, sources, prefixes, inputs }: PlansArguments,
  nameOf: (file: string) => string,
): Promise<Record<string, NamedPlan>> {
  const served: Record<string, NamedPlan> = {};
  const used = new Set<string>();
  for (const [name, argument] of plans) {
    const plan = await readPlanArgument(argument);
    const names = plan.sources.map((source) => (typeof source === "string" ? source : source.name));
    const needed = [...names, ...Object.keys(plan.inputs ?? {}), ...Object.keys(plan.tables ?? {})];
    const files = new Map([...inputs].filter(([input]) => needed.includes(input)));
    const given = await readPlanInputs(plan, files);
    // A source may be another plan.
    const own = new Map([...sources].filter(([source]) => names.includes(source)));
    const others = names.filter((source) => plans.has(source) && source !== name);
    expectSources(plan, new Map([...own, ...others.map((other): [string, string] => [other, other])]), given);
    for (const one of needed) used.add(one);
    const [base] = names.includes("base") ? ["base"] : own.keys();
    served[name] = {
      plan,
      ...(base !== undefined && { base }),
      sources: Object.fromEntries([...own].map(([source, file]) => [source, nameOf(file)])),
      prefixes: Object.fromEntries([...prefixes].filter(([source]) => own.has(source))),
      inputs: given.json,
    };
  }
  for (const [option, given] of Object.entries({ source: sources, input: inputs })) {
    const stray = [...given.keys()].find((name) => !used.has(name));
    if (stray !== undefined) throw new RangeError(`"--${option}" must be of a plan, got "${stray}"`);
  }
  return served;
}

/** Models of servers, for the worker. */
export interface ServedServers {
  /** By address. */
  readonly names: ReadonlyMap<string, string>;
  readonly servers: Readonly<Record<string, ServerModel>>;
  /** Keys, by the variables that hold them. */
  readonly variables: Readonly<Record<string, string>>;
}

/**
 * @param reserved Names of what is no server.
 * @param like The model whose tokenizer they are lent.
 */
export async function servedServers(
  { sources, keys }: Pick<PlansArguments, "sources" | "keys">,
  reserved: readonly string[],
  like: string | undefined,
): Promise<ServedServers> {
  const names = new Map<string, string>();
  const servers: Record<string, ServerModel> = {};
  const variables: Record<string, string> = {};
  for (const [source, url] of sources) {
    if (!isServer(url) || names.has(url)) continue;
    const name = newName(source, [...reserved, ...names.values()]);
    const file = keys.get(source);
    const key = `SERVER_KEY_${names.size}`;
    if (file !== undefined) variables[key] = (await readFile(file, "utf8")).trim();
    names.set(url, name);
    servers[name] = { url, ...(like !== undefined && { like }), ...(file !== undefined && { key }) };
  }
  return { names, servers, variables };
}

export interface ServedFiles {
  /** All of them lie in it; none if there are none. */
  readonly folder?: string;
  /** The model that a file is served as, each name once. */
  readonly names: ReadonlyMap<string, string>;
  /** Paths from the folder, with slashes, by name. */
  readonly keys: Readonly<Record<string, string>>;
}

/**
 * Where files are for the worker, and what their models are called.
 *
 * @param reserved Names of what is no file.
 */
export async function servedFiles(
  files: readonly string[],
  reserved: readonly string[] = [],
): Promise<ServedFiles> {
  if (files.length === 0) return { names: new Map(), keys: {} };
  // workerd does not follow links out of a folder.
  const paths = await Promise.all(files.map((file) => realpath(file)));
  const parts = paths.map((path) => dirname(path).split(sep));
  const [first] = parts;
  const length = first.findIndex((part, index) => parts.some((other) => other[index] !== part));
  const folder = first.slice(0, length < 0 ? first.length : length).join(sep) || sep;
  const names = new Map<string, string>();
  const keys: Record<string, string> = {};
  for (const [index, file] of files.entries()) {
    const key = relative(folder, paths[index]).split(sep).join("/");
    const known = Object.keys(keys).find((name) => keys[name] === key);
    const name =
      known ?? newName(basename(file).replace(/\.gguf$/i, ""), [...reserved, ...Object.keys(keys)]);
    keys[name] = key;
    names.set(file, name);
  }
  return { folder, names, keys };
}

function newName(name: string, taken: readonly string[]): string {
  let found = name;
  for (let count = 2; taken.includes(found); count++) found = `${name}-${count}`;
  return found;
}
