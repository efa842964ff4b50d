import { kindOf } from "../../pipeline/fields.ts";
import { LIMITS, type Plan } from "../plan.ts";
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
      if (missing === null || value === undefined) continue;
      if (kindOf(value) !== kindOf(missing)) {
        throw new TypeError(`"options.${name}" must be of kind ${kindOf(missing)}, got ${kindOf(value)}`);
      }
      if (Array.isArray(missing) && missing.length > 0) expectFew(`options.${name}`, value as unknown[]);
    }
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return readPlan(build({ ...defaults, ...given }));
  };
}

/** Lists that have a default are of sources, or one entry per source; what is built of them grows with their square. */
function expectFew(path: string, { length }: readonly unknown[]): void {
  if (length <= LIMITS.sources) return;
  throw new RangeError(`"${path}" must have at most ${LIMITS.sources} entries, got ${length}`);
}
