/**
 * token-trie: a vocabulary as a tree of bytes, flat: nodes in the order of a walk, children behind their parents. Tokens
 * that begin alike are looked at once.
 */
import type { Machine, Place } from "./machine.ts";

/** What is needed of a tokenizer. */
export interface SpelledVocabulary {
  /** Number of token ids. */
  readonly vocab: number;
  /** Tokens that end a text. */
  readonly endTokens: ReadonlySet<number>;
  /** The bytes a token stands for; none for control tokens. */
  bytes(token: number): Uint8Array;
}

/** Bytes of a short token. Vocabularies have few that are longer, but some of 100 bytes and more, as of blanks. */
const SHORT_TOKEN = 16;

/** A vocabulary in two: short tokens, and the others. */
export interface TokenTries {
  readonly short: TokenTrie;
  readonly long: TokenTrie;
}

/** A token, and its bytes as characters, which engines compare in one go. */
interface Word {
  readonly token: number;
  readonly text: string;
}

export function tokenTries(vocabulary: SpelledVocabulary): TokenTries {
  const words: Word[] = [];
  for (let token = 0; token < vocabulary.vocab; token++) {
    // An end token ends the text, whatever it spells; tokens of so many bytes do not exist.
    if (vocabulary.endTokens.has(token)) continue;
    const bytes = vocabulary.bytes(token);
    if (bytes.length > 0 && bytes.length < 2 ** 16)
      words.push({ token, text: String.fromCharCode(...bytes) });
  }
  words.sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.token - b.token));
  return {
    short: new TokenTrie(words.filter(({ text }) => text.length <= SHORT_TOKEN)),
    long: new TokenTrie(words.filter(({ text }) => text.length > SHORT_TOKEN)),
  };
}

export class TokenTrie {
  /** In bytes. */
  readonly longestToken: number;
  /** Per node: its last byte, bytes on the way to it, the next node that is no descendant. */
  readonly #byte: Uint8Array;
  readonly #depth: Uint16Array;
  readonly #skip: Uint32Array;
  /** Per node: its tokens begin here in `#tokens`, and end where the next node's begin. */
  readonly #first: Uint32Array;
  readonly #tokens: Uint32Array;

  /** @param words Sorted. */
  constructor(words: readonly Word[]) {
    let previous = "";
    const nodes = words.reduce((sum, { text }) => {
      const added = text.length - common(previous, text);
      previous = text;
      return sum + added;
    }, 0);
    this.longestToken = words.reduce((most, { text }) => Math.max(most, text.length), 0);
    this.#byte = new Uint8Array(nodes);
    this.#depth = new Uint16Array(nodes);
    this.#skip = new Uint32Array(nodes).fill(nodes);
    this.#first = new Uint32Array(nodes + 1).fill(words.length);
    this.#tokens = Uint32Array.from(words, ({ token }) => token);
    this.#fill(words);
  }

  #fill(words: readonly Word[]): void {
    const open: number[] = [];
    let previous = "";
    let node = 0;
    for (const [index, { text }] of words.entries()) {
      const shared = common(previous, text);
      for (const closed of open.splice(shared)) this.#skip[closed] = node;
      for (let depth = shared; depth < text.length; depth++) {
        this.#byte[node] = text.charCodeAt(depth);
        this.#depth[node] = depth + 1;
        // Nodes on the way have no token of their own: theirs begin where those of the next node do.
        this.#first[node] = index;
        open.push(node++);
      }
      previous = text;
    }
  }

  /**
   * Marks the tokens behind a node that lead from `place` to another.
   *
   * @param node −1: the whole vocabulary.
   * @param ends Told of every node at which the text may end.
   */
  mark(machine: Machine, node: number, place: Place, mask: Uint32Array, ends?: (node: number) => void): void {
    const base = node < 0 ? 0 : this.#depth[node];
    const end = node < 0 ? this.#byte.length : this.#skip[node];
    const places: Place[] = [place];
    for (let at = node + 1; at < end; ) {
      const depth = this.#depth[at] - base;
      const next = machine.step(places[depth - 1], this.#byte[at]);
      if (next === null) {
        at = this.#skip[at];
        continue;
      }
      places[depth] = next;
      const last = this.#first[at + 1];
      for (let i = this.#first[at]; i < last; i++) {
        mask[this.#tokens[i] >>> 5] |= 1 << (this.#tokens[i] & 31);
      }
      if (next.isEnd) ends?.(at);
      at++;
    }
  }
}

function common(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
