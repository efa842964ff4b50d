/**
 * constraint: what a grammar must offer to decoding, and the simplest grammar, a list of choices.
 *
 * Decoding with a draft asks what is allowed behind tokens that may never be emitted, so a grammar must go back as well as
 * forth. Engines that compile a schema (XGrammar's matcher, llguidance's) have these operations, and fit behind a few
 * lines. End-of-text tokens are tokens like others: allowed where the text may end, and accepted like any.
 */
import { expectInteger } from "../errors.ts";

export interface Constraint {
  /** Tokens are 0 … vocab − 1. */
  readonly vocab: number;
  /**
   * (⌈vocab / 32⌉) token id may follow if bit id mod 32 of word ⌊id / 32⌋ is 1; bits beyond the vocabulary mean nothing.
   * Not to be changed, and valid until the next call of anything here.
   */
  mask(): Uint32Array;
  /** @throws {RangeError} If the token may not follow; then nothing has changed. */
  accept(token: number): void;
  /** Takes back the last `count` accepted tokens. @throws {RangeError} If there were not that many. */
  rollback(count: number): void;
  /** The token that must follow; null if there are several, or none. May say null where that is hard to tell. */
  onlyToken(): number | null;
}

/** What may follow `path`; null if `path` may not follow. The constraint is left as it was, the mask is the caller's. */
export function maskAfter(constraint: Constraint, path: ArrayLike<number>): Uint32Array | null {
  return after(constraint, path, () => constraint.mask().slice());
}

/** The token that must follow `path`; null if there are several, or none, or `path` may not follow. */
export function onlyTokenAfter(constraint: Constraint, path: ArrayLike<number>): number | null {
  return after(constraint, path, () => constraint.onlyToken());
}

/** What `look` finds behind `path`; null if `path` may not follow. */
function after<T>(constraint: Constraint, path: ArrayLike<number>, look: () => T): T | null {
  let accepted = 0;
  try {
    for (; accepted < path.length; accepted++) constraint.accept(path[accepted]);
    return look();
  } catch (error) {
    if (accepted < path.length && error instanceof RangeError) return null;
    throw error;
  } finally {
    if (accepted > 0) constraint.rollback(accepted);
  }
}

export interface ChoiceOptions {
  readonly vocab: number;
  /** At least one; each a sequence of tokens, none of which is an end token. One may begin another. */
  readonly choices: readonly (readonly number[])[];
  /** At least one: what may follow a choice. */
  readonly endTokens: readonly number[];
}

/** Where the text stands: the choices that begin with it. */
interface TrieNode {
  readonly next: Map<number, TrieNode>;
  /** Whether it is a choice itself. */
  isChoice: boolean;
}

const ENDED: TrieNode = { next: new Map(), isChoice: false };

/**
 * The text is one of some token sequences, and then an end token; nothing follows that.
 *
 * vLLM calls it "guided choice". A text that tokenizes in several ways needs each, or has one way only.
 *
 * @example
 * ```ts
 * const yesOrNo = new ChoiceConstraint({ vocab: 100, choices: [[7], [8, 9]], endTokens: [2] });
 * yesOrNo.accept(8);
 * yesOrNo.onlyToken(); // 9
 * ```
 */
export class ChoiceConstraint implements Constraint {
  readonly vocab: number;
  readonly #endTokens: readonly number[];
  /** From the root of the trie to where the text stands. */
  readonly #path: TrieNode[];
  readonly #mask: Uint32Array;

  /** @throws {TypeError | RangeError} If there is no choice or no end token, or a token is not of the vocabulary. */
  constructor({ vocab, choices, endTokens }: ChoiceOptions) {
    this.vocab = expectInteger("vocab", vocab, 1, 2 ** 31 - 1);
    expectInteger("choices.length", choices.length, 1, Number.MAX_SAFE_INTEGER);
    expectInteger("endTokens.length", endTokens.length, 1, vocab);
    for (const [i, token] of endTokens.entries()) expectInteger(`endTokens[${i}]`, token, 0, vocab - 1);
    this.#endTokens = [...new Set(endTokens)];
    this.#path = [trieOf(choices, vocab, new Set(endTokens))];
    this.#mask = new Uint32Array(Math.ceil(vocab / 32));
  }

  mask(): Uint32Array {
    const { next, isChoice } = this.#node();
    const mask = this.#mask.fill(0);
    const allow = (token: number) => {
      mask[token >>> 5] |= 1 << (token & 31);
    };
    for (const token of next.keys()) allow(token);
    if (isChoice) this.#endTokens.forEach(allow);
    return mask;
  }

  accept(token: number): void {
    const { next, isChoice } = this.#node();
    const node = isChoice && this.#endTokens.includes(token) ? ENDED : next.get(token);
    if (node === undefined) throw new RangeError(`"token" must continue or end a choice, got ${token}`);
    this.#path.push(node);
  }

  rollback(count: number): void {
    this.#path.length -= expectInteger("count", count, 0, this.#path.length - 1);
  }

  onlyToken(): number | null {
    const { next, isChoice } = this.#node();
    if (next.size + (isChoice ? this.#endTokens.length : 0) !== 1) return null;
    return isChoice ? this.#endTokens[0] : [...next.keys()][0];
  }

  #node(): TrieNode {
    return this.#path[this.#path.length - 1];
  }
}

function trieOf(choices: ChoiceOptions["choices"], vocab: number, ends: ReadonlySet<number>): TrieNode {
  const root: TrieNode = { next: new Map(), isChoice: false };
  for (const [i, choice] of choices.entries()) {
    let node = root;
    for (const [at, token] of choice.entries()) {
      const name = `choices[${i}][${at}]`;
      expectInteger(name, token, 0, vocab - 1);
      if (ends.has(token)) throw new RangeError(`"${name}" must not be an end token, got ${token}`);
      let child = node.next.get(token);
      if (child === undefined) {
        child = { next: new Map(), isChoice: false };
        node.next.set(token, child);
      }
      node = child;
    }
    node.isChoice = true;
  }
  return root;
}
