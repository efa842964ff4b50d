import type { Model } from "../engine/model.ts";
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

/**
 * Loads each model at its first use and keeps it; a load that failed is tried again by the next request.
 *
 * @example lazyModels({ "edgewise-stories": () => loadModel(bytes, { modules }) })
 */
export function lazyModels(loaders: Readonly<Record<string, () => Promise<Model>>>): ModelRegistry {
  const loads = new Map<string, Load>();

  async function run(name: string, load: Load): Promise<void> {
    try {
      load.model = await loaders[name]();
    } catch (error) {
      load.error = error;
      loads.delete(name);
    }
    load.done = true;
  }

  return {
    names: Object.keys(loaders),
    async get(name, keepAlive) {
      let load = loads.get(name);
      if (load === undefined) {
        load = { done: false };
        loads.set(name, load);
        // The request that starts the load may leave while others wait for it.
        keepAlive(run(name, load));
      }
      while (!load.done) await pause();
      if (load.model === undefined) throw load.error;
      return load.model;
    },
  };
}
