/**
 * Numbers of few bits: LEB128 (7 bits to a byte, the least first, the high bit set but in the last) and streams of bits,
 * the least of a byte first.
 *
 * Readers take nothing but what the writers give: no number that is longer than it need be, no bits that are left over.
 */

/** Bits that one number takes at most, and LEB128 bytes. */
const MOST_BITS = 31;
const MOST_BYTES = 5;

export class BitWriter {
  readonly #bytes: number[] = [];
  #used = 8;

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  /** LEB128, at a whole byte. */
  varint(value: number): void {
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) this.#bytes.push((rest & 127) | 128);
    this.#bytes.push(rest);
    this.#used = 8;
  }

  byte(value: number): void {
    this.#bytes.push(value);
    this.#used = 8;
  }

  bits(value: number, count: number): void {
    for (let i = 0; i < count; i++) this.bit((value >>> i) & 1);
  }

  bit(bit: number): void {
    if (this.#used === 8) {
      this.#bytes.push(0);
      this.#used = 0;
    }
    this.#bytes[this.#bytes.length - 1] |= bit << this.#used++;
  }

  /** The quotient by 2^parameter as so many ones and a zero, then the rest in `parameter` bits (Golomb and Rice). */
  rice(value: number, parameter: number): void {
    for (let quotient = value >>> parameter; quotient > 0; quotient--) this.bit(1);
    this.bit(0);
    this.bits(value, parameter);
  }

  /** A value from 1 on: a zero for each of its bits but the first, then they, the first one first (Elias gamma). */
  gamma(value: number): void {
    const count = bitLength(value);
    this.bits(0, count - 1);
    for (let i = count - 1; i >= 0; i--) this.bit((value >>> i) & 1);
  }
}

export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #position = 0;
  #used = 8;

  /** @param what The subject of errors, as in `"row.data"`. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get left(): number {
    return this.#bytes.length - this.#position;
  }

  varint(name: string, min: number, max: number): number {
    let [value, factor] = [0, 1];
    for (let i = 0; i < MOST_BYTES; i++) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      factor *= 128;
      if (byte > 127) continue;
      if (byte === 0 && i > 0) break;
      return this.expect(name, value, min, max);
    }
    throw new RangeError(`${this.#what} must have ${name} as a LEB128 number without leading zeros`);
  }

  byte(): number {
    if (this.#position === this.#bytes.length) throw this.#short();
    this.#used = 8;
    return this.#bytes[this.#position++];
  }

  /** The next `count` bytes, a view. */
  take(count: number): Uint8Array {
    if (this.left < count) throw this.#short();
    this.#position += count;
    this.#used = 8;
    return this.#bytes.subarray(this.#position - count, this.#position);
  }

  bit(): number {
    if (this.#used === 8) {
      this.byte();
      this.#used = 0;
    }
    return (this.#bytes[this.#position - 1] >>> this.#used++) & 1;
  }

  rice(parameter: number): number {
    let quotient = 0;
    while (this.bit() === 1) quotient++;
    let [rest, factor] = [0, 1];
    for (let i = 0; i < parameter; i++) {
      rest += this.bit() * factor;
      factor *= 2;
    }
    return quotient * factor + rest;
  }

  gamma(): number {
    let count = 0;
    while (this.bit() === 0) {
      if (++count >= MOST_BITS) throw new RangeError(`${this.#what} must have counts below 2^${MOST_BITS}`);
    }
    let value = 1;
    for (; count > 0; count--) value = 2 * value + this.bit();
    return value;
  }

  expect(name: string, value: number, min: number, max: number): number {
    if (value >= min && value <= max) return value;
    throw new RangeError(`${this.#what} must have ${name} from ${min} to ${max}, got ${value}`);
  }

  /** @throws {RangeError} If bytes, or bits that are set, are left. */
  done(): void {
    if (this.left > 0) throw new RangeError(`${this.#what} must end here, got ${this.left} bytes more`);
    while (this.#used < 8) {
      if (this.bit() !== 0) throw new RangeError(`${this.#what} must end in bits of 0`);
    }
  }

  #short(): RangeError {
    return new RangeError(`${this.#what} must go on: it ends after ${this.#bytes.length} bytes`);
  }
}

export function bitLength(value: number): number {
  return 32 - Math.clz32(value);
}
