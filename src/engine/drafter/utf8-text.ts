import { joined } from "../../format/joined.ts";

const utf8 = new TextEncoder();

/** Bytes of a text that is fed in pieces which may cut characters. */
export class Utf8Text {
  #bytes = new Uint8Array(256);
  #length = 0;
  #pending = new Uint8Array(0);

  /** Bytes of whole characters. What is no UTF-8 counts as U+FFFD, three bytes. */
  get length(): number {
    return this.#length;
  }

  /** Of the last character, the bytes that have come before it is whole; at most three. */
  get pending(): Uint8Array {
    return this.#pending;
  }

  append(bytes: Uint8Array): void {
    const all = joined(this.#pending, bytes);
    const whole = all.length - unfinishedBytes(all);
    this.#pending = all.slice(whole);
    // A byte order mark is text like any other here.
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(all.subarray(0, whole));
    this.#push(utf8.encode(text));
  }

  /** The text from byte `start` on, or from the beginning of the character that this byte is part of. */
  from(start: number): { text: string; start: number } {
    let at = Math.max(0, start);
    while (at > 0 && at < this.#length && isContinuation(this.#bytes[at])) at--;
    return {
      text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.#bytes.subarray(at, this.#length)),
      start: at,
    };
  }

  #push(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#length + bytes.length));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

/** How many of the last bytes begin a character that needs more of them. */
export function unfinishedBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (isContinuation(byte)) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return back < needed ? back : 0;
  }
  return 0;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
