/**
 * SentencePiece BPE, `tokenizer.ggml.model` = "llama".
 *
 * A space is spelled "▁". Neighbouring symbols, at first single characters, merge as long as their concatenation is a
 * token: the pair with the highest score first, the leftmost of equals. What is no token in the end is spelled in
 * byte tokens <0x00> ... <0xFF>.
 */
import type { Metadata } from "../../format/gguf.ts";
import { metadataNumber, metadataNumbers } from "../../format/metadata.ts";
import { mergeSymbols, type Symbols } from "./merge.ts";
import { TokenType, type Vocabulary } from "./vocabulary.ts";

const SPACE = "▁";
const MAX_F32 = 3.4028234663852886e38;

const utf8 = new TextEncoder();

export class SentencePiece {
  readonly #vocabulary: Vocabulary;
  readonly #scores: readonly number[];
  readonly #longest: number;
  /** Byte -> token. */
  readonly #byteTokens: readonly (number | undefined)[];
  readonly #unknown: number;

  /** @throws {RangeError | TypeError} If scores are missing, not as many as tokens, or not finite. */
  constructor(metadata: Metadata, vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    const { texts, ids, types } = vocabulary;
    const length = texts.length;
    this.#scores = metadataNumbers(metadata, "tokenizer.ggml.scores", {
      min: -MAX_F32,
      max: MAX_F32,
      length,
    });
    this.#longest = texts.reduce((longest, text) => Math.max(longest, text.length), 0);
    this.#unknown = metadataNumber(metadata, "tokenizer.ggml.unknown_token_id", {
      integer: true,
      min: 0,
      max: length - 1,
      default: 0,
    });
    this.#byteTokens = Array.from({ length: 256 }, (_, byte) => {
      const single = byte < 0x80 ? ids.get(String.fromCharCode(byte)) : undefined;
      return ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`) ?? single;
    });
    types.forEach((type, id) => {
      if (type === TokenType.byte && !/^<0x[0-9A-Fa-f]{2}>$/.test(texts[id])) {
        const got = JSON.stringify(texts[id].slice(0, 40));
        throw new RangeError(`Byte token ${id} must be spelled like <0x0A>, got ${got}`);
      }
    });
  }

  /** Appends the tokens of `text`, in which a space may be a space. */
  encode(text: string, tokens: number[]): void {
    const { ids } = this.#vocabulary;
    const score = this.#score.bind(this);
    for (const piece of mergeSymbols(text.replaceAll(" ", SPACE), score)) {
      const id = ids.get(piece);
      if (id !== undefined) tokens.push(id);
      else this.#encodeBytes(piece, tokens);
    }
  }

  #encodeBytes(character: string, tokens: number[]): void {
    const bytes = Array.from(utf8.encode(character), (byte) => this.#byteTokens[byte]);
    for (const id of bytes.includes(undefined) ? [this.#unknown] : bytes) tokens.push(id as number);
  }

  #score(symbols: Symbols, left: number, right: number): number | undefined {
    const size = symbols.size(left) + symbols.size(right);
    // Checked before the text is sliced: no long string is built that cannot be a token.
    if (size > this.#longest) return undefined;
    const id = this.#vocabulary.ids.get(symbols.text(left, size));
    return id === undefined ? undefined : this.#scores[id];
  }

  bytes(id: number): Uint8Array {
    const text = this.#vocabulary.texts[id];
    if (this.#vocabulary.types[id] === TokenType.byte)
      return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16));
    return utf8.encode(text.replaceAll(SPACE, " "));
  }
}
