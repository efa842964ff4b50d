/**
 * ngram-counts: how often each token followed each n-gram, for all n up to an order.
 *
 * A trie read from the n-gram's first token to the token that follows it: the count of a node is how often the tokens
 * on its path occurred in a row. Node 0 is the empty n-gram; the others are the pairs (parent, token) plus one.
 *
 * Cost    push, pop: order + 1 look-ups, and order² / 2 more after a pop.
 * Memory  at most order + 1 nodes per token, of 25 … 31 bytes.
 */
import { expectInteger } from "../../errors.ts";
import { expectTokens, expectVocab } from "./drafter.ts";
import { PairTable } from "./pair-table.ts";
import { grown, type TokenIndex, TokenList } from "./window.ts";

const NONE = -1;
const EMPTY = 0;
const FIRST_SIZE = 64;

/** llama.cpp's LLAMA_NGRAM_MAX. */
export const MAX_ORDER = 4;

/** Tokens that followed an n-gram, and how often. */
export interface Successors {
  readonly tokens: readonly number[];
  readonly counts: readonly number[];
}

export interface NgramCountsOptions {
  /** Largest n, default 4. */
  readonly order?: number;
  /** Nodes to hold at most, default 1,048,576. When full, new n-grams are not added; known ones go on counting. */
  readonly maxNodes?: number;
}

export class NgramCounts implements TokenIndex {
  readonly order: number;
  readonly #maxNodes: number;
  readonly #tokens = new TokenList();
  readonly #pairs = new PairTable();
  #count = new Int32Array(FIRST_SIZE);
  #firstChild = new Int32Array(FIRST_SIZE).fill(NONE);
  #nextSibling = new Int32Array(FIRST_SIZE);
  /** [k]: node of the last k tokens; NONE where they are not held. */
  readonly #suffixes: number[];

  constructor({ order = MAX_ORDER, maxNodes = 1 << 20 }: NgramCountsOptions = {}) {
    this.order = expectInteger("order", order, 1, MAX_ORDER);
    this.#maxNodes = expectInteger("maxNodes", maxNodes, 1, 1 << 26);
    this.#suffixes = [EMPTY, ...Array<number>(order + 1).fill(NONE)];
  }

  /** Counts of a text, for a cache that outlives requests. */
  static from(tokens: ArrayLike<number>, vocab: number, options?: NgramCountsOptions): NgramCounts {
    expectTokens("tokens", tokens, expectVocab(vocab));
    const counts = new NgramCounts(options);
    for (let i = 0; i < tokens.length; i++) counts.push(tokens[i]);
    return counts;
  }

  get length(): number {
    return this.#tokens.length;
  }

  /** Different n-grams held, the longer ones that end in a successor included. */
  get nodes(): number {
    return this.#pairs.count;
  }

  get bytes(): number {
    return this.#tokens.bytes + this.#pairs.bytes + this.#count.byteLength * 3;
  }

  at(position: number): number {
    return this.#tokens.at(position);
  }

  push(token: number): void {
    this.#tokens.push(token);
    // Downwards, as the node of the last k − 1 tokens before this one is still in its place.
    for (let k = this.order + 1; k >= 1; k--) {
      const parent = this.#suffixes[k - 1];
      this.#suffixes[k] = parent === NONE ? NONE : this.#add(parent, token, 1);
    }
  }

  /** Only what `push` counted can be taken back, not what was merged after it. */
  pop(): void {
    for (let k = 1; k <= this.order + 1; k++) {
      if (this.#suffixes[k] !== NONE) this.#count[this.#suffixes[k]]--;
    }
    while (this.nodes > 0 && this.#count[this.nodes] === 0) this.#removeLastNode();
    this.#tokens.pop();
    for (let k = 1; k <= this.order + 1; k++) this.#suffixes[k] = this.#suffixNode(k);
  }

  clear(): void {
    this.#tokens.clear();
    this.#pairs.clear();
    this.#firstChild[EMPTY] = NONE;
    this.#suffixes.fill(NONE, 1);
  }

  /** Adds the counts of `other`, as at the end of a request to what is kept of all requests. */
  merge(other: NgramCounts): void {
    const nodes = [EMPTY];
    for (let pair = 0; pair < other.nodes; pair++) {
      const parent = nodes[other.#pairs.first(pair)];
      nodes.push(
        parent === NONE ? NONE : this.#add(parent, other.#pairs.second(pair), other.#count[pair + 1]),
      );
    }
  }

  /**
   * What followed the n-gram, latest first.
   *
   * @param limit An n-gram with more different successors gives none: listing them all has no bound.
   */
  successors(ngram: readonly number[], limit: number): Successors {
    const tokens: number[] = [];
    const counts: number[] = [];
    const node = this.#find(ngram);
    let child = node === NONE ? NONE : this.#firstChild[node];
    for (; child !== NONE; child = this.#nextSibling[child]) {
      if (tokens.length === limit) return { tokens: [], counts: [] };
      tokens.push(this.#pairs.second(child - 1));
      counts.push(this.#count[child]);
    }
    return { tokens, counts };
  }

  /** How often the tokens occurred in a row. */
  countOf(ngram: readonly number[]): number {
    const node = this.#find(ngram);
    return node <= EMPTY ? 0 : this.#count[node];
  }

  #find(ngram: readonly number[]): number {
    let node = EMPTY;
    for (let i = 0; i < ngram.length && node !== NONE; i++) node = this.#child(node, ngram[i]);
    return node;
  }

  #child(node: number, token: number): number {
    const pair = this.#pairs.find(node, token);
    return pair < 0 ? NONE : pair + 1;
  }

  #suffixNode(k: number): number {
    if (k > this.length) return NONE;
    let node = EMPTY;
    for (let i = k; i >= 1 && node !== NONE; i--) node = this.#child(node, this.#tokens.at(this.length - i));
    return node;
  }

  #add(parent: number, token: number, count: number): number {
    const known = this.#child(parent, token);
    if (known !== NONE) {
      this.#count[known] += count;
      return known;
    }
    if (this.nodes === this.#maxNodes) return NONE;
    const node = this.#pairs.add(parent, token) + 1;
    if (node === this.#count.length) this.#grow();
    this.#count[node] = count;
    this.#firstChild[node] = NONE;
    this.#nextSibling[node] = this.#firstChild[parent];
    this.#firstChild[parent] = node;
    return node;
  }

  #removeLastNode(): void {
    const node = this.nodes;
    this.#firstChild[this.#pairs.first(node - 1)] = this.#nextSibling[node];
    this.#pairs.pop();
  }

  #grow(): void {
    this.#count = grown(this.#count);
    this.#firstChild = grown(this.#firstChild);
    this.#nextSibling = grown(this.#nextSibling);
  }
}
