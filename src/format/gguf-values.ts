/**
 * The metadata of a GGUF: keys, and values of 13 types.
 *
 *     u8 i8 u16 i16 u32 i32 f32 bool u64 i64 f64     0-7, 10-12   little-endian; bool is a byte, 0 or 1
 *     string                                         8            u64 length, bytes
 *     array                                          9            u32 element type, u64 count, elements
 */
import { grouped } from "../errors.ts";
import { decodeLenient, type HeaderReader } from "./gguf-header.ts";
import type { MetadataValue } from "./metadata.ts";
import { quoted } from "./quote.ts";

interface Scalar {
  readonly bytes: number;
  /** Undefined if the bytes are not a value of the type. */
  readonly read: (view: DataView, at: number) => number | bigint | boolean | undefined;
}

const STRING = 8;
const ARRAY = 9;

const BOOLEANS: readonly (boolean | undefined)[] = [false, true];

const SCALARS: ReadonlyMap<number, Scalar> = new Map([
  [0, { bytes: 1, read: (view, at) => view.getUint8(at) }],
  [1, { bytes: 1, read: (view, at) => view.getInt8(at) }],
  [2, { bytes: 2, read: (view, at) => view.getUint16(at, true) }],
  [3, { bytes: 2, read: (view, at) => view.getInt16(at, true) }],
  [4, { bytes: 4, read: (view, at) => view.getUint32(at, true) }],
  [5, { bytes: 4, read: (view, at) => view.getInt32(at, true) }],
  [6, { bytes: 4, read: (view, at) => view.getFloat32(at, true) }],
  [7, { bytes: 1, read: (view, at) => BOOLEANS[view.getUint8(at)] }],
  [10, { bytes: 8, read: (view, at) => narrow(view.getBigUint64(at, true)) }],
  [11, { bytes: 8, read: (view, at) => narrow(view.getBigInt64(at, true)) }],
  [12, { bytes: 8, read: (view, at) => view.getFloat64(at, true) }],
] satisfies [number, Scalar][]);

/** Reads `count` keys and their values. */
export async function readMetadata(header: HeaderReader, count: number): Promise<Map<string, MetadataValue>> {
  const metadata = new Map<string, MetadataValue>();
  const values = new ValueReader(header);
  for (let index = 0; index < count; index++) {
    const key = await header.name(`metadata key ${index}`, header.limits.keyBytes);
    if (metadata.has(key)) throw new RangeError(`Cannot read GGUF: metadata key ${quoted(key)} comes twice`);
    const label = `metadata ${quoted(key)}`;
    const type = await header.u32(`type of ${label}`);
    metadata.set(key, await values.value(type, label));
  }
  return metadata;
}

class ValueReader {
  readonly #header: HeaderReader;
  #elementsLeft: number;
  #arrays = 0;

  constructor(header: HeaderReader) {
    this.#header = header;
    this.#elementsLeft = header.limits.arrayElements;
  }

  async value(type: number, label: string): Promise<MetadataValue> {
    if (type === STRING) return this.#header.text(label);
    if (type === ARRAY) return this.#array(label, 1);
    const scalar = SCALARS.get(type);
    if (scalar === undefined) throw unknownType(`type of ${label}`, type);
    return readScalar(scalar, await this.#header.view(scalar.bytes, label), 0, label);
  }

  async #array(label: string, depth: number): Promise<MetadataValue[]> {
    const { arrayDepth, arrayElements, arrays: maxArrays } = this.#header.limits;
    if (++this.#arrays > maxArrays) {
      throw new RangeError(
        `Cannot read GGUF: number of arrays must be at most ${grouped(maxArrays)}, ${label} is one more`,
      );
    }
    if (depth > arrayDepth) {
      throw new RangeError(`Cannot read GGUF: arrays of ${label} must be nested at most ${arrayDepth} deep`);
    }
    const type = await this.#header.u32(`element type of ${label}`);
    const count = await this.#header.count(`number of elements of ${label}`, arrayElements);
    if (count > this.#elementsLeft) {
      throw new RangeError(
        `Cannot read GGUF: all arrays together must have at most ${grouped(arrayElements)} elements, ` +
          `${label} has ${grouped(count)} where ${grouped(this.#elementsLeft)} are left`,
      );
    }
    this.#elementsLeft -= count;
    if (type === STRING) return this.#strings(count, label);
    const scalar = SCALARS.get(type);
    if (scalar !== undefined) return this.#scalars(scalar, count, label);
    if (type !== ARRAY) throw unknownType(`element type of ${label}`, type);
    const arrays: MetadataValue[] = [];
    while (arrays.length < count) arrays.push(await this.#array(`${label}[${arrays.length}]`, depth + 1));
    return arrays;
  }

  /** As many at a time as have arrived: awaiting each of 150,000 tokens costs more than decoding it. */
  async #strings(count: number, label: string): Promise<string[]> {
    const header = this.#header;
    const maxBytes = header.limits.stringBytes;
    const strings: string[] = [];
    let needed = 8;
    while (strings.length < count) {
      await header.fill(needed, `${label}[${strings.length}]`);
      const bytes = header.buffered;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      let at = 0;
      needed = 8;
      while (strings.length < count && at + 8 <= bytes.length) {
        const length = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
        if (length > maxBytes) {
          throw new RangeError(
            `Cannot read GGUF: length of ${label}[${strings.length}] must be at most ${grouped(maxBytes)}, ` +
              `got ${grouped(view.getBigUint64(at, true))}`,
          );
        }
        if (at + 8 + length > bytes.length) {
          needed = 8 + length;
          break;
        }
        strings.push(decodeLenient(bytes.subarray(at + 8, at + 8 + length)));
        at += 8 + length;
      }
      header.consume(at);
    }
    return strings;
  }

  async #scalars(scalar: Scalar, count: number, label: string): Promise<MetadataValue[]> {
    const header = this.#header;
    const values: MetadataValue[] = [];
    while (values.length < count) {
      await header.fill(scalar.bytes, `${label}[${values.length}]`);
      const bytes = header.buffered;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const here = Math.min(count - values.length, Math.floor(bytes.length / scalar.bytes));
      for (let index = 0; index < here; index++) {
        values.push(readScalar(scalar, view, index * scalar.bytes, label));
      }
      header.consume(here * scalar.bytes);
    }
    return values;
  }
}

function readScalar(scalar: Scalar, view: DataView, at: number, label: string): number | bigint | boolean {
  const value = scalar.read(view, at);
  if (value === undefined) {
    throw new RangeError(`Cannot read GGUF: boolean in ${label} must be 0 or 1, got ${view.getUint8(at)}`);
  }
  return value;
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function unknownType(label: string, type: number): RangeError {
  return new RangeError(`Cannot read GGUF: ${label} must be 0 … 12, got ${type}`);
}
