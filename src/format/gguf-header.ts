/** The primitive fields of a GGUF header, each read within the header's byte budget. */
import { grouped } from "../errors.ts";
import type { ByteReader } from "./bytes.ts";
import { quoted } from "./quote.ts";

/** What a header may hold. Real files of today stay well below each. */
export interface GgufLimits {
  /** Bytes of the header, everything before the tensor data. */
  readonly headerBytes: number;
  readonly keys: number;
  readonly keyBytes: number;
  /** Bytes of one string value. */
  readonly stringBytes: number;
  /** Elements of all arrays together, nested arrays counted as elements too. */
  readonly arrayElements: number;
  /** Arrays, nested ones included: each costs more than its elements. */
  readonly arrays: number;
  /** Arrays in arrays: 1 allows flat ones only. */
  readonly arrayDepth: number;
  readonly tensors: number;
  readonly tensorNameBytes: number;
}

/** With these a parsed header takes at most about 160 MiB of heap, reached only by a file made for it. */
export const GGUF_LIMITS: GgufLimits = {
  headerBytes: 32 << 20,
  keys: 65_536,
  keyBytes: 65_535,
  stringBytes: 8 << 20,
  arrayElements: 2 << 20,
  arrays: 65_536,
  arrayDepth: 4,
  tensors: 65_536,
  tensorNameBytes: 255,
};

// A byte order mark is part of a token, not of an encoding.
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Text of bytes that may not be UTF-8: what is not becomes U+FFFD. */
export function decodeLenient(bytes: Uint8Array): string {
  return lenient.decode(bytes);
}

export class HeaderReader {
  readonly limits: GgufLimits;
  readonly #reader: ByteReader;

  constructor(reader: ByteReader, limits: GgufLimits) {
    this.#reader = reader;
    this.limits = limits;
  }

  /** What has arrived and is not consumed yet, as far as the header may reach. */
  get buffered(): Uint8Array {
    return this.#reader.buffered.subarray(0, Math.max(0, this.limits.headerBytes - this.#reader.position));
  }

  consume(count: number): void {
    this.#reader.consume(count);
  }

  /** Waits until `count` bytes are buffered. @throws {RangeError} If the header would pass its limit. */
  async fill(count: number, label: string): Promise<void> {
    if (count > this.limits.headerBytes - this.#reader.position) {
      throw new RangeError(
        `Cannot read GGUF: header must be at most ${grouped(this.limits.headerBytes)} bytes, ${label} at offset ` +
          `${grouped(this.#reader.position)} needs ${grouped(count)}`,
      );
    }
    await this.#reader.fill(count, label);
  }

  async bytes(count: number, label: string): Promise<Uint8Array> {
    await this.fill(count, label);
    const bytes = this.buffered.subarray(0, count);
    this.consume(count);
    return bytes;
  }

  /** A view of exactly the next `count` bytes. */
  async view(count: number, label: string): Promise<DataView> {
    const bytes = await this.bytes(count, label);
    return new DataView(bytes.buffer, bytes.byteOffset, count);
  }

  async u32(label: string): Promise<number> {
    return (await this.view(4, label)).getUint32(0, true);
  }

  async u64(label: string): Promise<bigint> {
    return (await this.view(8, label)).getBigUint64(0, true);
  }

  /** An unsigned 64-bit count or length. @throws {RangeError} If above `max`. */
  async count(label: string, max: number): Promise<number> {
    const value = await this.u64(label);
    if (value > BigInt(max)) {
      throw new RangeError(
        `Cannot read GGUF: ${label} must be at most ${grouped(max)}, got ${grouped(value)}`,
      );
    }
    return Number(value);
  }

  /** A key or name: 1 to `max` bytes of UTF-8. */
  async name(label: string, max: number): Promise<string> {
    const length = await this.count(`length of ${label}`, max);
    if (length === 0) throw new RangeError(`Cannot read GGUF: ${label} must not be empty`);
    const bytes = await this.bytes(length, label);
    try {
      return strict.decode(bytes);
    } catch {
      throw new RangeError(`Cannot read GGUF: ${label} must be UTF-8, got ${quoted(lenient.decode(bytes))}`);
    }
  }

  async text(label: string): Promise<string> {
    const length = await this.count(`length of ${label}`, this.limits.stringBytes);
    return decodeLenient(await this.bytes(length, label));
  }
}
