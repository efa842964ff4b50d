/**
 * The loop of both kinds of BPE: of all neighbours that may join, the best join, until none may.
 *
 * n log n in the length of the text, and some 60 bytes a character in typed arrays, whatever the text.
 */

/**
 * @param score How early two neighbours join, the higher the earlier and the leftmost of equals; undefined: never.
 *   `left` and `right` are symbols of `symbols`, which follow one another.
 * @returns What the characters of `text` join to, in order.
 */
export function mergeSymbols(
  text: string,
  score: (symbols: Symbols, left: number, right: number) => number | undefined,
): Iterable<string> {
  const symbols = new Symbols(text);
  // At first one pair a neighbourhood, and a merge takes one out and puts at most two in.
  const queue = new PairQueue(2 * symbols.count);
  const propose = (left: number, right: number): void => {
    if (left === -1 || right === -1) return;
    const value = score(symbols, left, right);
    if (value !== undefined)
      queue.push(value, { left, right, size: symbols.size(left) + symbols.size(right) });
  };
  for (let right = 1; right < symbols.count; right++) propose(right - 1, right);
  for (let pair = queue.pop(); pair; pair = queue.pop()) {
    const { left, right, size } = pair;
    const isStale = symbols.next(left) !== right || symbols.size(left) + symbols.size(right) !== size;
    if (isStale) continue;
    symbols.join(left, right);
    propose(symbols.previous(left), left);
    propose(left, symbols.next(left));
  }
  return symbols.texts();
}

/** A text as a chain of symbols, at first one per character; joining two keeps the left one's number. */
export class Symbols {
  readonly count: number;
  readonly #text: string;
  readonly #start: Int32Array;
  /** UTF-16 units; 0 once the symbol is part of another. */
  readonly #size: Int32Array;
  readonly #previous: Int32Array;
  readonly #next: Int32Array;

  constructor(text: string) {
    this.#text = text;
    const starts = new Int32Array(text.length);
    let count = 0;
    for (let at = 0; at < text.length; at += text.codePointAt(at)! > 0xffff ? 2 : 1) starts[count++] = at;
    this.count = count;
    this.#start = starts;
    this.#size = Int32Array.from({ length: count }, (_, i) => (starts[i + 1] || text.length) - starts[i]);
    this.#previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    this.#next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
  }

  size(symbol: number): number {
    return this.#size[symbol];
  }

  /** The symbol before, or -1. */
  previous(symbol: number): number {
    return this.#previous[symbol];
  }

  /** The symbol after, or -1. */
  next(symbol: number): number {
    return this.#next[symbol];
  }

  /** `size` units of text from the symbol's first on. */
  text(symbol: number, size = this.#size[symbol]): string {
    const start = this.#start[symbol];
    return this.#text.slice(start, start + size);
  }

  join(left: number, right: number): void {
    const after = this.#next[right];
    this.#size[left] += this.#size[right];
    this.#size[right] = 0;
    this.#next[left] = after;
    this.#next[right] = -1;
    if (after !== -1) this.#previous[after] = left;
  }

  *texts(): Generator<string> {
    for (let symbol = this.count > 0 ? 0 : -1; symbol !== -1; symbol = this.#next[symbol])
      yield this.text(symbol);
  }
}

/** Two neighbours that may join, and the size they had together when that was found. */
interface Pair {
  readonly left: number;
  readonly right: number;
  readonly size: number;
}

/** A binary heap of pairs: highest score first, of equal scores the leftmost. */
class PairQueue {
  readonly #score: Float64Array;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #size: Int32Array;
  #length = 0;

  /** @param capacity most pairs held at once. */
  constructor(capacity: number) {
    this.#score = new Float64Array(capacity);
    this.#left = new Int32Array(capacity);
    this.#right = new Int32Array(capacity);
    this.#size = new Int32Array(capacity);
  }

  push(score: number, { left, right, size }: Pair): void {
    let at = this.#length++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(score, left, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#score[at] = score;
    this.#left[at] = left;
    this.#right[at] = right;
    this.#size[at] = size;
  }

  pop(): Pair | undefined {
    if (this.#length === 0) return undefined;
    const top = { left: this.#left[0], right: this.#right[0], size: this.#size[0] };
    const last = --this.#length;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#isBefore(this.#score[child + 1], this.#left[child + 1], child)) child++;
      if (!this.#isBefore(this.#score[child], this.#left[child], last)) break;
      this.#move(child, at);
      at = child;
    }
    this.#move(last, at);
    return top;
  }

  #isBefore(score: number, left: number, other: number): boolean {
    const otherScore = this.#score[other];
    return score > otherScore || (score === otherScore && left < this.#left[other]);
  }

  #move(from: number, to: number): void {
    this.#score[to] = this.#score[from];
    this.#left[to] = this.#left[from];
    this.#right[to] = this.#right[from];
    this.#size[to] = this.#size[from];
  }
}
