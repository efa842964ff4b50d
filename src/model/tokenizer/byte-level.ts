/**
 * Byte-level BPE, `tokenizer.ggml.model` = "gpt2".
 *
 * A text is cut into words (pre-tokenizers.ts), each word's UTF-8 bytes are written in an alphabet of 256 visible
 * characters, and neighbours merge in the order of `tokenizer.ggml.merges`. The merging of words is
 * @huggingface/tokenizers', which remembers them; the rest is here because that library cuts words and splits special
 * tokens in another order than llama.cpp.
 */
import * as library from "@huggingface/tokenizers";
import type { Metadata } from "../../format/gguf.ts";
import { metadataString, metadataStrings } from "../../format/metadata.ts";
import { mergeSymbols } from "./merge.ts";
import { type PreTokenizer, preTokenizer } from "./pre-tokenizers.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Byte -> character: printable Latin-1 stands for itself, the 68 others are U+0100 and on. */
const ALPHABET: readonly string[] = (() => {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  let other = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : other++));
})();
const BYTES: ReadonlyMap<string, number> = new Map(ALPHABET.map((character, byte) => [character, byte]));

/** Exported, but its type is not: the package's types name files without extension, which nodenext cannot follow. */
const { BPE } = library as unknown as {
  BPE: new (config: { type: "BPE"; vocab: object; merges: [string, string][] }) => Merger;
};

interface Merger {
  /** Spellings that a word's characters merge to. */
  bpe(word: string): string[];
}

/** Above this the library does not remember a word; it takes some 7 us and several objects a byte. */
const LONG_WORD = 255;

const utf8 = new TextEncoder();

export class ByteLevel {
  readonly #vocabulary: Vocabulary;
  readonly #words: PreTokenizer;
  readonly #merger: Merger;
  /** "left right" -> place in the order. */
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #longest: number;

  /**
   * @throws {UnsupportedError} If the pre-tokenizer is unknown.
   * @throws {RangeError | TypeError} If the merges are missing or malformed.
   */
  constructor(metadata: Metadata, vocabulary: Vocabulary, words = readPreTokenizer(metadata)) {
    this.#vocabulary = vocabulary;
    this.#words = words;
    this.#ranks = readMerges(metadata);
    this.#longest = [...this.#ranks.keys()].reduce(
      (longest, merge) => Math.max(longest, merge.length - 1),
      0,
    );
    const merges = Array.from(this.#ranks.keys(), (merge) => merge.split(" ") as [string, string]);
    // It needs no vocabulary of its own: it merges spellings, and `encode` looks them up.
    this.#merger = new BPE({ type: "BPE", vocab: {}, merges });
  }

  /** Appends the tokens of `text`. A byte that the vocabulary has no token for is left out, as llama.cpp does. */
  encode(text: string, tokens: number[]): void {
    const { ids } = this.#vocabulary;
    for (const word of this.#words.split(text)) {
      const spelling = spell(word);
      const whole = this.#words.ignoreMerges ? ids.get(spelling) : undefined;
      if (whole !== undefined) {
        tokens.push(whole);
        continue;
      }
      for (const piece of this.#merge(spelling)) {
        const id = ids.get(piece);
        if (id !== undefined) tokens.push(id);
        else this.#encodeUnmerged(piece, tokens);
      }
    }
  }

  #merge(word: string): Iterable<string> {
    if (word.length <= LONG_WORD) return this.#merger.bpe(word);
    return mergeSymbols(word, (symbols, left, right) => {
      if (symbols.size(left) + symbols.size(right) > this.#longest) return undefined;
      const rank = this.#ranks.get(`${symbols.text(left)} ${symbols.text(right)}`);
      return rank === undefined ? undefined : -rank;
    });
  }

  /** A merge gave a spelling that is no token: its ASCII characters may be. */
  #encodeUnmerged(piece: string, tokens: number[]): void {
    for (const character of piece) {
      const id = character < "\x80" ? this.#vocabulary.ids.get(character) : undefined;
      if (id !== undefined) tokens.push(id);
    }
  }

  /** Bytes of a normal token. A character outside the alphabet becomes a visible mark, the one llama.cpp gives. */
  bytes(id: number): Uint8Array {
    const text = this.#vocabulary.texts[id];
    const bytes: number[] = [];
    for (const character of text) {
      const byte = BYTES.get(character);
      if (byte !== undefined) bytes.push(byte);
      else {
        const hex = Array.from(utf8.encode(character), (value) => value.toString(16).padStart(2, "0"));
        bytes.push(...utf8.encode(`[UNK_BYTE_0x${hex.join("")}${text}]`));
      }
    }
    return Uint8Array.from(bytes);
  }
}

/** "default" where the file names none, which is what such files were made for. */
export function readPreTokenizer(metadata: Metadata): PreTokenizer {
  return preTokenizer(metadataString(metadata, "tokenizer.ggml.pre", { default: "default" }) || "default");
}

function spell(word: string): string {
  let spelling = "";
  for (const byte of utf8.encode(word)) spelling += ALPHABET[byte];
  return spelling;
}

/** Place of each "left right"; of a repeated pair the first counts. */
function readMerges(metadata: Metadata): Map<string, number> {
  const key = "tokenizer.ggml.merges";
  const ranks = new Map<string, number>();
  metadataStrings(metadata, key).forEach((merge, index) => {
    const space = merge.indexOf(" ");
    if (space <= 0 || space === merge.length - 1 || merge.includes(" ", space + 1)) {
      const got = JSON.stringify(merge.slice(0, 40));
      throw new RangeError(
        `Metadata "${key}[${index}]" must be two spellings with one space between, got ${got}`,
      );
    }
    if (!ranks.has(merge)) ranks.set(merge, index);
  });
  return ranks;
}
