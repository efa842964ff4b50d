/** codebook-members: the tokens of each code, and a queue that takes the best of many sorted lists. */
import { MOST_CODES, SCORE_RANGE, snapped } from "../../backend/head-kernels.ts";
import { expectInteger, expectNumber } from "../../errors.ts";

export interface Members {
  /** (V) tokens by code, then highest bias first, then lowest id. */
  readonly tokens: Uint32Array;
  /** (V) their biases in the same order. */
  readonly biases: Float64Array;
  /** (K + 1) where a code's members begin. */
  readonly starts: Uint32Array;
}

/** @throws {RangeError} If a code is not below `count`. */
export function readCodes(codes: ArrayLike<number>, count: number): Uint16Array {
  expectInteger("codes", count, 1, MOST_CODES);
  return Uint16Array.from(codes, (code, token) => expectInteger(`codes[${token}]`, code, 0, count - 1));
}

/** On the grid. @throws {RangeError} If a bias is not within ±SCORE_RANGE. */
export function readBias(bias: ArrayLike<number>, vocab: number): Float32Array {
  expectInteger("bias.length", bias.length, vocab, vocab);
  return Float32Array.from(bias, (value, token) =>
    snapped(expectNumber(`bias[${token}]`, value, -SCORE_RANGE, SCORE_RANGE)),
  );
}

export function membersOf(codeOf: Uint16Array, bias: Float32Array, count: number): Members {
  const starts = new Uint32Array(count + 1);
  for (let i = 0; i < codeOf.length; i++) starts[codeOf[i] + 1]++;
  for (let j = 0; j < count; j++) starts[j + 1] += starts[j];
  const next = starts.slice(0, count);
  const tokens = new Uint32Array(codeOf.length);
  for (let i = 0; i < codeOf.length; i++) tokens[next[codeOf[i]]++] = i;
  for (let j = 0; j < count; j++) {
    tokens.subarray(starts[j], starts[j + 1]).sort((a, b) => bias[b] - bias[a] || a - b);
  }
  return { tokens, biases: Float64Array.from(tokens, (token) => bias[token]), starts };
}

/** The best of many sorted lists: a heap, the largest logit first, of equal ones the lowest token. */
export class LogitQueue {
  /** Of the first of each list that is still to be taken. */
  readonly logits: Float64Array;
  readonly tokens: Uint32Array;
  /** Lists that are not at their end. */
  readonly #heap: Uint32Array;
  #size = 0;

  constructor(lists: number) {
    this.logits = new Float64Array(lists);
    this.tokens = new Uint32Array(lists);
    this.#heap = new Uint32Array(lists);
  }

  get size(): number {
    return this.#size;
  }

  /** The list with the best. */
  get best(): number {
    return this.#heap[0];
  }

  /** Takes a list in, before `settle`. */
  add(list: number, logit: number, token: number): void {
    this.logits[list] = logit;
    this.tokens[list] = token;
    this.#heap[this.#size++] = list;
  }

  /** Puts what was added in order. */
  settle(): void {
    for (let at = (this.#size >> 1) - 1; at >= 0; at--) this.#sink(at, this.#heap[at]);
  }

  /** Goes on to the next of the list with the best. */
  replace(logit: number, token: number): void {
    this.logits[this.best] = logit;
    this.tokens[this.best] = token;
    this.#sink(0, this.best);
  }

  /** The list with the best is at its end. */
  drop(): void {
    this.#size--;
    if (this.#size > 0) this.#sink(0, this.#heap[this.#size]);
  }

  #sink(at: number, list: number): void {
    const heap = this.#heap;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#isBefore(heap[child + 1], heap[child])) child++;
      if (!this.#isBefore(heap[child], list)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = list;
  }

  #isBefore(a: number, b: number): boolean {
    const { logits, tokens } = this;
    return logits[a] > logits[b] || (logits[a] === logits[b] && tokens[a] < tokens[b]);
  }
}
