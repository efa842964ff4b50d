import type { TokenLogProbability } from "../decoding/pipeline.ts";
import type { Piece } from "../engine/model.ts";
import type { Tokenizer } from "../model/tokenizer.ts";

/** A token that was emitted, with what `logprobs` tells of it. */
export interface TokenEntry {
  readonly token: number;
  /** null: of the first token of all, which nothing stands before. */
  readonly logProbability: number | null;
  readonly top: readonly TokenLogProbability[];
  /** Code points of the choice's text before that of the token; an echoed prompt belongs to it. */
  readonly offset: number;
}

/** Some text of a choice, and its tokens. */
export interface TextPart {
  readonly text: string;
  readonly tokens: readonly TokenEntry[];
}

/** An entry, and where its text ends. */
interface Waiting {
  readonly entry: TokenEntry;
  readonly end: number;
}

/**
 * Puts the tokens of a choice beside the text that is theirs.
 *
 * Text comes late, where half a character or the beginning of a stop text is held back, and may never come. A token is told
 * with the text it begins in; what lies behind a stop text is not part of the answer, and its tokens are not either.
 */
export class ChoiceText {
  readonly #decoder: ReturnType<Tokenizer["stream"]>;
  readonly #vocab: number;
  readonly #waiting: Waiting[] = [];
  /** Code points that the tokens so far stand for, and of those that were told. */
  #spelled: number;
  #told: number;

  /** @param start Code points that stand before. */
  constructor(tokenizer: Tokenizer, start = 0) {
    this.#spelled = start;
    this.#told = start;
    this.#decoder = tokenizer.stream();
    this.#vocab = tokenizer.vocab;
  }

  /** null: nothing to tell yet. */
  push({ token, text, logProbability, top = [] }: Piece): TextPart | null {
    if (logProbability !== undefined) {
      const offset = this.#spelled;
      // Rows that only pad the embedding have no token in the vocabulary, hence no text.
      this.#spelled += codePoints(token < this.#vocab ? this.#decoder.push(token) : "");
      const end = this.#spelled + (this.#decoder.holding ? 1 : 0);
      this.#waiting.push({ entry: { token, logProbability, top, offset }, end });
    }
    if (text === "") return null;
    this.#told += codePoints(text);
    return { text, tokens: this.#take() };
  }

  /** Tokens without text of their own that came last. */
  end(): readonly TokenEntry[] {
    return this.#take();
  }

  #take(): readonly TokenEntry[] {
    const behind = this.#waiting.findIndex(
      ({ entry, end }) => entry.offset >= this.#told && end > this.#told,
    );
    const count = behind < 0 ? this.#waiting.length : behind;
    return this.#waiting.splice(0, count).map(({ entry }) => entry);
  }
}

export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
