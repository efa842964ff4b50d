/**
 * Text to token ids and back, from the metadata of a GGUF.
 *
 * Ids are those of llama.cpp for the same file. Two kinds: SentencePiece ("llama", tokenizer/sentencepiece.ts) and
 * byte-level BPE ("gpt2", tokenizer/byte-level.ts).
 */
import { grouped, UnsupportedError } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { metadataBoolean, metadataString } from "../format/metadata.ts";
import { quoted } from "../format/quote.ts";
import { ByteLevel, readPreTokenizer } from "./tokenizer/byte-level.ts";
import { SentencePiece } from "./tokenizer/sentencepiece.ts";
import { SpecialTokens } from "./tokenizer/special-tokens.ts";
import {
  type AddedTokens,
  readAddedTokens,
  readVocabulary,
  TokenType,
  type Vocabulary,
} from "./tokenizer/vocabulary.ts";

/** Text to token ids and back, as the model's file defines it. */
export interface Tokenizer {
  /** Number of token ids. */
  readonly vocab: number;
  readonly bos: number | null;
  readonly eos: number | null;
  /** Tokens that end a text or a turn: eos, eot, eom and the like. */
  readonly endTokens: ReadonlySet<number>;
  /**
   * Token ids of a text. A lone surrogate counts as U+FFFD.
   *
   * SentencePiece files put one space before a text, and before a text that follows a special token.
   *
   * @param options.special Adds BOS/EOS where the file asks for it. Default true.
   * @param options.parseSpecial Recognises control tokens such as <|im_end|> in the text. Default false.
   * @throws {RangeError} If the text is longer than `MAX_TEXT`.
   */
  encode(text: string, options?: { special?: boolean; parseSpecial?: boolean }): number[];
  /** The bytes a token stands for; empty for control tokens. */
  bytes(token: number): Uint8Array;
  /**
   * Text of a sequence: the bytes of its tokens in a row; invalid UTF-8 becomes U+FFFD. Control tokens give nothing.
   *
   * It is a continuation's text: the space that SentencePiece writes before a word stays, also before the first, so
   * that prompt + answer read on. Hence `decode(encode(text))` is " " + text for such files, and text for byte-level
   * ones; nothing is tidied around punctuation.
   */
  decode(tokens: ArrayLike<number>): string;
  /** A streaming decoder that never emits half a character. */
  stream(): TokenStream;
}

/** Concatenating every `push` and the final `end` equals `decode` of the same tokens. */
export interface TokenStream {
  push(token: number): string;
  /** Bytes of an unfinished character are held back. */
  readonly holding: boolean;
  /** What was held back; an incomplete character becomes U+FFFD. */
  end(): string;
}

/** Longest text of one `encode`, in UTF-16 units: some 250,000 tokens. The working memory is bounded by it. */
export const MAX_TEXT = 1 << 20;

/** How one kind of tokenizer spells. */
interface Spelling {
  /** Appends the tokens of a text without special tokens in it. */
  encode(text: string, tokens: number[]): void;
  /** Bytes of a normal or byte token. */
  bytes(token: number): Uint8Array;
}

/**
 * The tokenizer a GGUF describes.
 *
 * @throws {UnsupportedError} If the file's `tokenizer.ggml.model` or pre-tokenizer is not one we know.
 * @throws {RangeError | TypeError} If `tokenizer.ggml.*` is incomplete or contradicts itself; names the key.
 *
 * @example
 * ```ts
 * const tokenizer = createTokenizer(gguf.metadata);
 * tokenizer.decode(tokenizer.encode("Once upon a time"));
 * ```
 */
export function createTokenizer(metadata: Metadata): Tokenizer {
  const model = metadataString(metadata, "tokenizer.ggml.model");
  if (model === "llama") {
    const vocabulary = readVocabulary(metadata, { bos: 1, eos: 2 });
    const added = readAddedTokens(metadata, vocabulary, true);
    const addSpace = metadataBoolean(metadata, "tokenizer.ggml.add_space_prefix", { default: true });
    return new GgufTokenizer(vocabulary, added, new SentencePiece(metadata, vocabulary), addSpace ? " " : "");
  }
  if (model === "gpt2") {
    const words = readPreTokenizer(metadata);
    const vocabulary = readVocabulary(metadata, { bos: null, eos: null });
    const added = readAddedTokens(metadata, vocabulary, words.addBos);
    return new GgufTokenizer(vocabulary, added, new ByteLevel(metadata, vocabulary, words), "");
  }
  throw new UnsupportedError(`Unknown tokenizer ${quoted(model)} in "tokenizer.ggml.model"`);
}

class GgufTokenizer implements Tokenizer {
  readonly vocab: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly endTokens: ReadonlySet<number>;
  readonly #vocabulary: Vocabulary;
  readonly #added: AddedTokens;
  readonly #spelling: Spelling;
  /** What goes before a text at the start and after a special token. */
  readonly #prefix: string;
  readonly #special: SpecialTokens;
  /** By token, once asked for. */
  readonly #bytes: (Uint8Array | undefined)[];

  constructor(vocabulary: Vocabulary, added: AddedTokens, spelling: Spelling, prefix: string) {
    this.vocab = vocabulary.texts.length;
    this.bos = vocabulary.bos;
    this.eos = vocabulary.eos;
    this.endTokens = vocabulary.endTokens;
    this.#vocabulary = vocabulary;
    this.#added = added;
    this.#spelling = spelling;
    this.#prefix = prefix;
    this.#special = new SpecialTokens(vocabulary);
    this.#bytes = new Array(this.vocab);
  }

  encode(text: string, { special = true, parseSpecial = false } = {}): number[] {
    if (typeof text !== "string") throw new TypeError(`"text" must be a string, got ${typeof text}`);
    if (text.length > MAX_TEXT) {
      const limit = `at most ${grouped(MAX_TEXT)} UTF-16 units`;
      throw new RangeError(`"text" must have ${limit}, got ${grouped(text.length)}`);
    }
    const tokens: number[] = [];
    if (special && this.#added.bos) tokens.push(this.bos!);
    let prefix = this.#prefix;
    for (const fragment of this.#special.split(wellFormed(text), parseSpecial)) {
      if (typeof fragment === "number") {
        tokens.push(fragment);
        prefix = this.#prefix;
      } else {
        this.#spelling.encode(prefix + fragment, tokens);
        prefix = "";
      }
    }
    if (special && this.#added.eos) tokens.push(this.eos!);
    return tokens;
  }

  bytes(token: number): Uint8Array {
    return this.#bytesOf(token).slice();
  }

  decode(tokens: ArrayLike<number>): string {
    const stream = this.stream();
    let text = "";
    for (let i = 0; i < tokens.length; i++) text += stream.push(tokens[i]);
    return text + stream.end();
  }

  stream(): TokenStream {
    // A byte order mark is text like any other here.
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let recent: number[] = [];
    return {
      push: (token) => {
        const bytes = this.#bytesOf(token);
        recent = [...recent, ...bytes.subarray(-3)].slice(-3);
        return decoder.decode(bytes, { stream: true });
      },
      end: () => {
        recent = [];
        return decoder.decode();
      },
      get holding() {
        return endsInsideCharacter(recent);
      },
    };
  }

  #bytesOf(token: number): Uint8Array {
    if (!Number.isInteger(token) || token < 0 || token >= this.vocab) {
      throw new RangeError(`Token must be an integer from 0 to ${this.vocab - 1}, got ${token}`);
    }
    const bytes = this.#bytes[token] ?? this.#spellOut(token);
    this.#bytes[token] = bytes;
    return bytes;
  }

  #spellOut(token: number): Uint8Array {
    switch (this.#vocabulary.types[token]) {
      case TokenType.normal:
      case TokenType.byte:
        return this.#spelling.bytes(token);
      case TokenType.userDefined:
        return new TextEncoder().encode(this.#vocabulary.texts[token]);
      default:
        return new Uint8Array();
    }
  }
}

/** Whether the last of these bytes begin a UTF-8 character that needs more of them. */
function endsInsideCharacter(bytes: readonly number[]): boolean {
  const lead = bytes.findLastIndex((byte) => (byte & 0xc0) !== 0x80);
  if (lead < 0) return false;
  const needed = bytes[lead] >= 0xf0 ? 4 : bytes[lead] >= 0xe0 ? 3 : bytes[lead] >= 0xc0 ? 2 : 1;
  return bytes.length - lead < needed;
}

/** In a pattern with the u flag a surrogate matches only where it stands alone. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
