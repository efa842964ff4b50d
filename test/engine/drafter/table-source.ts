/** A source whose rows are a function of the tokens before, given by a table: a model small enough to enumerate. */
import type { Rows, Session, Source } from "../../../src/engine/source.ts";
import { createRandom, seedOf } from "../../support/random.ts";

/** Logits after a sequence of tokens. */
export type LogitsAfter = (tokens: readonly number[]) => Float32Array;

/** Random logits that depend on the last `order` tokens. */
export function randomLogits(vocab: number, seed: number, order = 2, spread = 2): LogitsAfter {
  const known = new Map<string, Float32Array>();
  return (tokens) => {
    const key = tokens.slice(-order).join(" ");
    let logits = known.get(key);
    if (logits === undefined) {
      const random = createRandom(seedOf(seed, key));
      logits = Float32Array.from({ length: vocab }, () => spread * random.normal());
      known.set(key, logits);
    }
    return logits;
  };
}

export class TableSource implements Source {
  readonly vocab: number;
  readonly contextLength: number;
  readonly logits: LogitsAfter;
  readonly sessions: TableSession[] = [];

  constructor(vocab: number, logits: LogitsAfter, contextLength = 256) {
    this.vocab = vocab;
    this.logits = logits;
    this.contextLength = contextLength;
  }

  open({ capacity = this.contextLength } = {}): TableSession {
    const session = new TableSession(this, capacity);
    this.sessions.push(session);
    return session;
  }
}

/** Keeps the contract of engine/source.ts to the letter, so that a drafter that does not is found out. */
export class TableSession implements Session {
  readonly capacity: number;
  readonly #source: TableSource;
  readonly #tokens: number[] = [];
  /** The last call; its nodes lie behind the tokens for as long as it is a tree. */
  #last: { base: number; parents: readonly number[]; tokens: readonly number[]; isTree: boolean } | null =
    null;
  #calls = 0;
  closed = false;
  /** Tokens computed on so far, and in how many calls. */
  computed = 0;
  calls = 0;

  constructor(source: TableSource, capacity: number) {
    this.#source = source;
    this.capacity = capacity;
  }

  get length(): number {
    return this.#tokens.length + (this.#last?.isTree ? this.#last.tokens.length : 0);
  }

  async forward(
    tokens: ArrayLike<number>,
    rows = Math.min(1, tokens.length),
    parents?: ArrayLike<number>,
  ): Promise<Rows> {
    if (this.closed) throw new RangeError("closed");
    if (this.#last?.isTree) throw new RangeError("holds a tree");
    if (this.length + tokens.length > this.capacity) throw new RangeError("beyond capacity");
    if (rows > tokens.length) throw new RangeError("rows");
    const list = Array.from(tokens);
    for (const token of list) {
      if (!(Number.isInteger(token) && token >= 0 && token < this.#source.vocab))
        throw new RangeError("token");
    }
    const links = parents === undefined ? list.map((_, i) => i - 1) : Array.from(parents);
    if (links.length !== list.length || links.some((parent, i) => !(parent >= -1 && parent < i))) {
      throw new RangeError("parents");
    }
    const base = [...this.#tokens];
    const pathOf = (node: number): number[] => (node < 0 ? base : [...pathOf(links[node]), list[node]]);
    const values = list.map((_, node) => this.#source.logits(pathOf(node))).slice(list.length - rows);
    const isTree = links.some((parent, i) => parent !== i - 1);
    if (!isTree) this.#tokens.push(...list);
    this.#last = { base: base.length, parents: links, tokens: list, isTree };
    this.computed += list.length;
    this.calls++;
    const call = ++this.#calls;
    const row = (index: number): Float32Array => {
      if (call !== this.#calls) throw new TypeError("rows are gone");
      if (!(index >= 0 && index < rows)) throw new RangeError("index");
      return values[index].slice();
    };
    return {
      count: rows,
      vocab: this.#source.vocab,
      row,
      argmax: (index) => row(index).reduce((best, value, id, all) => (value > all[best] ? id : best), 0),
      top: (index, count) => {
        const all = row(index);
        const ids = [...all.keys()].sort((a, b) => all[b] - all[a] || a - b).slice(0, count);
        return { ids: Uint32Array.from(ids), logits: Float32Array.from(ids, (id) => all[id]) };
      },
      logSumExp: () => Number.NaN,
    };
  }

  truncate(length: number, path: ArrayLike<number> = []): void {
    const nodes = Array.from(path);
    const last = this.#last;
    if (!(length >= 0 && length <= (last?.isTree ? last.base : this.#tokens.length)))
      throw new RangeError("length");
    if (nodes.length > 0 && (last === null || length < last.base)) throw new RangeError("path");
    nodes.forEach((node, i) => {
      const parent = i === 0 ? length - last!.base - 1 : nodes[i - 1];
      if (last!.parents[node] !== parent) throw new RangeError("path");
    });
    this.#tokens.length = length;
    for (const node of nodes) this.#tokens.push(last!.tokens[node]);
    this.#last = null;
  }

  fork(): Session {
    throw new Error("not needed");
  }

  close(): void {
    this.closed = true;
  }
}
