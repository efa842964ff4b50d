/**
 * ngram-index: where in a sequence the n-gram at its end occurred first.
 *
 * One open-addressing table per order n, whose slots hold the position at which an n-gram's first occurrence ends; the
 * tokens themselves are compared in the sequence. A slot is taken by a push and freed by the pop that undoes it, last
 * in, first out, so no tombstones are needed.
 *
 * Cost    push, pop, find: at most MAX_PROBES slots per order, whatever the text.
 * Memory  at most 8 bytes per token, and 16 per token and order.
 */
import type { TokenIndex } from "./window.ts";

/**
 * At most half the slots are taken, where chains this long come about once in 100,000 look-ups. A text made to
 * collide must not make every look-up linear: an n-gram that finds no place is not indexed.
 */
const MAX_PROBES = 64;
const FREE = -1;
const FIRST_SIZE = 64;

export class NgramIndex implements TokenIndex {
  readonly minNgram: number;
  readonly maxNgram: number;
  length = 0;
  /** Slots looked at by push and pop since the beginning. */
  steps = 0;
  #tokens = new Int32Array(FIRST_SIZE);
  #slots: Int32Array<ArrayBuffer>[] = [];

  constructor(minNgram: number, maxNgram: number) {
    this.minNgram = minNgram;
    this.maxNgram = maxNgram;
    this.#resetSlots(FIRST_SIZE);
  }

  get bytes(): number {
    return this.#slots.reduce((sum, slots) => sum + slots.byteLength, this.#tokens.byteLength);
  }

  at(position: number): number {
    return this.#tokens[position];
  }

  /** End of the first occurrence of the last n tokens, or −1 where that is the end of the sequence itself. */
  find(n: number): number {
    const last = this.length - 1;
    if (n > this.length) return -1;
    const slots = this.#slots[n - this.minNgram];
    const slot = this.#probe(slots, n, last);
    return slot < 0 || slots[slot] === FREE || slots[slot] === last ? -1 : slots[slot];
  }

  push(token: number): void {
    if (this.length === this.#tokens.length) this.#grow();
    this.#tokens[this.length++] = token;
    this.#enter(this.length - 1);
  }

  pop(): void {
    const last = this.length - 1;
    for (let n = this.minNgram; n <= Math.min(this.maxNgram, this.length); n++) {
      const slots = this.#slots[n - this.minNgram];
      const slot = this.#counted(slots, n, last);
      if (slot >= 0 && slots[slot] === last) slots[slot] = FREE;
    }
    this.length = last;
  }

  clear(): void {
    this.length = 0;
    this.#resetSlots(this.#tokens.length);
  }

  #enter(end: number): void {
    for (let n = this.minNgram; n <= Math.min(this.maxNgram, end + 1); n++) {
      const slots = this.#slots[n - this.minNgram];
      const slot = this.#counted(slots, n, end);
      if (slot >= 0 && slots[slot] === FREE) slots[slot] = end;
    }
  }

  #counted(slots: Int32Array, n: number, end: number): number {
    return this.#probe(slots, n, end, true);
  }

  /** The slot of the n-gram that ends at `end`, or the free one where it belongs, or −1. */
  #probe(slots: Int32Array, n: number, end: number, count = false): number {
    const mask = slots.length - 1;
    const home = this.#hash(n, end);
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      if (count) this.steps++;
      const slot = (home + probe) & mask;
      if (slots[slot] === FREE || this.#equal(slots[slot], end, n)) return slot;
    }
    return -1;
  }

  #equal(end: number, other: number, n: number): boolean {
    for (let i = 0; i < n; i++) {
      if (this.#tokens[end - i] !== this.#tokens[other - i]) return false;
    }
    return true;
  }

  #hash(n: number, end: number): number {
    let hash = n;
    for (let i = 0; i < n; i++) {
      hash = Math.imul(hash ^ this.#tokens[end - i], 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  #resetSlots(tokens: number): void {
    const orders = this.maxNgram - this.minNgram + 1;
    this.#slots = Array.from({ length: orders }, () => new Int32Array(tokens * 2).fill(FREE));
  }

  /** Slots are a power of two, so all doubles. Entered again in the order of the text: the slots are as if they had been this many from the start. */
  #grow(): void {
    const tokens = this.#tokens;
    this.#tokens = new Int32Array(tokens.length * 2);
    this.#tokens.set(tokens);
    this.#resetSlots(this.#tokens.length);
    for (let end = 0; end < this.length; end++) this.#enter(end);
  }
}
