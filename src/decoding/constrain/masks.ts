/**
 * masks: which tokens may follow a place.
 *
 * A token that ends inside the innermost rule can be told without what stands around it: that part of the mask is made
 * once per state (inside of a string it is nearly the whole vocabulary). Only what leaves the rule is looked at with its
 * surroundings. But for a few long tokens, a count only matters near its limits: far from them, masks are the same.
 *
 * Source of the idea: Dong et al. 2024, "XGrammar", arXiv:2411.15100, context-independent tokens.
 */
import type { Configuration, Machine, Place } from "./machine.ts";
import type { TokenTries } from "./token-trie.ts";

export interface Mask {
  readonly words: Uint32Array;
  /** The token that must follow; null if there are several, or none. */
  readonly only: number | null;
}

interface InnerMask {
  readonly words: Uint32Array;
  /** Nodes of the vocabulary behind which the innermost rule may be over. */
  readonly leaves: readonly number[];
}

/** Bytes of masks that are kept, of each kind. */
const MOST_BYTES = 1 << 20;
/** Configurations that may have to be worked out for one mask: some hundred milliseconds. */
const MOST_WORK = 500_000;
/** With more of them it is quicker to follow all at once. */
const FEW = 16;

export class Masks {
  readonly #machine: Machine;
  readonly #vocabulary: TokenTries;
  readonly #vocab: number;
  readonly #endTokens: readonly number[];
  readonly #masks: Kept<string, Mask>;
  /** Of short tokens: of configurations, and of these in their rule alone. */
  readonly #near: Kept<string, Uint32Array>;
  readonly #inner: Kept<string, InnerMask>;

  constructor(machine: Machine, vocabulary: TokenTries, vocab: number, endTokens: readonly number[]) {
    this.#machine = machine;
    this.#vocabulary = vocabulary;
    this.#vocab = vocab;
    this.#endTokens = endTokens;
    const most = Math.max(8, Math.floor(MOST_BYTES / this.#empty().byteLength));
    this.#masks = new Kept(most);
    this.#near = new Kept(most);
    this.#inner = new Kept(most);
  }

  /** @throws {RangeError} If it takes too much work. */
  of(place: Place): Mask {
    const { configurations, isEnd } = place;
    const key = `${isEnd}${configurations.map(({ state, stack }) => ` ${state}.${stack.kind}`).join("")}`;
    return this.#masks.get(key, () => {
      const { short, long } = this.#vocabulary;
      const machine = this.#machine;
      const words = this.#empty();
      const most = machine.worked + MOST_WORK;
      if (configurations.length > FEW) short.mark(machine, -1, place, words, () => this.#expectLittle(most));
      else for (const configuration of configurations) join(words, this.#nearMask(configuration, most));
      long.mark(machine, -1, place, words, () => this.#expectLittle(most));
      this.#expectLittle(most);
      if (isEnd) for (const token of this.#endTokens) words[token >>> 5] |= 1 << (token & 31);
      return { words, only: onlyBit(words) };
    });
  }

  #nearMask(configuration: Configuration, most: number): Uint32Array {
    const machine = this.#machine;
    const { short } = this.#vocabulary;
    const { state, stack } = configuration;
    return this.#near.get(`${state}.${stack.nearKind}`, () => {
      const inner = this.#inner.get(`${state}.${machine.within(stack).nearKind}`, () => {
        const words = this.#empty();
        const leaves: number[] = [];
        short.mark(machine, -1, machine.alone(configuration), words, (node) => leaves.push(node));
        return { words, leaves };
      });
      this.#expectLittle(most);
      const caller = machine.caller(stack);
      const outside = caller.parent === null ? null : machine.resume(caller);
      if (outside === null) return inner.words;
      const words = inner.words.slice();
      for (const node of inner.leaves) {
        short.mark(machine, node, outside, words);
        this.#expectLittle(most);
      }
      return words;
    });
  }

  #expectLittle(most: number): void {
    if (this.#machine.worked > most) {
      throw new RangeError("Cannot constrain the text: what it may be is too large to follow");
    }
  }

  #empty(): Uint32Array {
    return new Uint32Array(Math.ceil(this.#vocab / 32));
  }
}

function join(words: Uint32Array, more: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] |= more[i];
}

/** What was made last, up to a number of them. */
class Kept<K, V> {
  readonly #most: number;
  readonly #values = new Map<K, V>();

  constructor(most: number) {
    this.#most = most;
  }

  get(key: K, make: () => V): V {
    let value = this.#values.get(key);
    if (value === undefined) value = make();
    else this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size > this.#most) this.#values.delete(this.#values.keys().next().value!);
    return value;
  }
}

function onlyBit(words: Uint32Array): number | null {
  let found: number | null = null;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === 0) continue;
    if (found !== null || (word & (word - 1)) !== 0) return null;
    found = i * 32 + 31 - Math.clz32(word);
  }
  return found;
}
