/** How many tokens the rows of a plan have: told by sources and tables, and the same wherever rows meet. */
import type { Program, Table } from "../../decoding/fuse.ts";
import { grouped } from "../../errors.ts";
import type { Source } from "../source.ts";

/** Tokens of a vocabulary, and what told. */
interface Size {
  readonly vocab: number;
  readonly from: string;
}

/**
 * Tokens of the plan's result, before anything runs.
 *
 * @param sources By the order of the plan's.
 * @param given Tables that come with the steps.
 * @throws {RangeError} If sources or tables of one vocabulary differ in size; the message names both.
 */
export function resultVocab(
  program: Program,
  sources: readonly Source[],
  given: Readonly<Record<string, Table>>,
): number {
  const sizes = new Map<string, Size>();
  const claim = (vocabulary: string, size: Size) => {
    const known = sizes.get(vocabulary);
    if (known === undefined) sizes.set(vocabulary, size);
    else if (known.vocab !== size.vocab) {
      throw new RangeError(
        `${size.from} must have ${grouped(known.vocab)} tokens, as ${known.from} has, got ${grouped(size.vocab)}: ` +
          'sources of one vocabulary need a "vocab" that both use, others a "map"',
      );
    }
  };
  for (const [index, { name, vocabulary, vocab, extra }] of program.sources.entries()) {
    const from = `"sources.${name}"`;
    const least = Math.max(1, vocab) + extra;
    if (sources[index].vocab < least) {
      throw new RangeError(
        `${from} must have rows of at least ${grouped(least)} values, as the plan reads, got ${grouped(sources[index].vocab)}`,
      );
    }
    claim(vocabulary, { vocab: vocab > 0 ? vocab : sources[index].vocab - extra, from });
  }
  const tableOf = (name: string) => (program.tables[name].kind === "given" ? given : program.tables)[name];
  program.instructions.forEach((instruction, id) => {
    const { op } = instruction;
    if (op !== "dense" && op !== "project" && op !== "gather" && op !== "multiply") return;
    const vocab = vocabOf(tableOf(instruction.table));
    claim(program.vocabularies.get(id)!, { vocab, from: `"plan.tables.${instruction.table}"` });
  });
  return sizes.get(program.vocabularies.get(program.result)!)!.vocab;
}

/** Of the row that a table makes. */
function vocabOf(table: Table): number {
  switch (table.kind) {
    case "dense":
    case "factors":
      return table.values.length;
    case "projection":
      return table.vocab;
    case "gather":
      return table.ids.length;
    default:
      return 0;
  }
}
