/** What the properties of an object must be valid under: those with a name, and those that no schema names. */
import { alt, type Expr, NEVER, oneOf, seq } from "./expr.ts";
import { COLON, KEY_CONTENT, quoted } from "./json-text.ts";
import { both, without } from "./product.ts";
import { type Found, type Located, objectOf, propertyPath, type SchemaContext } from "./schema-context.ts";
import { contentOf, nameMatcher, namesMatcher, validNames } from "./schema-names.ts";
import { matchesOf } from "./schema-string.ts";

/** Names that nobody gave, and what their values must be valid under. */
interface Region {
  readonly names: Expr;
  readonly found: readonly Found[];
}

const MOST_REGIONS = 64;

/**
 * Tells what the value of a property must be valid under; null: it must not be there.
 *
 * @param names What `propertyNames` asks. @param listed The names that it lists, if it does.
 */
export function propertyRules(
  parts: readonly Located[],
  names: readonly Found[],
  listed: readonly string[] | null,
  context: SchemaContext,
): (name: string) => Found[] | null {
  const isName =
    listed !== null
      ? (name: string) => listed.includes(name)
      : names.length > 0
        ? namesMatcher(names, context)
        : () => true;
  const groups = parts.map((part) => ({
    part,
    properties: objectOf(part, "properties"),
    patterns: patternsOf(part).map(({ pattern, found }) => ({
      found,
      matches: nameMatcher(pattern, found.path, context),
    })),
  }));
  return (name) => {
    if (!isName(name)) return null;
    const found = groups.flatMap(({ part, properties, patterns }): Found[] => {
      const own = patterns.filter(({ matches }) => matches(name)).map((pattern) => pattern.found);
      if (Object.hasOwn(properties, name)) {
        own.unshift({ schema: properties[name], path: propertyPath(part.path, "properties", name) });
      }
      return own.length > 0 ? own : additionalOf(part);
    });
    return found.some(({ schema }) => schema === false) ? null : found;
  };
}

/**
 * A property with a name of its own, and its value; null if there must be none.
 *
 * @param isFree Whether those of which nothing is said may be there too.
 */
export function othersOf(
  parts: readonly Located[],
  names: readonly Found[],
  named: readonly string[],
  isFree: boolean,
  path: string,
  context: SchemaContext,
): Expr | null {
  let regions: Region[] = [{ names: KEY_CONTENT, found: [] }];
  for (const part of parts) regions = regions.flatMap((region) => divided(region, part, context));
  regions = regions.filter(({ found }) => isFree || found.length > 0);
  if (regions.length === 0) return null;
  const spend = (work: number) => context.spend(path, work);
  const valid = names.length > 0 ? validNames(names, context) : null;
  const pairs = regions.map((region) => {
    let key = valid === null ? region.names : both(region.names, valid, path, spend);
    if (named.length > 0) key = without(key, oneOf(named.map(contentOf)), path, spend);
    return key === NEVER ? NEVER : seq(quoted(key), COLON, context.value(region.found));
  });
  const kept = pairs.filter((pair) => pair !== NEVER);
  return kept.length === 0 ? null : alt(...kept);
}

/** A region as the patterns of a part divide it, without what must not be there. */
function divided(region: Region, part: Located, context: SchemaContext): Region[] {
  let inside: (Region & { isMatched: boolean })[] = [{ ...region, isMatched: false }];
  for (const { pattern, found } of patternsOf(part)) {
    const matching = matchesOf(pattern, found.path, context);
    const spend = (work: number) => context.spend(found.path, work);
    inside = inside.flatMap(({ names, found: given, isMatched }) => [
      { names: both(names, matching, found.path, spend), found: [...given, found], isMatched: true },
      { names: without(names, matching, found.path, spend), found: given, isMatched },
    ]);
    inside = inside.filter(({ names }) => names !== NEVER);
    if (inside.length > MOST_REGIONS) {
      throw new RangeError(`"${found.path}" must be one of fewer patterns that go together`);
    }
  }
  return inside
    .map(({ names, found, isMatched }) => ({
      names,
      found: isMatched ? found : [...found, ...additionalOf(part)],
    }))
    .filter(({ found }) => !found.some(({ schema }) => schema === false));
}

function patternsOf(part: Located): { pattern: string; found: Found }[] {
  return Object.entries(objectOf(part, "patternProperties")).map(([pattern, schema]) => ({
    pattern,
    found: { schema, path: propertyPath(part.path, "patternProperties", pattern) },
  }));
}

function additionalOf({ schema, path }: Located): Found[] {
  if (schema.additionalProperties === undefined) return [];
  return [{ schema: schema.additionalProperties, path: `${path}.additionalProperties` }];
}
