/**
 * Models with different tokens. What leads from one vocabulary to another is a table (../vocabulary-tables.ts).
 *
 *     x-token   mixture with a row projected by sparse weights, in probabilities             arXiv:2605.21699
 *     unite     mixture over the union of the top 10 of each                                 Yao et al. 2024, arXiv:2410.12777
 *     eva       mixture of those whose best token is among the top 5 of another              Xu et al. 2024, arXiv:2404.09492
 *     gac       mixture over the union of vocabularies, where the first model is unsure      Yu et al. 2024, arXiv:2406.12585
 *
 * Tables are given with each step under the names of the sources. Each source has a vocabulary of its own name; the
 * result is in the common one, "".
 */
import type { Declarations, Node, SourceSpec, Support, Table, TableKind, Term, Value } from "../plan.ts";
import { definePreset } from "./define.ts";

const given = (like: TableKind, vocabulary: string): Table => ({ kind: "given", like, vocabulary });
const own = (name: string): SourceSpec => ({ name, vocabulary: name });

/** `other` is projected to the vocabulary of `base` by the table of its name. */
export const xToken = definePreset(
  { base: "base", other: "other", weight: 0.5 },
  ({ base, other, weight }) => ({
    sources: [base, own(other)],
    tables: { [other]: given("projection", other) },
    mix: [
      { source: base, weight: 1 - weight },
      { map: { source: other }, through: other, weight },
    ],
  }),
);

const MEMBERS = { sources: ["a", "b"] as readonly string[] };

/** Tokens that only stand in for another model's, as its first part, are no candidates: tables "name" and "name-own". */
export const unite = definePreset({ ...MEMBERS, k: 10 }, ({ sources, k }) => {
  const names = sources.flatMap((source) => [source, `${source}-own`].map((table) => ({ source, table })));
  const any = sources.map((source) => ({ topK: k, of: `${source}-own-row` }));
  return {
    sources: sources.map(own),
    tables: Object.fromEntries(names.map(({ source, table }) => [table, given("gather", source)])),
    rows: Object.fromEntries(
      names.map(({ source, table }) => [`${table}-row`, { map: { source }, through: table }]),
    ),
    mix: sources.map((source) => ({ source: `${source}-row`, support: [{ any }] })),
  };
});

/** Rows that are in the common vocabulary, by the table of their source's name; of all their tokens, or the likeliest. */
function mapped(
  sources: readonly string[],
  like: TableKind,
  support: readonly Support[] = [],
): Declarations & { rows: Record<string, Node> } {
  return {
    sources: sources.map(own),
    tables: Object.fromEntries(sources.map((source) => [source, given(like, source)])),
    rows: Object.fromEntries(
      sources.map((source) => [`${source}-row`, { map: { source, support }, through: source }]),
    ),
  };
}

/**
 * `drop` false: all stay. A projection may map tokens that are alike, not only the same; of each model, its `candidates`
 * likeliest are mapped.
 */
export const eva = definePreset({ ...MEMBERS, k: 5, drop: true, candidates: 320 }, (options) => {
  const { sources, k, drop, candidates } = options;
  const rows = sources.map((source) => `${source}-row`);
  const agrees = rows.map((row): Value => {
    const token: Value = { stat: "argmax", of: row };
    const others = rows.filter((other) => other !== row);
    return { max: [0, ...others.map((of): Value => ({ less: [{ stat: "rank", of, token }, k] }))] };
  });
  // Should each stand alone, all stay.
  const none: Value = { less: [{ add: agrees }, 0.5] };
  return {
    ...mapped(sources, "projection", [{ topK: candidates }]),
    mix: rows.map((source, index): Term => ({ source, weight: drop ? { add: [agrees[index], none] } : 1 })),
  };
});

/** `threshold`: of the first model's largest probability; 1 mixes always. */
export const gac = definePreset({ ...MEMBERS, threshold: 0.5 }, ({ sources, threshold }) => {
  const [first] = sources;
  const mix = sources.map((source) => ({ source: `${source}-row` }));
  return {
    ...mapped(sources, "projection"),
    route: [{ source: `${first}-row` }, { mix }],
    by: { less: [{ stat: "maxProbability" as const, of: first }, threshold] },
  };
});
