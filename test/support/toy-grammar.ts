import type { Constraint } from "../../src/decoding/constraint.ts";

/**
 * A grammar that is as awkward as a real one and needs no parser: what may follow depends on the last token and on how
 * many there were. Every fourth place allows one token only.
 */
export class ToyGrammar implements Constraint {
  readonly vocab: number;
  readonly #seed: number;
  readonly #tokens: number[] = [];

  constructor(vocab: number, seed: number) {
    this.vocab = vocab;
    this.#seed = seed;
  }

  mask(): Uint32Array {
    const words = new Uint32Array(Math.ceil(this.vocab / 32));
    const only = this.onlyToken();
    if (only !== null) {
      words[only >>> 5] = 1 << (only & 31);
      return words;
    }
    for (let id = 0; id < this.vocab; id++) if (this.#mixed(id) % 3 !== 0) words[id >>> 5] |= 1 << (id & 31);
    return words;
  }

  accept(token: number): void {
    if ((this.mask()[token >>> 5] & (1 << (token & 31))) === 0) {
      throw new RangeError(`Token ${token} is not allowed here`);
    }
    this.#tokens.push(token);
  }

  rollback(count: number): void {
    this.#tokens.length -= count;
  }

  onlyToken(): number | null {
    return this.#tokens.length % 4 === 3 ? this.#mixed(7) % this.vocab : null;
  }

  #mixed(id: number): number {
    const last = this.#tokens.at(-1) ?? 0;
    return Math.imul(Math.imul(id + 1, 0x9e3779b1) ^ (last + this.#seed), 0x85ebca6b) >>> 8;
  }
}
