/**
 * Numbers tokens in the order in which they are met: a hash table of ids, without anything as large as the vocabulary.
 *
 * Open addressing with at most half of the places taken; cleared in the time of its own size.
 */
export class TokenIndex {
  /** (count) tokens by number. */
  tokens = new Uint32Array(64);
  count = 0;
  /** Of each place the number of its token + 1; 0 is free. A power of two of them. */
  #places = new Uint32Array(256);

  clear(): void {
    if (this.count > 0) this.#places.fill(0);
    this.count = 0;
  }

  /** The number of a token that was met, else −1. */
  find(token: number): number {
    return this.#places[this.#placeOf(token)] - 1;
  }

  /** The number of a token, `count` before the call if it is new. */
  add(token: number): number {
    const place = this.#placeOf(token);
    const known = this.#places[place] - 1;
    if (known >= 0) return known;
    if (this.count === this.tokens.length) return this.#grow(token);
    this.tokens[this.count] = token;
    this.#places[place] = ++this.count;
    return this.count - 1;
  }

  #grow(token: number): number {
    const { tokens, count } = this;
    this.tokens = new Uint32Array(2 * count);
    this.#places = new Uint32Array(8 * count);
    this.count = 0;
    for (let i = 0; i < count; i++) this.add(tokens[i]);
    return this.add(token);
  }

  #placeOf(token: number): number {
    const places = this.#places;
    const mask = places.length - 1;
    // The golden ratio spreads neighbours; its upper bits are the good ones.
    let at = (Math.imul(token, 0x9e3779b1) >>> 12) & mask;
    while (places[at] !== 0 && this.tokens[places[at] - 1] !== token) at = (at + 1) & mask;
    return at;
  }
}
