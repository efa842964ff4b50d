/**
 * tables: tables of a plan that nobody needs to give, as the models' tokenizers say them.
 *
 *     gather, projection     from the tokens of one vocabulary to those of another, or of all together
 *     "word-starts"          1 for tokens that begin a word, else 0
 *
 * A gather table whose name ends in "-own" has the tokens that the model itself has, others also the first of those it
 * would write the text with.
 */

import type { TableKind } from "../../decoding/fuse/plan.ts";
import { kindOfTable } from "../../decoding/fuse/program.ts";
import { gatherTable, projectionTable, type TokenTexts } from "../../decoding/fuse/vocabulary-tables.ts";
import type { Program, Table } from "../../decoding/fuse.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { distinctTexts, speller, tokenTexts, UnionTokenizer } from "./union.ts";

/** A source whose tokens are known. */
export interface Speaker {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** Of its rows. */
  readonly vocab: number;
}

const OWN = "-own";
const WORD_STARTS = "word-starts";

/** Whether a given table is one that tokenizers say. */
export function isSpoken(name: string, like: TableKind): boolean {
  return like === "gather" || like === "projection" || (like === "dense" && name === WORD_STARTS);
}

/** Whether the result is of no source's vocabulary, but of all together. */
export function isUnion({ sources, vocabularies, result }: Program): boolean {
  return sources.every(({ vocabulary }) => vocabulary !== vocabularies.get(result));
}

/**
 * The tokenizer of the result where it is a union: of those sources that a table leads from.
 *
 * @param base Whose way of writing a text it has.
 * @throws {RangeError} If the base is none of them, or one of these tables was given: the tokens it leads to are unknown.
 */
export function unionOf(
  program: Program,
  speakers: readonly Speaker[],
  base: string,
  given: Readonly<Record<string, Table>>,
): UnionTokenizer {
  const result = program.vocabularies.get(program.result);
  const tables = Object.entries(program.tables).filter(
    ([, table]) => isMap(table) && (table.to ?? "") === result,
  );
  for (const [name, { kind }] of tables) {
    if (kind === "given" && !Object.hasOwn(given, name)) continue;
    throw new RangeError(
      `"tables.${name}" must be left to the models, or lead to the vocabulary of one: the tokens of the text are unknown`,
    );
  }
  const mapped = tables.map(([, { vocabulary = "" }]) => vocabulary);
  const members = speakers.filter(({ name }) => mapped.includes(vocabularyOf(program, name)));
  const first = members.find(({ name }) => name === base);
  if (first === undefined) {
    throw new RangeError(`"base" must be a source whose tokens are among those of the result, got "${base}"`);
  }
  const others = members.map(({ tokenizer }) => tokenizer).filter((one) => one !== first.tokenizer);
  return new UnionTokenizer(first.tokenizer, [...new Set(others)]);
}

/** Whether it leads from one vocabulary to another. */
function isMap(table: Table): table is Table & { readonly to?: string } {
  return ["gather", "projection"].includes(kindOfTable(table));
}

/**
 * Those of the plan's given tables that are not among `given` and can be made.
 *
 * @param base The source whose text it is.
 */
export function spokenTables(
  program: Program,
  speakers: readonly Speaker[],
  base: string,
  union: UnionTokenizer | null,
  given: Readonly<Record<string, Table>>,
): Record<string, Table> {
  const found: Record<string, Table> = {};
  const speakerOf = (vocabulary: string) =>
    speakers.find(({ name }) => vocabularyOf(program, name) === vocabulary);
  const count = ({ name, vocab }: Speaker) => {
    const spec = program.sources.find((source) => source.name === name)!;
    return spec.vocab > 0 ? spec.vocab : vocab - spec.extra;
  };
  for (const [name, table] of Object.entries(program.tables)) {
    if (table.kind !== "given" || Object.hasOwn(given, name)) continue;
    const { like, vocabulary = "", to = "" } = table;
    const from = speakerOf(vocabulary);
    if (from === undefined || !isSpoken(name, like)) continue;
    if (like === "dense") {
      const { tokenizer } = speakers.find((one) => one.name === base) ?? from;
      found[name] = { kind: "dense", values: wordStarts(tokenizer, count(from)) };
      continue;
    }
    const target = speakerOf(to);
    const texts: TokenTexts | undefined = target
      ? distinctTexts(target.tokenizer, count(target))
      : to === program.vocabularies.get(program.result)
        ? union?.texts
        : undefined;
    if (texts === undefined) continue;
    if (like === "gather") {
      const spell = name.endsWith(OWN) ? undefined : speller(from.tokenizer);
      found[name] = gatherTable(texts, distinctTexts(from.tokenizer, count(from)), vocabulary, spell);
    } else {
      const spell = target === undefined ? () => [] : speller(target.tokenizer);
      found[name] = projectionTable(tokenTexts(from.tokenizer, count(from)), texts, vocabulary, spell);
    }
  }
  return found;
}

/** 1 for tokens whose text begins with white space or has none: the word before is over. */
export function wordStarts(tokenizer: Tokenizer, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, id) => {
    if (id >= tokenizer.vocab) return 0;
    const [first] = tokenizer.bytes(id);
    return first === undefined || first === 0x20 || (first >= 0x09 && first <= 0x0d) ? 1 : 0;
  });
}

function vocabularyOf(program: Program, name: string): string {
  return program.sources.find((source) => source.name === name)!.vocabulary;
}
