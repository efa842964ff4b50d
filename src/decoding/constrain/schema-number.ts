import type { Expr } from "./expr.ts";
import { oneOf } from "./expr.ts";
import { integersWithin, MOST_DECIMALS, multiplesWithin, numbersWithin } from "./json-numbers.ts";
import { type Located, numberOf, unsupported } from "./schema-context.ts";

const MOST_MULTIPLES = 1000;

/** Formats of numbers that say no more than their type; int32 has bounds. */
const NUMBER_FORMATS = ["int32", "int64", "float", "double"];

/** A number, or an integer, within bounds. */
export function numberExpr(place: Located, isInteger: boolean): Expr {
  const { schema, path } = place;
  const factor = numberOf(place, "multipleOf");
  const within = [numberOf(place, "minimum"), numberOf(place, "maximum")];
  const beyond = [numberOf(place, "exclusiveMinimum"), numberOf(place, "exclusiveMaximum")];
  if (schema.format !== undefined && !NUMBER_FORMATS.includes(schema.format as string))
    unsupported(`${path}.format`);
  if (schema.format === "int32") {
    within[0] = Math.max(within[0] ?? -(2 ** 31), -(2 ** 31));
    within[1] = Math.min(within[1] ?? 2 ** 31 - 1, 2 ** 31 - 1);
  }
  // The tighter of the two, if both are there.
  const isMinExcluded = beyond[0] !== undefined && !(within[0]! > beyond[0]);
  const isMaxExcluded = beyond[1] !== undefined && !(within[1]! < beyond[1]);
  const bounds = {
    min: isMinExcluded ? beyond[0] : within[0],
    max: isMaxExcluded ? beyond[1] : within[1],
    isMinExcluded,
    isMaxExcluded,
  };
  if (factor === undefined || (factor === 1 && isInteger)) {
    return isInteger ? integersWithin(bounds) : numbersWithin(bounds);
  }
  if (factor <= 0) throw new RangeError(`"${path}.multipleOf" must be above 0, got ${factor}`);
  if (Number.isInteger(factor)) {
    if (factor === 1) return integersWithin(bounds);
    const multiples = multiplesWithin(bounds, factor, MOST_MULTIPLES);
    if (multiples !== null) return oneOf(multiples.map(String));
    unsupported(`${path}.multipleOf`, `is not supported above ${MOST_MULTIPLES} multiples, got ${factor}`);
  }
  const decimals = /^1e-([1-6])$/.exec(factor.toExponential())?.[1];
  if (decimals === undefined)
    unsupported(`${path}.multipleOf`, `must be whole or 0.1 … 1e-${MOST_DECIMALS}, got ${factor}`);
  return isInteger ? integersWithin(bounds) : numbersWithin(bounds, Number(decimals));
}
