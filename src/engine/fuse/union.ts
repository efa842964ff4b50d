/**
 * union: the vocabulary of several models together, every text once.
 *
 *     base's tokens, in their order                    texts, bytes that are no text yet, control tokens
 *     then the texts that only others have             control tokens of others are left out
 *     all ends of text are one token
 *
 * A prompt is written as the base writes it. So a text of the base alone is a text of the union, token by token.
 */
import { LIMITS } from "../../decoding/fuse/plan.ts";
import type { TokenTexts } from "../../decoding/fuse/vocabulary-tables.ts";
import { grouped } from "../../errors.ts";
import { joined } from "../../format/joined.ts";
import type { Tokenizer, TokenStream } from "../../model/tokenizer.ts";
import { continuation } from "../drafter/retokenize.ts";
import { unfinishedBytes } from "../drafter/utf8-text.ts";

/** Names of what is no text: each begins with a low surrogate, as no text does. */
const BYTE = 0xdc00;
const END = "\udd00";
const CONTROL = "\udd01";

const utf8 = new TextEncoder();

/**
 * The text of each token, and a name for what has none; texts of equal bytes are equal.
 *
 * @param count Rows of the model; those behind the tokenizer's tokens only pad it.
 */
export function tokenTexts(tokenizer: Tokenizer, count: number): TokenTexts {
  return Array.from({ length: count }, (_, id) => {
    const bytes = id < tokenizer.vocab ? tokenizer.bytes(id) : new Uint8Array();
    if (bytes.length > 0) return textOf(bytes);
    return tokenizer.endTokens.has(id) ? END : `${CONTROL}${id}`;
  });
}

/** The same where each text has one token: that which the tokenizer writes it with, else the first; the others have none. */
export function distinctTexts(tokenizer: Tokenizer, count: number): TokenTexts {
  const texts = tokenTexts(tokenizer, count);
  const ids = new Map<string, number[]>();
  texts.forEach((text, id) => {
    const same = ids.get(text);
    if (same === undefined) ids.set(text, [id]);
    else same.push(id);
  });
  return texts.map((text, id) => {
    const same = ids.get(text)!;
    if (same.length === 1) return text;
    const written = text === END ? [tokenizer.eos ?? same[0]] : speller(tokenizer)(text);
    const chosen = written.length === 1 && same.includes(written[0]) ? written[0] : same[0];
    return id === chosen ? text : `${CONTROL}${id}`;
  });
}

/** How a tokenizer writes a text within others; nothing for names of what is no text. */
export function speller(tokenizer: Tokenizer): (text: string) => readonly number[] {
  return (text) => (/\p{Surrogate}/u.test(text) ? [] : (continuation(tokenizer, "", text, 0) ?? []));
}

/** A tokenizer of the tokens of several. Text is written as the first of them writes it. */
export class UnionTokenizer implements Tokenizer {
  readonly vocab: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly endTokens: ReadonlySet<number>;
  /** By id. */
  readonly texts: TokenTexts;
  readonly #base: Tokenizer;
  readonly #ofBase: readonly number[];
  /** Tokens of the base by those of the union that have no text. */
  readonly #controls: ReadonlyMap<number, number>;

  /** @throws {RangeError} If there are more tokens than a plan's vocabulary may have. */
  constructor(base: Tokenizer, others: readonly Tokenizer[]) {
    const ofBase = tokenTexts(base, base.vocab);
    const ofOthers = others.flatMap((other) =>
      tokenTexts(other, other.vocab).filter((text) => !text.startsWith(CONTROL)),
    );
    const ids = new Map<string, number>();
    for (const texts of [ofBase, ofOthers]) {
      for (const text of texts) if (!ids.has(text)) ids.set(text, ids.size);
    }
    if (ids.size > LIMITS.vocab) {
      throw new RangeError(
        `The tokens of all sources together must be at most ${grouped(LIMITS.vocab)}, got ${grouped(ids.size)}`,
      );
    }
    const end = ids.get(END) ?? null;
    this.texts = [...ids.keys()];
    this.vocab = ids.size;
    this.#base = base;
    this.#ofBase = ofBase.map((text) => ids.get(text)!);
    this.bos = base.bos === null ? null : this.#ofBase[base.bos];
    this.eos = end;
    this.endTokens = new Set(end === null ? [] : [end]);
    const controls = new Map<number, number>();
    for (const [id, text] of ofBase.entries()) {
      if (text.startsWith(CONTROL)) controls.set(this.#ofBase[id], id);
      else if (text === END && (id === base.eos || !controls.has(end!))) controls.set(end!, id);
    }
    this.#controls = controls;
  }

  /** The base's own token, of one that has no text. */
  control(token: number): number | undefined {
    return this.#controls.get(token);
  }

  /** Tokens of the base as those of the union. */
  fromBase(tokens: readonly number[]): number[] {
    return tokens.map((token) => this.#ofBase[token]);
  }

  encode(text: string, options?: { special?: boolean; parseSpecial?: boolean }): number[] {
    return this.fromBase(this.#base.encode(text, options));
  }

  bytes(token: number): Uint8Array {
    if (!Number.isInteger(token) || token < 0 || token >= this.vocab) {
      throw new RangeError(`Token must be an integer from 0 to ${this.vocab - 1}, got ${token}`);
    }
    return bytesOf(this.texts[token]);
  }

  decode(tokens: ArrayLike<number>): string {
    const stream = this.stream();
    return `${Array.from(tokens, (token) => stream.push(token)).join("")}${stream.end()}`;
  }

  stream(): TokenStream {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let recent: Uint8Array = new Uint8Array();
    return {
      push: (token) => {
        const bytes = this.bytes(token);
        recent = joined(recent, bytes).slice(-4);
        return decoder.decode(bytes, { stream: true });
      },
      get holding() {
        return unfinishedBytes(recent) > 0;
      },
      end: () => {
        recent = new Uint8Array();
        return decoder.decode();
      },
    };
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return String.fromCharCode(...Array.from(bytes, (byte) => BYTE + byte));
  }
}

function bytesOf(text: string): Uint8Array {
  if (text === END || text.startsWith(CONTROL)) return new Uint8Array();
  const first = text.charCodeAt(0);
  if (first < BYTE || first >= BYTE + 256) return utf8.encode(text);
  return Uint8Array.from(text, (character) => character.charCodeAt(0) - BYTE);
}
