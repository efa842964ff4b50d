/** Tokens that stand for themselves in a text, found by their spelling before anything is merged. */
import { grouped, UnsupportedError } from "../../errors.ts";
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
  readonly #userDefined: readonly (readonly [string, number])[];
  readonly #all: readonly (readonly [string, number])[];

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
    this.#all = found
      .map((id) => ({ id, text: texts[id], size: utf8.encode(texts[id]).length }))
      .sort((a, b) => b.size - a.size || a.id - b.id)
      .map(({ id, text }) => [text, id]);
    this.#userDefined = this.#all.filter(([, id]) => types[id] === userDefined);
  }

  split(text: string, parseSpecial: boolean): Fragment[] {
    let fragments: Fragment[] = text === "" ? [] : [text];
    for (const [spelling, id] of parseSpecial ? this.#all : this.#userDefined) {
      if (!text.includes(spelling)) continue;
      fragments = fragments.flatMap((fragment) =>
        typeof fragment === "string" ? cut(fragment, spelling, id) : fragment,
      );
    }
    return fragments;
  }
}

function cut(text: string, spelling: string, id: number): Fragment[] {
  const parts: Fragment[] = [];
  for (const between of text.split(spelling)) {
    if (between !== "") parts.push(between);
    parts.push(id);
  }
  parts.pop();
  return parts;
}
