/**
 * window: the most recent tokens of a sequence, indexed, in bounded memory.
 *
 * When the index holds `capacity` tokens it is built anew from the later half of them. So each token is indexed at
 * most twice on the way (O(1) amortised), the last capacity/2 tokens are always known, and what is older is forgotten:
 * a draft that could have been copied from there is lost, nothing else.
 */
import { expectInteger } from "../../errors.ts";
import { expectTokens, expectVocab } from "./drafter.ts";

/** A data structure over a token sequence that grows and shrinks at its end. */
export interface TokenIndex {
  /** Tokens held. */
  readonly length: number;
  /** Memory of its tables. */
  readonly bytes: number;
  /** Token `position`, counted from the first one held. */
  at(position: number): number;
  push(token: number): void;
  /** Undoes the last `push`: afterwards it is as if that token had never been pushed. */
  pop(): void;
  clear(): void;
}

export interface WindowOptions {
  /** Vocabulary of the target model. */
  readonly vocab: number;
  /** Tokens to hold at most, default 32,768. */
  readonly capacity?: number;
}

const DEFAULT_CAPACITY = 32_768;
/** 2^24 tokens take about 1 GiB in the largest index; beyond, 32-bit offsets into its tables would run out. */
const MAX_CAPACITY = 1 << 24;

export class TokenWindow<Index extends TokenIndex> {
  readonly index: Index;
  readonly vocab: number;
  readonly capacity: number;
  /** Position of the first token that is still held. */
  #start = 0;

  constructor(index: Index, { vocab, capacity = DEFAULT_CAPACITY }: WindowOptions) {
    this.index = index;
    this.vocab = expectVocab(vocab);
    this.capacity = expectInteger("capacity", capacity, 2, MAX_CAPACITY);
  }

  get start(): number {
    return this.#start;
  }

  /** Position of the next token, those forgotten counted. */
  get length(): number {
    return this.#start + this.index.length;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) {
      if (this.index.length === this.capacity) this.#forgetOlderHalf();
      this.index.push(tokens[i]);
    }
  }

  /** Before `start` there is nothing to go back to: the window is empty then, and goes on from `length`. */
  truncate(length: number): void {
    expectInteger("length", length, 0, this.length);
    if (length <= this.#start) {
      this.index.clear();
      this.#start = length;
    }
    while (this.length > length) this.index.pop();
  }

  #forgetOlderHalf(): void {
    const { index } = this;
    const from = index.length - (this.capacity >> 1);
    const kept = Int32Array.from({ length: index.length - from }, (_, i) => index.at(from + i));
    index.clear();
    for (const token of kept) index.push(token);
    this.#start += from;
  }
}

/** An index that only remembers. */
export class TokenList implements TokenIndex {
  #tokens = new Int32Array(64);
  length = 0;

  get bytes(): number {
    return this.#tokens.byteLength;
  }

  at(position: number): number {
    return this.#tokens[position];
  }

  push(token: number): void {
    if (this.length === this.#tokens.length) this.#tokens = grown(this.#tokens);
    this.#tokens[this.length++] = token;
  }

  pop(): void {
    this.length--;
  }

  clear(): void {
    this.length = 0;
  }
}

/** Half as long again, with the same beginning. */
export function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.ceil(array.length * 1.5));
  larger.set(array);
  return larger;
}

/**
 * Copies `count` tokens from position `from` on. Past the end it goes on with its own first tokens, so a text that
 * repeats is continued for as long as is asked.
 */
export function copyOnwards(index: TokenIndex, from: number, count: number): number[] {
  const copy: number[] = [];
  for (let i = 0; i < count; i++) {
    const position = from + i;
    copy.push(position < index.length ? index.at(position) : copy[position - index.length]);
  }
  return copy;
}
