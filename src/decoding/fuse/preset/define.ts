import { kindOf } from "../../pipeline/fields.ts";
import type { Plan } from "../plan.ts";
import { readPlan } from "../read/read-plan.ts";

/** A method by its name, from options that all have a default. */
export type Preset<Options extends object> = (options?: Partial<Options>) => Plan;

/**
 * @param defaults Every option; null for one that may be absent.
 * @param build A plan, checked afterwards, so that a wrong number is told by its path in the plan.
 */
export function definePreset<Options extends object>(
  defaults: Options,
  build: (options: Options) => Plan,
): Preset<Options> {
  return (options = {}) => {
    const known = Object.keys(defaults);
    for (const [name, value] of Object.entries(options)) {
      if (!known.includes(name)) {
        throw new RangeError(`"options" must be of ${known.join(", ")}, got "${name.slice(0, 64)}"`);
      }
      const missing = (defaults as Record<string, unknown>)[name];
      if (missing === null || value === undefined || kindOf(value) === kindOf(missing)) continue;
      throw new TypeError(`"options.${name}" must be of kind ${kindOf(missing)}, got ${kindOf(value)}`);
    }
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return readPlan(build({ ...defaults, ...given }));
  };
}
