/** Tokens that stand for themselves in a text, found by their spelling before anything is merged. */
import { grouped, UnsupportedError } from "../../errors.ts";
import { type Occurrence, SpellingIndex } from "./spelling-index.ts";
import { TokenType, type Vocabulary } from "./vocabulary.ts";

/** Largest number of tokens that are searched for in a text; today's files have at most some thousands. */
const MAX_SPECIAL = 16_384;

/** A piece of text, or a token that was spelled out in it. */
export type Fragment = string | number;

/**
 * Finds tokens that are recognised by their spelling: user-defined ones always, control and unknown ones on demand.
 *
 * The longest spelling is looked for first, in the whole text, then the next in what is left between; of equally
 * long ones the lowest id.
 */
export class SpecialTokens {
  readonly #userDefined: SpellingIndex;
  readonly #all: SpellingIndex;

  /** @throws {UnsupportedError} If there are so many that searching a text would take too long. */
  constructor({ texts, types }: Vocabulary) {
    const { control, unknown, userDefined } = TokenType;
    const utf8 = new TextEncoder();
    const found = [...types.keys()].filter((id) =>
      [control, unknown, userDefined].some((type) => types[id] === type),
    );
    if (found.length > MAX_SPECIAL) {
      const limit = `at most ${grouped(MAX_SPECIAL)} control and user-defined tokens`;
      throw new UnsupportedError(`Vocabulary must have ${limit}, got ${grouped(found.length)}`);
    }
    const all = found
      .map((id) => ({ id, text: texts[id], size: utf8.encode(texts[id]).length }))
      .sort((a, b) => b.size - a.size || a.id - b.id);
    this.#all = new SpellingIndex(all);
    this.#userDefined = new SpellingIndex(all.filter(({ id }) => types[id] === userDefined));
  }

  split(text: string, parseSpecial: boolean): Fragment[] {
    const index = parseSpecial ? this.#all : this.#userDefined;
    return fragmentsOf(text, index.find(text));
  }
}

function fragmentsOf(text: string, occurrences: readonly Occurrence[]): Fragment[] {
  const fragments: Fragment[] = [];
  let end = 0;
  for (const { position, length, id } of occurrences) {
    if (position > end) fragments.push(text.slice(end, position));
    fragments.push(id);
    end = position + length;
  }
  if (end < text.length) fragments.push(text.slice(end));
  return fragments;
}
