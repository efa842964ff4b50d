/**
 * The ways to be valid under some schemas at once: their applicators worked out, until only assertions are left.
 *
 * It is the tableau of logic: what must hold is looked at one by one; a choice makes a branch of each, and a contradiction
 * that is seen at once closes one. What all branches allow together is what the schemas allow, no more.
 */
import {
  type Branch,
  type Found,
  type Located,
  namesOf,
  objectOf,
  propertyPath,
  type SchemaContext,
  schemasOf,
  unsupported,
} from "./schema-context.ts";
import { isImpossible } from "./schema-contradiction.ts";
import { areDisjoint } from "./schema-disjoint.ts";
import { ANNOTATIONS, APPLICATORS } from "./schema-keywords.ts";
import { atomOf, type Late, waysAround } from "./schema-not.ts";

/** One of several lists of schemas must hold. */
interface Choice {
  readonly choices: readonly (readonly Found[])[];
}

interface Open extends Branch {
  readonly pending: readonly (Found | Choice)[];
  readonly late: readonly Late[];
  /** References and negations on the way: what refers to itself without end has ever more. */
  readonly steps: number;
  /** Parts that are known not to contradict each other. */
  readonly looked: number;
}

const BRANCH_WORK = 50;
const MOST_STEPS = 500;
/** With more of them, a text could be of too many at once to be followed. */
const MOST_BRANCHES = 200;

/** @throws {TypeError | RangeError} If one is no schema, has what is not supported, or they are too many. */
export function branchesOf(schemas: readonly Found[], context: SchemaContext): Branch[] {
  /** By what they say: what says the same is one. */
  const done = new Map<string, Branch>();
  const { path } = schemas[0];
  const spend = (work: number) => context.spend(path, work);
  const open: Open[] = [{ parts: [], nots: [], path, late: [], pending: schemas, steps: 0, looked: 0 }];
  for (let branch = open.pop(); branch !== undefined; branch = open.pop()) {
    const [first, ...pending] = branch.pending;
    spend(BRANCH_WORK);
    if (branch.parts.length > branch.looked && isImpossible(branch, spend)) continue;
    if (first !== undefined) {
      const rest = { ...branch, pending, looked: branch.parts.length };
      open.push(...("choices" in first ? split(rest, first) : expand(rest, first, context)));
    } else if (branch.late.length > 0) {
      const [late, ...others] = branch.late;
      open.push({ ...branch, late: others, pending: [{ choices: choicesAmong(late, branch.parts) }] });
    } else {
      const { parts, nots } = branch;
      done.set(JSON.stringify([parts, nots].map((all) => all.map(({ schema }) => schema))), {
        parts,
        nots,
        path,
      });
      if (done.size > MOST_BRANCHES)
        unsupported(path, `is not supported where there are more than ${MOST_BRANCHES} ways to be valid`);
    }
  }
  return [...done.values()];
}

/** The last is looked at first. */
function split(branch: Open, { choices }: Choice): Open[] {
  return choices.map((choice) => ({ ...branch, pending: [...choice, ...branch.pending] })).reverse();
}

function expand(branch: Open, found: Found, context: SchemaContext): Open[] {
  const place = context.expectSchema(found);
  if (place === true) return [branch];
  if (place === false) return [];
  const { schema, path } = place;
  const own = Object.entries(schema).filter(([key]) => !ANNOTATIONS.has(key) && !APPLICATORS.has(key));
  const parts = own.length === 0 ? [] : [{ schema: Object.fromEntries(own), path }];
  const next = {
    ...branch,
    parts: [...branch.parts, ...parts],
    steps: branch.steps + (schema.$ref === undefined && schema.not === undefined ? 0 : 1),
  };
  if (next.steps > MOST_STEPS) unsupported(path, "must not be put together of so many schemas");
  const inner: (Found | Choice)[] = [];
  if (schema.$ref !== undefined) inner.push({ schema: context.resolve({ $ref: schema.$ref }, path), path });
  inner.push(...schemasOf(place, "allOf"));
  inner.push(...dependenciesOf(place));
  if (schema.if !== undefined) inner.push(conditionOf(place));
  if (schema.oneOf !== undefined) inner.push(exactlyOne(place, context));
  if (schema.anyOf !== undefined) inner.push({ choices: schemasOf(place, "anyOf").map((way) => [way]) });
  const pending = [...inner, ...branch.pending];
  if (schema.not === undefined) return [{ ...next, pending }];
  return withoutThis({ ...next, pending }, { schema: schema.not, path: `${path}.not` }, context);
}

/** What must not be valid under a schema. */
function withoutThis(branch: Open, found: Found, context: SchemaContext): Open[] {
  const place = context.expectSchema(found);
  if (place === true) return [];
  if (place === false) return [branch];
  const atom = atomOf(place);
  if (atom !== null) {
    const { type, not } = atom;
    const parts = type === null ? [] : [{ schema: { type }, path: place.path }];
    return [{ ...branch, parts: [...branch.parts, ...parts], nots: [...branch.nots, not] }];
  }
  const { choices, late } = waysAround(place, context);
  const objects = { schema: { type: "object" }, path: place.path };
  return [
    ...late.map((one) => ({ ...branch, parts: [...branch.parts, objects], late: [...branch.late, one] })),
    { ...branch, pending: [{ choices }, ...branch.pending] },
  ];
}

/** A property that breaks the rule is one of those that are known, or one beside all that the rule knows. */
function choicesAmong({ applies, rule, own, path }: Late, parts: readonly Located[]): Found[][] {
  const names = new Set(parts.flatMap((part) => Object.keys(objectOf(part, "properties"))));
  for (const part of parts) for (const name of namesOf(part, "required")) names.add(name);
  if (names.size === 0 && own === undefined) {
    unsupported(path, 'is not supported under "not" without "properties" beside it');
  }
  const each = (rest: readonly string[], schema: unknown) =>
    Object.fromEntries(rest.map((name) => [name, schema]));
  const ways: object[] = [...names]
    .filter(applies)
    .map((name) => ({ required: [name], properties: each([name], { not: rule }) }));
  if (own !== undefined) {
    ways.push({ required: own, properties: each(own, true), minProperties: own.length + 1 });
    if (own.length > 0) ways.push({ properties: each(own, false), minProperties: 1 });
  }
  return ways.map((schema) => [{ schema, path }]);
}

/** `if`, `then` and `else`. */
function conditionOf({ schema, path }: Located): Choice {
  const isSo = { schema: schema.if, path: `${path}.if` };
  const isNot = { schema: { not: schema.if }, path: `${path}.if` };
  return {
    choices: [
      [isSo, { schema: schema.then ?? true, path: `${path}.then` }],
      [isNot, { schema: schema.else ?? true, path: `${path}.else` }],
    ],
  };
}

/** Each branch, and none of the others that it can be mistaken for. */
function exactlyOne(place: Located, context: SchemaContext): Choice {
  const ways = schemasOf(place, "oneOf");
  const resolve = (schema: unknown) => context.resolve(schema, place.path);
  return {
    choices: ways.map((way) => {
      const others = ways.filter((other) => other !== way && !areDisjoint(way.schema, other.schema, resolve));
      context.spend(place.path, ways.length);
      return [way, ...others.map(({ schema, path }) => ({ schema: { not: schema }, path }))];
    }),
  };
}

/** `dependentRequired`, `dependentSchemas`, and what draft 7 calls both: a property is absent, or more must hold. */
function dependenciesOf(place: Located): Choice[] {
  return ["dependentRequired", "dependentSchemas", "dependencies"].flatMap((keyword) =>
    Object.entries(objectOf(place, keyword)).map(([name, given]) => {
      const path = propertyPath(place.path, keyword, name);
      const properties = Object.fromEntries([[name, false]]);
      const isNames = keyword === "dependentRequired" || Array.isArray(given);
      const more = isNames ? { required: namesOf({ schema: { [name]: given }, path }, name) } : given;
      return {
        choices: [
          [
            { schema: { required: [name] }, path },
            { schema: more, path },
          ],
          [{ schema: { properties }, path }],
        ],
      };
    }),
  );
}
