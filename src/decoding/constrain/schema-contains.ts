import { alt, call, type Expr, NEVER, type Rule, seq } from "./expr.ts";
import { BLANKS, COMMA, enclosed } from "./json-text.ts";
import type { Items } from "./schema-array.ts";
import { countOf, type Found, type Located, type SchemaContext, unsupported } from "./schema-context.ts";

/** Places in an array, times the numbers of items that were found there. */
const MOST_CELLS = 1024;
const MOST_WANTED = 4;
const CELL_WORK = 20;

/** Some items, not too few and not too many, must be as a schema says. */
interface Wanted {
  readonly least: number;
  readonly most: number;
  /** Behind it, all counts are alike. */
  readonly last: number;
  readonly found: Found;
}

/** An array with `contains`: a rule for each number of items that stand there, with how many of them were found. */
export function arrayWith(
  { min, max, own, at }: Items,
  contains: readonly Located[],
  context: SchemaContext,
): Expr {
  const { path } = contains[0];
  const all = contains.map(wantedOf);
  if (all.some(({ least, most }) => least > Math.min(most, max))) return NEVER;
  /** Behind it, all places are alike. */
  const lastPlace = max === Infinity ? Math.max(own, min, 1) : max;
  const cellCount = all.reduce((product, { last }) => product * (last + 1), lastPlace + 1);
  if (cellCount > MOST_CELLS || all.length > MOST_WANTED) {
    unsupported(`${path}.contains`, `is not supported where it takes more than ${MOST_CELLS} states`);
  }
  const cells = new Map<string, Rule>();
  const cell = (place: number, counts: readonly number[]): Expr => {
    const key = `${place} ${counts}`;
    let rule = cells.get(key);
    if (rule === undefined) {
      rule = { expr: NEVER };
      cells.set(key, rule);
      context.spend(path, CELL_WORK);
      rule.expr = from(place, counts);
    }
    return call(rule);
  };
  const from = (place: number, counts: readonly number[]): Expr => {
    const isEnough = place >= min && all.every(({ least }, i) => counts[i] >= least);
    const end = !isEnough ? NEVER : place === 0 ? seq() : BLANKS;
    const items = place < max ? at(place) : null;
    if (items === null) return end;
    const ways = waysOf(all, counts).map(([found, after]) => {
      const item = context.value([...items, ...found]);
      return seq(...(place > 0 ? [COMMA] : []), item, cell(Math.min(place + 1, lastPlace), after));
    });
    return alt(end, ...ways);
  };
  const start = all.map(() => 0);
  return enclosed("[", cell(0, start), "]");
}

function wantedOf(place: Located): Wanted {
  const least = countOf(place, "minContains") ?? 1;
  const most = countOf(place, "maxContains") ?? Infinity;
  const found = { schema: place.schema.contains, path: `${place.path}.contains` };
  return { least, most, last: most === Infinity ? least : most, found };
}

/** What an item may be, one of what is wanted or not, and the counts behind it. Where nobody minds more, it may be either. */
function waysOf(all: readonly Wanted[], counts: readonly number[]): [Found[], number[]][] {
  return all.reduce<[Found[], number[]][]>(
    (ways, { most, last, found }, i) => {
      const { schema, path } = found;
      const others = most === Infinity ? [] : [{ schema: { not: schema }, path }];
      return ways.flatMap(([given, after]): [Found[], number[]][] => [
        ...(counts[i] < most
          ? [
              [
                [...given, found],
                [...after, Math.min(counts[i] + 1, last)],
              ] as [Found[], number[]],
            ]
          : []),
        [
          [...given, ...others],
          [...after, counts[i]],
        ],
      ]);
    },
    [[[], []]],
  );
}
