import { fuseWithGiven, readGiven } from "../engine/fuse/given.ts";
import type { ModelWithPrefix } from "../engine/fuse/text.ts";
import type { Model } from "../engine/model.ts";
import { type NamedPlan, type ResolvedPlan, resolvePlans } from "./named-plans.ts";
import { pause } from "./pause.ts";

/** Keeps a promise running after its request has gone; what a Worker calls `waitUntil`. */
export type KeepAlive = (work: Promise<unknown>) => void;

/** The models a service offers, by name. Names are known before anything is loaded. */
export interface ModelRegistry {
  readonly names: readonly string[];
  /** Only called with one of `names`; may load the model. `keepAlive` covers work that other requests share. */
  get(name: string, keepAlive: KeepAlive): Promise<Model>;
}

/** A load that requests share. They look at `done`: see `pause`. */
interface Load {
  done: boolean;
  model?: Model;
  error?: unknown;
}

export interface LazyOptions {
  /** Plans to serve as models, by the names they go by. */
  plans?: Readonly<Record<string, NamedPlan>>;
  /** What a file in a plan's `inputs` holds, as JSON. Default: there are no files. */
  readInput?: (file: string) => Promise<unknown>;
}

/**
 * Loads each model at its first use and keeps it; a load that failed is tried again by the next request. A plan is a model
 * too, loaded with those that it fuses.
 *
 * @throws {TypeError | RangeError} If a plan is wrong, needs itself, or a model that is not there.
 *
 * @example
 * ```ts
 * lazyModels(
 *   { large: () => loadModel(a, { modules }), tuned: () => loadModel(b, { modules }) },
 *   { plans: { both: { plan: { preset: "mixture" }, sources: { a: "large", b: "tuned" } } } },
 * );
 * ```
 */
export function lazyModels(
  loaders: Readonly<Record<string, () => Promise<Model>>>,
  { plans = {}, readInput = noFile }: LazyOptions = {},
): ModelRegistry {
  const loads = new Map<string, Load>();
  const names = Object.keys(loaders);
  const resolved = resolvePlans(names, plans);

  async function run(name: string, load: Load, keepAlive: KeepAlive): Promise<void> {
    try {
      const plan = resolved.get(name);
      load.model = plan === undefined ? await loaders[name]() : await fuse(plan, keepAlive);
    } catch (error) {
      load.error = error;
      loads.delete(name);
    }
    load.done = true;
  }

  async function fuse(resolved: ResolvedPlan, keepAlive: KeepAlive): Promise<Model> {
    const { plan, sources, prefixes, base } = resolved;
    const models: Record<string, ModelWithPrefix> = {};
    // One after the other: what a load needs beside the weights is needed once.
    for (const [source, name] of Object.entries(sources)) {
      models[source] = { source: await get(name, keepAlive), prefix: prefixes[source] };
    }
    const inputs: Record<string, unknown> = { ...resolved.inputs };
    for (const [name, input] of Object.entries(inputs)) {
      if (typeof input === "string") inputs[name] = await readInput(input);
    }
    return fuseWithGiven(plan, models, readGiven(plan, inputs), { base });
  }

  async function get(name: string, keepAlive: KeepAlive): Promise<Model> {
    let load = loads.get(name);
    if (load === undefined) {
      load = { done: false };
      loads.set(name, load);
      // The request that starts the load may leave while others wait for it.
      keepAlive(run(name, load, keepAlive));
    }
    while (!load.done) await pause();
    if (load.model === undefined) throw load.error;
    return load.model;
  }

  return { names: [...names, ...resolved.keys()], get };
}

function noFile(file: string): Promise<never> {
  return Promise.reject(
    new TypeError(`Cannot read "${file}": there is nothing that reads files of "inputs"`),
  );
}
