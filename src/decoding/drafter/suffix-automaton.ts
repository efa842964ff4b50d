/**
 * suffix-automaton: every substring of a growing token sequence, and where each one first ended.
 *
 * A state stands for the substrings that end at the same positions; `link` leads to the longest suffix that also ends
 * elsewhere. So the longest suffix of the sequence that occurred before is the state that the last one links to, and
 * is known after each push without a search.
 *
 * Source  Blumer et al. 1985, "The smallest automaton recognizing the subwords of a text"; for drafting: Hu et al. 2024,
 *         "SAM Decoding", arXiv:2411.10666.
 * Cost    push: O(1) amortised. pop: what the push cost, so pushing and popping one token again and again may cost O(n)
 *         each time.
 * Memory  12 bytes per token, at most 2n states of 20 bytes and n further edges of 21 … 27. Of ordinary text about
 *         60 bytes per token, up to half of them more where tables have just grown.
 *
 * A state's first edge takes 4 bytes: a substring that first ended at e first went on with token e + 1, so only the
 * target is stored. Further edges (at most n − 1 in all) are in a hash table and, per state, in a list.
 */
import { PairTable } from "./pair-table.ts";
import { grown, type TokenIndex } from "./window.ts";

const NONE = -1;
/** The empty string, which ended before the first token. */
export const ROOT = 0;
const FIRST_SIZE = 512;

export class SuffixAutomaton implements TokenIndex {
  length = 0;
  /** Links followed and edges copied by push and pop since the beginning. */
  #walked = 0;

  #tokens = new Int32Array(FIRST_SIZE);
  /** Per token: the state of the sequence up to it. */
  #stateAfter = new Int32Array(FIRST_SIZE);
  /** Per token: the state that its push had to split, or NONE. */
  #split = new Int32Array(FIRST_SIZE);

  #states = 1;
  /** Per state: length of its longest substring. */
  #longest = new Int32Array(FIRST_SIZE);
  #link = new Int32Array(FIRST_SIZE).fill(NONE);
  /** Per state: position at which its substrings first ended. */
  #firstEnd = new Int32Array(FIRST_SIZE).fill(NONE);
  /** Per state: where token `firstEnd + 1` leads. */
  #firstTarget = new Int32Array(FIRST_SIZE);
  /** Per state: the latest of its further edges, or NONE. */
  #edges = new Int32Array(FIRST_SIZE).fill(NONE);

  /** Further edges, numbered: (state, token), where they lead, and the next of the same state. */
  readonly #pairs = new PairTable();
  #target = new Int32Array(FIRST_SIZE);
  #nextEdge = new Int32Array(FIRST_SIZE);

  get bytes(): number {
    const perToken = this.#tokens.byteLength * 3;
    const perState = this.#longest.byteLength * 5;
    return perToken + perState + this.#pairs.bytes + this.#target.byteLength * 2;
  }

  get steps(): number {
    return this.#walked + this.#pairs.steps;
  }

  /** Length of the longest suffix that also occurs earlier; 0 if there is none. */
  get matchLength(): number {
    return this.length === 0 ? 0 : this.#longest[this.#link[this.#last]];
  }

  /** Position at which that suffix first ended; −1 if there is none. */
  get matchEnd(): number {
    return this.length === 0 ? NONE : this.#firstEnd[this.#link[this.#last]];
  }

  at(position: number): number {
    return this.#tokens[position];
  }

  /** Where `token` leads from a state, or −1: that substring followed by the token does not occur. */
  step(state: number, token: number): number {
    const after = this.#firstEnd[state] + 1;
    if (after < this.length && this.#tokens[after] === token) return this.#firstTarget[state];
    if (this.#edges[state] === NONE) return NONE;
    const edge = this.#pairs.find(state, token);
    return edge < 0 ? NONE : this.#target[edge];
  }

  /** The state of the longest shorter substring that ends wherever this one does and elsewhere; −1 for ROOT. */
  link(state: number): number {
    return this.#link[state];
  }

  longest(state: number): number {
    return this.#longest[state];
  }

  firstEnd(state: number): number {
    return this.#firstEnd[state];
  }

  push(token: number): void {
    const position = this.length;
    if (position === this.#tokens.length) this.#growTokens();
    const previous = this.#last;
    const current = this.#newState(position + 1, position);
    this.#tokens[position] = token;
    this.#stateAfter[position] = current;
    this.#split[position] = NONE;
    this.#firstTarget[previous] = current;

    let state = this.#link[previous];
    while (state !== NONE && this.step(state, token) === NONE) {
      this.#addEdge(state, token, current);
      state = this.#link[state];
      this.#walked++;
    }
    if (state === NONE) {
      this.#link[current] = ROOT;
    } else {
      const target = this.step(state, token);
      const exact = this.#longest[target] === this.#longest[state] + 1;
      this.#link[current] = exact ? target : this.#splitState(target, state, token, position);
    }
    this.length = position + 1;
  }

  pop(): void {
    const position = this.length - 1;
    const current = this.#stateAfter[position];
    const split = this.#split[position];
    const clone = split === NONE ? NONE : current + 1;
    while (this.#pairs.count > 0) {
      const edge = this.#pairs.count - 1;
      if (this.#target[edge] !== current && this.#pairs.first(edge) !== clone) break;
      this.#removeLastEdge();
      this.#walked++;
    }
    this.length = position;
    if (split !== NONE) {
      this.#redirect(this.#link[this.#last], this.#tokens[position], clone, split);
      this.#link[split] = this.#link[clone];
    }
    this.#states -= split === NONE ? 1 : 2;
  }

  clear(): void {
    this.length = 0;
    this.#states = 1;
    this.#edges[ROOT] = NONE;
    this.#pairs.clear();
  }

  get #last(): number {
    return this.length === 0 ? ROOT : this.#stateAfter[this.length - 1];
  }

  /**
   * `target` holds substrings longer than `state` + token, which from now on ends at `position` too while they do not:
   * it and what is shorter get a state of their own.
   */
  #splitState(target: number, state: number, token: number, position: number): number {
    const clone = this.#newState(this.#longest[state] + 1, this.#firstEnd[target]);
    this.#firstTarget[clone] = this.#firstTarget[target];
    this.#link[clone] = this.#link[target];
    for (let edge = this.#edges[target]; edge !== NONE; edge = this.#nextEdge[edge]) {
      this.#addEdge(clone, this.#pairs.second(edge), this.#target[edge]);
      this.#walked++;
    }
    this.#redirect(state, token, target, clone);
    this.#link[target] = clone;
    this.#split[position] = target;
    return clone;
  }

  /** Along the links from `state`: edges by `token` that lead to `from` lead to `to`. They are neighbours on the way. */
  #redirect(state: number, token: number, from: number, to: number): void {
    let at = state;
    while (at !== NONE && this.step(at, token) !== from) {
      at = this.#link[at];
      this.#walked++;
    }
    while (at !== NONE && this.step(at, token) === from) {
      if (this.#tokens[this.#firstEnd[at] + 1] === token) this.#firstTarget[at] = to;
      else this.#target[this.#pairs.find(at, token)] = to;
      at = this.#link[at];
      this.#walked++;
    }
  }

  #newState(longest: number, firstEnd: number): number {
    if (this.#states === this.#longest.length) this.#growStates();
    const state = this.#states++;
    this.#longest[state] = longest;
    this.#firstEnd[state] = firstEnd;
    this.#edges[state] = NONE;
    return state;
  }

  #addEdge(state: number, token: number, target: number): void {
    const edge = this.#pairs.add(state, token);
    if (edge === this.#target.length) this.#growEdges();
    this.#target[edge] = target;
    this.#nextEdge[edge] = this.#edges[state];
    this.#edges[state] = edge;
  }

  #removeLastEdge(): void {
    const edge = this.#pairs.count - 1;
    this.#edges[this.#pairs.first(edge)] = this.#nextEdge[edge];
    this.#pairs.pop();
  }

  #growTokens(): void {
    this.#tokens = grown(this.#tokens);
    this.#stateAfter = grown(this.#stateAfter);
    this.#split = grown(this.#split);
  }

  #growStates(): void {
    this.#longest = grown(this.#longest);
    this.#link = grown(this.#link);
    this.#firstEnd = grown(this.#firstEnd);
    this.#firstTarget = grown(this.#firstTarget);
    this.#edges = grown(this.#edges);
  }

  #growEdges(): void {
    this.#target = grown(this.#target);
    this.#nextEdge = grown(this.#nextEdge);
  }
}
