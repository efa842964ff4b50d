/**
 * reader: tokens of one vocabulary, as a model of another writes their text.
 *
 *     tokens  →  bytes  →  whole characters, written as the model's tokenizer writes a text
 *                          and of a character that is not whole yet, tokens of just these bytes
 *
 * What the model reads depends on the tokens alone, though its own may change with what follows.
 */

import { joined } from "../../format/joined.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { unfinishedBytes } from "../drafter/utf8-text.ts";

/** Longest piece that bytes of an unfinished character are looked up in. */
const LONGEST_PIECE = 16;
const SPACE = 0x20;

export interface TokenReader {
  /** Tokens of the model; none where there is nothing it could read. */
  read(tokens: readonly number[]): number[];
}

export interface ReaderOptions {
  /**
   * Tokens without a text that the model has too, control tokens for instance, as its own. Given, they are all there is of
   * that kind: no BOS is added to the text.
   */
  readonly shared?: (token: number) => number | undefined;
}

/** @param from Of the tokens that are read. */
export function createTokenReader(from: Tokenizer, to: Tokenizer, options: ReaderOptions = {}): TokenReader {
  return new TextReader(from, to, options);
}

class TextReader implements TokenReader {
  readonly #from: Tokenizer;
  readonly #to: Tokenizer;
  readonly #shared: ReaderOptions["shared"];
  readonly #addsSpace: boolean;
  /** Of the model's tokens, by their bytes as Latin-1; made when first needed. */
  #ids: ReadonlyMap<string, number> | undefined;

  constructor(from: Tokenizer, to: Tokenizer, { shared }: ReaderOptions) {
    this.#from = from;
    this.#to = to;
    this.#shared = shared;
    this.#addsSpace = addsSpace(from);
  }

  read(tokens: readonly number[]): number[] {
    const ids: number[] = [];
    let segment: number[] = [];
    for (const token of tokens) {
      const own = this.#shared?.(token);
      if (own === undefined) segment.push(token);
      else {
        this.#write(segment, ids);
        segment = [];
        ids.push(own);
      }
    }
    this.#write(segment, ids);
    const start = this.#to.bos ?? this.#to.eos;
    return ids.length === 0 && start !== null ? [start] : ids;
  }

  #write(tokens: readonly number[], ids: number[]): void {
    const parts = tokens.map((token) => this.#bytesOf(token));
    const cut = firstUnfinished(parts);
    const whole = joined(...parts.slice(0, cut));
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole);
    // The reader's tokenizer puts its own there, if it puts one.
    const given = this.#addsSpace && text.startsWith(" ") ? text.slice(1) : text;
    if (given !== "" || this.#shared === undefined) {
      for (const id of this.#to.encode(given, { special: this.#shared === undefined })) ids.push(id);
    }
    this.#spell(joined(...parts.slice(cut)), ids);
  }

  /** Bytes by the longest tokens that they begin with; those that no token has are left out. */
  #spell(bytes: Uint8Array, ids: number[]): void {
    for (let at = 0; at < bytes.length; ) {
      let length = Math.min(LONGEST_PIECE, bytes.length - at);
      while (length > 0 && !this.#byBytes.has(latin1(bytes.subarray(at, at + length)))) length--;
      if (length > 0) ids.push(this.#byBytes.get(latin1(bytes.subarray(at, at + length)))!);
      at += Math.max(1, length);
    }
  }

  /** Rows that only pad the embedding have no token, hence no text. */
  #bytesOf(token: number): Uint8Array {
    return token < this.#from.vocab ? this.#from.bytes(token) : new Uint8Array();
  }

  get #byBytes(): ReadonlyMap<string, number> {
    if (this.#ids !== undefined) return this.#ids;
    const ids = new Map<string, number>();
    for (let id = 0; id < this.#to.vocab; id++) {
      const bytes = this.#to.bytes(id);
      const key = latin1(bytes);
      if (bytes.length > 0 && bytes.length <= LONGEST_PIECE && !ids.has(key)) ids.set(key, id);
    }
    this.#ids = ids;
    return ids;
  }
}

/** Where the tokens begin that a character which is not whole is part of; the number of all if there is none. */
function firstUnfinished(parts: readonly Uint8Array[]): number {
  // Four bytes are a character at most, so a few tokens decide.
  let cut = parts.length;
  let tail: Uint8Array = new Uint8Array();
  while (cut > 0 && tail.length < 4) tail = joined(parts[--cut], tail);
  let missing = unfinishedBytes(tail);
  if (missing === 0) return parts.length;
  cut = parts.length;
  while (cut > 0 && missing > 0) missing -= parts[--cut].length;
  // A token that ends one character and begins another cannot be parted from the one before.
  while (cut > 0 && unfinishedBytes(joined(...parts.slice(0, cut))) > 0) cut--;
  return cut;
}

/** Whether a tokenizer puts a space before every text. */
export function addsSpace(tokenizer: Tokenizer): boolean {
  const [first] = tokenizer.encode("a", { special: false });
  return first !== undefined && tokenizer.bytes(first)[0] === SPACE;
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
