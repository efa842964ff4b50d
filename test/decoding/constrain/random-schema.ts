/** Random JSON schemas of every kind that is supported, such that some value is valid. */
import type { Random } from "../../support/random.ts";

type Schema = Record<string, unknown>;

const NAMES = ["a", "b", "name", "kind", "é", 'quo"te', "__proto__x", "back\\slash", ""];
const FORMATS = ["date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "uri", "duration"];
const PATTERNS = ["^[a-c]+$", "x", "^\\d{3}-\\d{2}$", "^(ab|cd)*e?$", '^["\\\\]{1,2}$', "[é日]$", "^.{2}$"];

/** @param depth Levels that may still come. */
export function randomSchema(random: Random, depth = 3): Schema | boolean {
  const pick = <T>(...values: T[]): T => values[random.below(values.length)];
  const maybe = (fields: Schema): Schema => (random.below(2) === 0 ? fields : {});
  const inner = () => randomSchema(random, depth - 1);
  const kind = random.below(depth > 0 ? 12 : 6);
  const low = random.below(40) - 20;
  switch (kind) {
    case 0:
      return { type: "string", ...pick({}, { minLength: random.below(4), maxLength: 3 + random.below(9) }) };
    case 1:
      return { type: "string", ...pick({ format: pick(...FORMATS) }, { pattern: pick(...PATTERNS) }) };
    case 2:
      return {
        type: "integer",
        ...maybe({ minimum: low }),
        ...maybe({ exclusiveMaximum: low + 1 + random.below(900) }),
      };
    case 3:
      return {
        type: "number",
        ...maybe({ exclusiveMinimum: low / 8 }),
        ...maybe({ maximum: low / 8 + 0.001 + random.below(90) / 7 }),
      };
    case 4:
      return pick<Schema>(
        { enum: ["x", 'y"', "xz", 1, null, true] },
        { const: pick<unknown>("one", 2, false) },
      );
    case 5:
      return { type: pick("boolean", "null") };
    case 6:
      return { anyOf: Array.from({ length: 1 + random.below(3) }, inner) };
    case 7: {
      const prefixItems = Array.from({ length: 1 + random.below(3) }, inner);
      return {
        type: "array",
        prefixItems,
        items: pick<unknown>(false, inner()),
        minItems: random.below(prefixItems.length + 1),
      };
    }
    case 8: {
      const minItems = random.below(3);
      return { type: "array", items: inner(), minItems, ...maybe({ maxItems: minItems + random.below(3) }) };
    }
    case 9:
      return {
        type: "object",
        additionalProperties: inner(),
        ...maybe({ propertyNames: { type: "string", maxLength: 3 } }),
      };
    case 10:
      return { type: ["object", "array", "null"] };
    default: {
      const names = NAMES.filter(() => random.below(3) === 0);
      return {
        type: "object",
        properties: Object.fromEntries(names.map((name) => [name, inner()])),
        required: names.filter(() => random.below(2) === 0),
        ...pick<Schema>({ additionalProperties: false }, {}, { additionalProperties: { type: "integer" } }),
      };
    }
  }
}
