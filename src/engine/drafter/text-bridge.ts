import type { Draft } from "../../decoding/draft.ts";
import {
  chain,
  type Drafter,
  expectGamma,
  expectTokens,
  expectVocab,
} from "../../decoding/drafter/drafter.ts";
import { expectInteger } from "../../errors.ts";
import { joined } from "../../format/joined.ts";
import { MAX_TEXT, type Tokenizer } from "../../model/tokenizer.ts";
import type { Lease } from "../lease.ts";
import type { Source } from "../source.ts";
import { DraftSession } from "./draft-session.ts";
import { continuation, spell } from "./retokenize.ts";
import { Utf8Text, unfinishedBytes } from "./utf8-text.ts";

/** What is needed of a draft model. */
export interface TextModel extends Source {
  readonly tokenizer: Tokenizer;
}

export interface TextBridgeOptions {
  /** Vocabulary of the target. */
  readonly vocab: number;
  /** Positions of the target's session. */
  readonly capacity: number;
  /** Stops the reading of a long prompt. */
  readonly signal?: AbortSignal;
  /** Of the text that is drafted for. */
  readonly lease?: Lease;
}

/** Bytes at the end of the known text that are tokenized again with what follows, and those before, as context. */
const WINDOW = 64;
const BEHIND = 64;
/** Draft tokens per target token at most: a small vocabulary spells in short pieces. */
const MAX_RATIO = 6;
/** Committed target tokens whose mean length says how much text a draft needs. */
const RECENT = 32;

/**
 * Drafts with a model that has another tokenizer: by text.
 *
 *     text     what the committed tokens spell; special tokens spell nothing
 *     draft    the draft model goes on with that text
 *     tokens   the drafted text as the target's tokenizer would write it there
 *
 * The draft model's most likely tokens are taken, as no law of theirs is one of the target's. Its session is kept: only
 * the end of the text is tokenized anew, since a token may change with what follows it.
 *
 * Source: Timor et al. 2025, arXiv:2502.05202, "string-level exact match".
 */
export class TextBridgeDrafter implements Drafter {
  readonly vocab: number;
  readonly #target: Tokenizer;
  readonly #tokenizer: Tokenizer;
  readonly #session: DraftSession;
  readonly #committed: number[] = [];
  #text = new Utf8Text();
  /** Where in the text the last special token stood. */
  #segment = 0;
  /** The draft model's tokens of the text, and where each ends in it, in bytes. */
  readonly #ids: number[] = [];
  readonly #ends: number[] = [];
  /** Bytes of text that `#ids` spell. */
  #spelled = 0;

  constructor(target: Tokenizer, model: TextModel, options: TextBridgeOptions) {
    const { vocab, capacity, signal, lease } = options;
    this.vocab = expectVocab(vocab);
    this.#target = target;
    this.#tokenizer = model.tokenizer;
    const room = Math.min(model.contextLength, capacity * MAX_RATIO);
    this.#session = new DraftSession(model.open({ capacity: room, lease }), signal);
  }

  get length(): number {
    return this.#committed.length;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) {
      this.#committed.push(tokens[i]);
      const bytes = this.#bytesOf(tokens[i]);
      if (bytes.length === 0) this.#segment = this.#text.length + this.#text.pending.length;
      this.#text.append(bytes);
    }
  }

  truncate(length: number): void {
    expectInteger("length", length, 0, this.length);
    const kept = this.#committed.slice(0, length);
    this.#committed.length = 0;
    this.#text = new Utf8Text();
    this.#segment = 0;
    this.#forget(0);
    this.append(kept);
  }

  /** Reads what was appended, so that the first draft does not take the time that the prompt does. */
  async prepare(): Promise<void> {
    if (this.#tokenize()) await this.#session.follow(this.#ids);
  }

  async draft(gamma: number): Promise<Draft> {
    if (expectGamma(gamma) === 0 || !this.#tokenize()) return chain([], 0);
    const bytes = await this.#draftText(gamma);
    return { tokens: this.#align(bytes, gamma), law: "one-hot" };
  }

  close(): void {
    this.#session.close();
  }

  /** Rows that only pad the embedding have no token, hence no text. */
  #bytesOf(token: number): Uint8Array {
    return token < this.#target.vocab ? this.#target.bytes(token) : new Uint8Array();
  }

  /** What the draft model says comes after the whole characters of the text. */
  async #draftText(gamma: number): Promise<Uint8Array> {
    const tokenizer = this.#tokenizer;
    const room = this.#session.capacity - this.#ids.length;
    const wanted = this.#bytesWanted(gamma);
    let rows = await this.#session.follow(this.#ids);
    let bytes: Uint8Array = new Uint8Array();
    for (let count = 0; count < gamma * MAX_RATIO && bytes.length < wanted; count++) {
      const token = rows.argmax(0);
      // The text ends there, or it goes on with something that has no text.
      if (token < 0 || token >= tokenizer.vocab || tokenizer.bytes(token).length === 0) break;
      bytes = joined(bytes, tokenizer.bytes(token));
      if (count === room) break;
      if (bytes.length < wanted) rows = await this.#session.step(token);
    }
    return bytes;
  }

  /** Bytes that `gamma` target tokens are likely to take, with one more as the last may be cut short. */
  #bytesWanted(gamma: number): number {
    const recent = this.#committed.slice(-RECENT);
    const bytes = recent.reduce((sum, token) => sum + this.#bytesOf(token).length, 0);
    return Math.ceil((gamma + 1) * Math.max(1, bytes / recent.length)) + this.#text.pending.length;
  }

  /** Target tokens of drafted bytes; none if they do not go on with a character that was begun. */
  #align(bytes: Uint8Array, gamma: number): number[] {
    const { pending } = this.#text;
    if (pending.some((byte, i) => bytes[i] !== byte)) return [];
    const whole = bytes.subarray(0, bytes.length - unfinishedBytes(bytes));
    const drafted = new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole);
    // No text that a target could emit as such.
    if (drafted.includes("\ufffd")) return [];
    const behind = this.#text.from(Math.max(this.#segment, this.#text.length - BEHIND)).text;
    const tokens = continuation(this.#target, behind, drafted, pending.length) ?? [];
    return tokens.slice(0, gamma);
  }

  /**
   * Brings the draft model's tokens up to date with the text. The last ones are written anew with what follows, from the
   * first boundary on that the old and the new writing share; where there is none, all are.
   *
   * @returns Whether there are any, and room for them.
   */
  #tokenize(): boolean {
    const { length } = this.#text;
    if (length > MAX_TEXT || this.#committed.length === 0) return false;
    if (this.#spelled !== length || this.#ids.length === 0) {
      if (!this.#tokenizeEnd()) this.#tokenizeAll();
      this.#spelled = length;
    }
    return this.#ids.length > 0 && this.#ids.length <= this.#session.capacity;
  }

  #tokenizeEnd(): boolean {
    const oldest = this.#spelled - WINDOW;
    const first = this.#ends.findLastIndex((end) => end <= oldest);
    if (first < 0) return false;
    const { text, start } = this.#text.from(this.#ends[first] - BEHIND);
    const spelled = spell(this.#tokenizer, text);
    if (spelled === null) return false;
    for (let index = first; index < this.#ids.length; index++) {
      const at = spelled.ends.lastIndexOf(this.#ends[index] - start);
      if (at < 0) continue;
      this.#forget(index + 1);
      for (let i = at + 1; i < spelled.tokens.length; i++) {
        this.#ids.push(spelled.tokens[i]);
        this.#ends.push(start + spelled.ends[i]);
      }
      return true;
    }
    return false;
  }

  #tokenizeAll(): void {
    const { text } = this.#text.from(0);
    this.#forget(0);
    // With its BOS, if it has one.
    for (const token of this.#tokenizer.encode(text)) this.#ids.push(token);
    const spelled = spell(this.#tokenizer, text);
    if (spelled === null) return;
    const added = this.#ids.length - spelled.tokens.length;
    for (const i of this.#ids.keys()) this.#ends.push(i < added ? 0 : spelled.ends[i - added]);
  }

  #forget(count: number): void {
    this.#ids.length = Math.min(this.#ids.length, count);
    this.#ends.length = Math.min(this.#ends.length, count);
    this.#session.forget(this.#ids.length);
  }
}
