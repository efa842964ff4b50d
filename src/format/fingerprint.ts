/**
 * A short hash of what makes two models the same: every tensor's name, type and shape, and its first bytes.
 *
 * Not of all bytes: hashing gigabytes would cost as much as loading them, and models that differ at all differ in the
 * first rows of nearly every tensor. It tells models apart; it does not protect against a forger.
 *
 * Source: FNV-1a, 64 bits in two words of 32 with different offsets (Fowler, Noll, Vo).
 */
const PRIME = 0x01000193;

/** Bytes of each tensor that count. */
export const FINGERPRINT_BYTES = 4096;

export class Fingerprint {
  #a = 0x811c9dc5;
  #b = 0x2ad7eb25;

  addBytes(bytes: Uint8Array): void {
    let a = this.#a;
    let b = this.#b;
    for (const byte of bytes) {
      a = Math.imul(a ^ byte, PRIME);
      b = Math.imul(b ^ byte ^ (a >>> 24), PRIME);
    }
    this.#a = a;
    this.#b = b;
  }

  addText(text: string): void {
    this.addBytes(new TextEncoder().encode(`${text}\0`));
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    const hex = (word: number) => (word >>> 0).toString(16).padStart(8, "0");
    return hex(this.#a) + hex(this.#b);
  }
}
